# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""How certificates are, for people, for programs, for monitoring; and whether their port serves them."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import history, metrics, served, status
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import LATER, start
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    give,
    root_only,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.tls_server import Server, hang_up, plain_http, silence

EXPIRED = pki.NOW + timedelta(hours=25)


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    found = start(tmp_path, monkeypatch)
    found.enrol()
    return found


def look(host, now=pki.NOW):
    return status.look(str(host.path()), str(host.state), now)


@pytest.mark.parametrize(
    "now, state, code", [(pki.NOW, "ok", 0), (LATER, "due", 1), (EXPIRED, "expired", 2)], ids=["ok", "due", "expired"]
)
def test_time_passes(host, now, state, code):
    row = look(host, now)
    assert (row["state"], row["problem"], status.exit_code([row])) == (state, "", code)
    leaf = certificates.load(reading.read(str(host.tls / "site.crt")))[0]
    assert (row["serial"], row["not_after"]) == (
        str(leaf.serial_number),
        durations.format_time(certificates.not_after(leaf)),
    )
    assert row["served"] is None and row["renew_at"] < row["not_after"]
    assert abs(row["days_left"] - (1 - (now - pki.NOW) / pki.DAY)) < 0.01


def remove(name):
    return lambda host: (host.tls / name).unlink()


def write(name, content):
    return lambda host: (host.tls / name).write_bytes(content)


def foreign(host):
    key = pki.new_key()
    (host.tls / "site.key").write_bytes(pki.key_pem(key))
    (host.tls / "site.crt").write_text(FOREIGN.sign(pki.request_pem(key, ["a.example"])), encoding="ascii")


def failed(host):
    past = host.history()
    past.error, past.last_error = "The CA is away.", "2030-01-01T00:00:00Z"
    past.save()


@pytest.mark.parametrize(
    "spoil, words",
    [
        (remove("site.crt"), "the certificate .*site.crt is missing. .*renewer.pyz enrol .*/site.crt --token-file -$"),
        (write("site.crt", b"rubbish"), "the certificate .*site.crt cannot be read"),
        (remove("site.key"), "The key .*site.key is missing, or belongs to another certificate."),
        (write("site.key", pki.key_pem(pki.new_key())), "The key .*site.key is missing, or belongs to another"),
        (foreign, "It does not lead to a trusted root: "),
        (failed, "^The CA is away.$"),
        (lambda host: host.path().write_bytes(b"{"), "The configuration .* cannot be used: it is no JSON"),
        (lambda host: (host.state / host.path().name).mkdir(), "is no file, but a folder"),
    ],
    ids=["certificate", "rubbish", "key", "another key", "foreign", "last run", "configuration", "history"],
)
def test_what_is_wrong(host, spoil, words):
    spoil(host)
    row = look(host)
    assert row["state"] == "failing" and re.search(words, row["problem"]) and status.exit_code([row]) == 1


def test_a_history_of_nonsense_is_not_believed(host):
    path = host.state / host.path().name
    for text in (b"", b"[]", b"{", b'{"last_success": "soon", "last_error": 7, "error": [], "pending": "yes"}'):
        path.write_bytes(text)
        assert vars(host.history()) == vars(history.History(str(path)))
        assert look(host)["state"] == "ok" and metrics.render([look(host)])


def test_the_worst_of_all_is_what_monitoring_is_told(host):
    rows = [look(host), look(host, LATER)]
    assert (status.exit_code([]), status.exit_code(rows[:1]), status.exit_code(rows)) == (0, 0, 1)
    assert status.exit_code([*rows, look(host, EXPIRED)]) == 2
    json.dumps(rows)


def test_a_table_for_people(host):
    failed(host)
    lines = status.table([look(host, LATER), look(host, EXPIRED), dict(look(host), problem="two\nlines")]).splitlines()
    assert lines[0].split() == ["CERTIFICATE", "STATE", "ENDS", "LEFT", "RENEWS", "PROBLEM"]
    assert len(lines) == 4 and len({line.index("20") for line in lines[1:]}) == 1
    assert " failing " in lines[1] and "4 h" in lines[1] and lines[1].endswith("The CA is away.")
    assert " expired " in lines[2] and "-60 min" in lines[2]
    assert lines[3].endswith("two lines")
    (host.tls / "site.crt").unlink()
    assert status.table([look(host)]).splitlines()[1].split()[2:5] == ["-", "-", "-"]
    assert status._in_words(-3.5) == "-3 d" and status._in_words(200) == "200 d" and status._in_words(0.01) == "14 min"


# served


class Listener(Server):
    """Serves the pair of the host, as it was when it was last reloaded."""

    def __init__(self, host, script=(silence,), **more):
        self.host = host
        super().__init__(CA, script, **more)

    def _tls(self, authority, names):
        context = super()._tls(authority, names)
        context.load_cert_chain(str(self.host.tls / "site.crt"), str(self.host.tls / "site.key"))
        return context

    def reload(self):
        self.context.load_cert_chain(str(self.host.tls / "site.crt"), str(self.host.tls / "site.key"))


def listens(host, server):
    host.edit(lambda content: content.update(served="127.0.0.1:%d" % server.port))


def serial(host):
    return certificates.load(reading.read(str(host.tls / "site.crt")))[0].serial_number


def test_a_port_that_still_serves_the_former_one(host, monkeypatch):
    monkeypatch.setattr(served.wait, "__defaults__", (0.3,))
    with Listener(host) as server:
        listens(host, server)
        assert look(host)["served"] is True and look(host)["state"] == "ok"
        old = serial(host)
        sentence = "The file %s has serial %%d, but 127.0.0.1:%d still serves %d. Reload or restart what listens there."
        with pytest.raises(served.StillServed) as caught:
            host.renew()
        sentence = sentence % (host.tls / "site.crt", server.port, old) % serial(host)
        assert str(caught.value) == sentence and serial(host) != old
        row = look(host, LATER)
        assert (row["state"], row["problem"], row["served"]) == ("failing", sentence, False)
        assert "} 0\n" in metrics.render([row]).partition("TYPE stepca_certificate_served")[2]
        server.reload()
        assert (look(host, LATER)["state"], look(host, LATER)["served"]) == ("ok", True)
        assert host.renew()[0] == "none"


def test_a_server_that_wants_to_see_a_client(host):
    with Listener(host, clients=CA) as server:
        listens(host, server)
        assert look(host)["served"] is True


@pytest.mark.parametrize("act", [hang_up, plain_http], ids=["hangs up", "no tls"])
def test_what_does_not_speak_tls(host, act, monkeypatch):
    with Listener(host, [act]) as server:
        listens(host, server)
        row = look(host)
        if act is hang_up:  # after the handshake, which told enough
            assert row["served"] is True
        else:
            words = "Nothing tells which certificate 127.0.0.1:%d serves: " % server.port
            assert row["problem"].startswith(words) and row["served"] is False


def test_where_nothing_listens(host):
    with Server(CA, [silence]) as server:
        pass
    listens(host, server)
    assert "serves: " in look(host)["problem"] and "refused" in look(host)["problem"]
    (host.tls / "site.crt").unlink()
    assert "Nothing tells" not in look(host)["problem"]


# metrics


def test_metrics(host, tmp_path):
    failed(host)
    rows = [look(host), dict(look(host, EXPIRED), certificate_path='/a"b\\c\nd'), dict(look(host), not_after=None)]
    path = tmp_path / "stepca.prom"
    metrics.write(str(path), rows)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o644
    assert text.count("# TYPE ") == text.count("# HELP ") == len(set(re.findall("# TYPE (\\S+) gauge", text)))
    assert text.count("stepca_certificate_not_after_timestamp_seconds{") == 2
    assert 'stepca_certificate_failing{path="/a\\"b\\\\c\\nd"} 1\n' in text and "served" not in text
    assert "stepca_certificate_last_error_timestamp_seconds{path=" in text and "last_success" not in text
    assert metrics.render([]) == ""
    with pytest.raises(HostFileError, match="Cannot write .*missing"):
        metrics.write(str(tmp_path / "missing" / "x.prom"), rows)


@root_only
def test_a_key_that_nobody_says_whose_it_is_fails_before_it_is_due(host):
    """The next renewal would leave it alone, and the certificate would end."""
    give(host.tls)
    give(host.tls / "site.key", mode=0o600)
    row = look(host)
    assert row["state"] == "failing" and status.exit_code([row]) == 1
    assert (
        "key_path: %s belongs to the user %d, in a place that others can change"
        % (
            host.tls / "site.key",
            MALLORY,
        )
        in row["problem"]
    )
    assert "Set key_owner: the user %d, or have root own it." % MALLORY in row["problem"]
    host.configure(dict(host.entry(), key_owner=str(MALLORY)))
    assert look(host)["state"] == "ok"

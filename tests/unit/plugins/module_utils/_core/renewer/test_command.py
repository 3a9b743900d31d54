# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The command line: exit codes, one line for each thing, and one bad certificate that does not stop the others."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from functools import partial

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import library
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import TransportError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import locks, reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import (
    command,
    configuration,
    defaults,
    history,
    renewal,
    status,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, assert_whole
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import RENEW, start
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    file_of,
    folder_of,
    in_time,
    link_of,
    root_only,
    seen,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import URL


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    return start(tmp_path, monkeypatch)


@pytest.fixture(name="call")
def fixture_call(host, capsys):
    def call(name, *words):
        code = command.main([name, *map(str, words), "--config", str(host.config), "--state", str(host.state)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def site(host):
    return reading.read(str(host.tls / "site.crt"))


def test_renew_and_nothing_to_do(host, call):
    host.enrol()
    code, out, err = call("renew", "--check")
    assert (code, err) == (0, "") and out.startswith("would be renewed %s/site.crt: it is due since " % host.tls)
    assert (list(host.state.iterdir()), host.lines()) == ([], 0)
    code, out, err = call("renew", host.tls / "site.crt")
    assert (code, err) == (0, "") and out.startswith("renewed %s/site.crt: it is due since " % host.tls)
    assert call("renew") == (0, "", "")
    assert call("renew", "--check") == (0, "%s/site.crt: nothing to do\n" % host.tls, "")
    assert host.lines() == 1


def test_what_fails_does_not_stop_the_others(host, call, monkeypatch):
    host.enrol()
    (host.config / "a.json").write_text("{", encoding="ascii")
    other = host.entry()
    other.update(certificate_path=str(host.tls / "other.crt"), key_path=str(host.tls / "other.key"))
    host.path(other).write_bytes(configuration.make(other, host.stand_in.connection()))
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    code, out, err = call("renew")
    assert code == 1 and out.startswith("<6>renewed %s/site.crt: " % host.tls) and out.count("\n") == 1
    lines = err.splitlines()
    assert len(lines) == 2 and all(line.startswith("<3>failed: ") for line in lines)
    assert sum("a.json cannot be used: it is no JSON" in line for line in lines) == 1
    assert (
        sum("other.crt is missing" in line and "renewer.pyz enrol %s/other.crt " % host.tls in line for line in lines)
        == 1
    )


def test_warnings_are_told(host, call, monkeypatch):
    host.enrol()
    monkeypatch.setattr(renewal, "run", lambda *_all, **_more: ("files", ["the mode differs"], ["look here"]))
    code, out, err = call("renew")
    assert (code, out) == (0, "repaired %s/site.crt: the mode differs\n" % host.tls)
    assert err == "warning: look here\n"


def test_a_failure_names_its_certificate_once(host, call):
    host.enrol()
    host.stand_in.say[RENEW] = [TransportError("refused", sent=False)]
    code, _out, err = call("renew")
    assert code == 1 and err.startswith("failed %s/site.crt: No answer from the CA. %s: refused" % (host.tls, URL))
    assert err.count("\n") == err.count("site.crt") == 1


def test_who_has_no_configuration(host, call):
    assert call("renew") == (0, "There are no certificates: %s holds no configuration.\n" % host.config, "")
    assert call("status")[0] == 0
    assert call("status", "--json")[1].splitlines()[-1] == "[]"
    code, _out, err = call("renew", "/etc/tls/nobody.crt")
    assert code == 1 and "failed: /etc/tls/nobody.crt has no configuration in %s." % host.config in err


def test_status(host, call, monkeypatch):
    host.enrol()
    code, out, _err = call("status")
    assert code == 1 and out.splitlines()[1].split()[:2] == [str(host.tls / "site.crt"), "due"]
    code, out, _err = call("status", "--json", host.tls / "site.crt")
    assert [row["state"] for row in json.loads(out)] == ["due"]
    monkeypatch.setattr(status.os, "access", lambda path, _mode: not path.endswith(".key"))
    (host.tls / "site.key").chmod(0)
    assert json.loads(call("status", "--json")[1])[0]["problem"] == ""


def test_metrics(host, call, tmp_path):
    host.enrol()
    (host.config / "a.json").write_text("{", encoding="ascii")
    path = tmp_path / "stepca.prom"
    assert call("renew", "--check", "--metrics", path)[0] == 1 and not path.exists()
    assert call("renew", host.tls / "site.crt", "--metrics", path)[0] == 0
    assert path.read_text(encoding="ascii").count("stepca_certificate_failing{") == 2
    code, _out, err = call("status", "--metrics", tmp_path / "missing" / "stepca.prom")
    assert code == 1 and err.startswith("failed --metrics: Cannot write ") and err.count("\n") == 1


def test_help_teaches(call, capsys):
    assert command.main([]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("renew", "status", "enrol", defaults.CONFIGURATIONS, "examples:"))
    for name in ("renew", "status", "enrol"):
        with pytest.raises(SystemExit) as end:
            command.main([name, "--help"])
        assert end.value.code == 0 and history.FOLDER in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        command.main(["renew", "--wrong"])
    assert end.value.code == 64 and "--wrong" in capsys.readouterr().err


def test_without_cryptography_it_says_what_to_install(call, monkeypatch):
    monkeypatch.setattr(library, "is_new_enough", lambda: False)
    code, _out, err = call("status")
    assert code == 1 and "cryptography >= 3.3 is needed by %s" % sys.executable in err
    assert "Install python3-cryptography" in err and err.count("\n") == 1


def test_a_mistake_of_ours_is_no_traceback(call, monkeypatch):
    monkeypatch.setattr(configuration, "paths", lambda _folder: {}["x"])
    code, said, complaint = call("status")
    assert (code, said) == (1, "")
    assert re.fullmatch(
        r"failed: Unexpected error: KeyError at renewer/command\.py:\d+\. "
        r"Please report this message at https://github\.com/\S+/issues\.\n",
        complaint,
    )


# what others could do


def test_a_lock_that_is_not_obtained_is_as_loud_as_any_failure(host, call, monkeypatch):
    """Else certificates expire while monitoring says that all is well."""
    told, metrics = host.tls.parent / "failed", host.tls.parent / "stepca.prom"
    host.enrol(on_failure=["sh", "-c", 'echo "$STEPCA_ERROR" > %s' % told])
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    monkeypatch.setattr(locks, "locked", partial(locks.locked, patience=0.0))
    before = pki.snapshot(host.tls)
    words = "Another run is replacing certificates in %s. Run again when it is done." % host.state
    with locks.locked(str(host.state / "renewals")):
        assert call("renew", "--check")[0] == 0, "it changes nothing"
        code, out, err = call("renew", "--metrics", metrics)
    assert (code, out) == (1, "") and err == "<3>failed %s/site.crt: %s\n" % (host.tls, words)
    assert host.history().error == words == told.read_text(encoding="ascii").strip()
    assert 'stepca_certificate_failing{path="%s/site.crt"} 1' % host.tls in metrics.read_text(encoding="ascii")
    assert pki.snapshot(host.tls) == before and host.stand_in.asked == []
    code, out, _err = call("renew", "--metrics", metrics)
    assert code == 0 and out.startswith("<6>renewed ") and host.history().error == ""
    assert 'stepca_certificate_failing{path="%s/site.crt"} 0' % host.tls in metrics.read_text(encoding="ascii")


@table(
    "content",
    {
        "a key": pki.key_pem(pki.new_key()),
        "a text": b"hello",
        "metrics of others": b"# HELP node_load1\nnode_load1 1\n",
    },
)
def test_a_file_that_holds_something_else_than_our_metrics_is_not_replaced(host, call, content):
    """And nothing of it is told."""
    host.enrol()
    metrics = host.tls.parent / "stepca.prom"
    metrics.write_bytes(content)
    code, _out, err = call("status", "--metrics", metrics)
    assert (
        code == 1 and "failed --metrics: %s is no file of ours: it holds something else than metrics." % metrics in err
    )
    assert metrics.read_bytes() == content and content.splitlines()[-1].decode() not in err
    metrics.write_bytes(b"\n")
    call("status", "--metrics", metrics)
    assert metrics.read_bytes().startswith(b"# HELP stepca_certificate_")


@root_only
def test_metrics_in_a_folder_of_prometheus(host, call):
    """As packaged, /var/lib/prometheus belongs to it."""
    host.enrol()
    theirs = folder_of(host.tls.parent / "prometheus")
    metrics = theirs / "stepca.prom"
    file_of(metrics, b"# HELP stepca_certificate_x\n")
    assert call("renew", "--metrics", metrics)[0] == 0
    assert seen(metrics)[:3] == (0, 0, 0o100644) and metrics.read_bytes().count(b"# HELP") > 3
    assert list(theirs.iterdir()) == [metrics]


@root_only
@table(
    "plant, words",
    {
        "a link": (link_of, "is a symbolic link of the user %d" % MALLORY),
        "a pipe": (lambda path, victim: os.mkfifo(path), "is no file, but a pipe"),
        "another name": (lambda path, victim: os.link(victim, path), "has another name somewhere"),
    },
)
def test_what_prometheus_planted_in_the_place_of_metrics(host, call, plant, words):
    host.enrol()
    theirs, victim = folder_of(host.tls.parent / "prometheus"), host.tls.parent / "victim"
    victim.write_bytes(b"# HELP stepca_certificate_x\n")
    plant(theirs / "stepca.prom", victim)
    before = seen(victim)
    with in_time():
        code, out, err = call("renew", "--metrics", theirs / "stepca.prom")
    assert code == 1 and words in err and out.startswith("renewed "), "the certificate is renewed all the same"
    assert seen(victim) == before


# enrol

TOKEN = "eyJhbGciOiJub25lIn0.eyJzYW5zIjogWyJhLmV4YW1wbGUiXX0.c2lnbmF0dXJl"  # {"sans": ["a.example"]}


def enrol(call, host, *words, token=TOKEN, where=True):
    """enrol with a token from a file, and where the CA is."""
    path = host.tls.parent / "token"
    path.write_text(token + "\n", encoding="ascii")
    told = ["--key-path", host.tls / "site.key", "--ca-url", URL, "--ca-fingerprint", CA.fingerprint] if where else []
    return call("enrol", host.tls / "site.crt", "--token-file", path, *told, *words)


def test_enrol_takes_the_names_of_the_token(host, call):
    code, out, err = enrol(call, host)
    assert (code, err) == (0, "") and out.startswith("issued %s/site.crt: the certificate " % host.tls)
    assert_whole(host.tls, ["a.example"])
    assert [one.token for one in host.stand_in.asked if one.by == "token"] == [TOKEN]
    assert (host.tls / "site.key").stat().st_mode & 0o777 == 0o600
    assert host.path().stat().st_mode & 0o777 == 0o644
    assert not [one for one in host.tls.parent.rglob("*") if one.is_file() and TOKEN.encode() in one.read_bytes()][1:]
    host.stand_in.asked.clear()
    assert enrol(call, host) == (0, "%s/site.crt: nothing to do\n" % host.tls, "")
    assert host.stand_in.asked == []
    host.stand_in.clock += pki.DAY / 288
    code, out, err = call("renew", "--force")
    assert (code, err) == (0, "") and out.startswith("renewed ")


def test_enrol_with_a_configuration_of_the_image(host, call, monkeypatch):
    host.configure(host.entry())
    monkeypatch.setattr(sys, "stdin", io.StringIO(TOKEN))
    code, out, err = call("enrol", host.tls / "site.crt", "--token-file", "-")
    assert (code, err) == (0, "") and out.startswith("issued ")
    assert host.lines() == 1
    assert_whole(host.tls, ["a.example"])


def test_enrol_for_names_of_the_command_line(host, call):
    assert enrol(call, host, "--san", "b.example", "--san", "c.example")[0] == 0
    assert_whole(host.tls, ["b.example", "c.example"])


@pytest.mark.parametrize(
    "token, code, words",
    [
        ("", 64, "--token-file: what it holds is no token. Give the output of lookup"),
        ("two tokens", 64, "is no token"),
        ("no.dots", 64, "is no token"),
        ("a.b.c", 64, "The token names nobody, so give --san for each name."),
        (TOKEN.replace("eyJzYW5zIjogWyJhLmV4YW1wbGUiXX0", "eyJzYW5zIjogW119"), 64, "The token names nobody"),
    ],
)
def test_what_is_no_token(host, call, token, code, words):
    found, out, err = enrol(call, host, token=token)
    assert (found, out) == (code, "") and words in err and err.count("\n") == 1
    assert list(host.tls.iterdir()) == [] and (not token or token not in err)


def test_enrol_says_what_it_lacks(host, call):
    code, _out, err = enrol(call, host, where=False)
    assert code == 64 and "so give --key-path and --ca-url and --ca-fingerprint, too." in err
    code, _out, err = call("enrol", host.tls / "site.crt", "--token-file", "/missing")
    assert code == 1 and "Cannot read /missing: No such file or directory" in err


def test_a_token_that_was_used_leaves_nothing(host, call):
    assert enrol(call, host)[0] == 0
    for one in (host.tls / "site.crt", host.tls / "site.key", host.path()):
        one.unlink()
    code, out, err = enrol(call, host)
    assert (code, out) == (1, "") and "401" in err and TOKEN not in err and err.count("\n") == 1
    assert not host.path().exists() and [one.name for one in host.tls.iterdir() if "crt.stepca" not in one.name] == []


def test_a_root_that_is_not_the_one(host, call):
    other = pki.Authority("Other")
    host.stand_in.say["/1.0/root/" + other.fingerprint] = [(404, {"message": "not found"})]
    told = ["--key-path", host.tls / "site.key", "--ca-url", URL, "--ca-fingerprint", other.fingerprint]
    code, _out, err = enrol(call, host, *told, where=False)
    assert code == 1 and "has no root with the SHA-256 fingerprint" in err and list(host.tls.iterdir()) == []

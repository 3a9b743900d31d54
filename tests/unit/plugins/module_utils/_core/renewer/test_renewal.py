# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""One certificate in one run of the renewer: what is due is renewed, services are told, and nothing is forgotten."""

from __future__ import annotations

import json
import os
import stat
from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import by_host, replacement
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    CertificateError,
    HostFileError,
    StepCAError,
    TransportError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import reading
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import (
    configuration,
    renewal,
    served,
    services,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import pair_of
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import (
    LATER,
    RENEW,
    start,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    give,
    root_only,
)

REFUSED = TransportError("https://ca.internal: connection refused", sent=False)


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    return start(tmp_path, monkeypatch)


def serial(host):
    return reading.read(str(host.tls / "site.crt"))


def test_what_is_due_is_renewed_and_told(host):
    host.enrol(combined_path=str(host.tls / "site.pem"))
    before = host.save()
    outcome, reasons, warnings = host.renew()
    assert (outcome, warnings, len(reasons)) == ("renewed", [], 1) and "it is due since " in reasons[0]
    assert host.stand_in.paths == [("renew", "client certificate")]
    after = host.save()
    assert after["site.key"] == before["site.key"] and after["site.crt"][3] != before["site.crt"][3]
    assert after["site.pem"][3] == after["site.key"][3] + after["site.crt"][3]
    past = host.history()
    assert (host.lines(), past.pending, past.error, past.last_error) == (1, False, "", None)
    assert past.last_success == durations.format_time(LATER.replace(microsecond=0))


def test_what_is_not_due_is_left_alone(host):
    host.enrol()
    before = pki.snapshot(host.tls)
    assert host.renew(pki.NOW) == ("none", [], [])
    assert (pki.snapshot(host.tls), host.lines(), host.stand_in.asked) == (before, 0, [])
    assert host.history().last_success


def test_a_new_key_where_the_policy_says_so(host):
    host.enrol(key_policy="always")
    before = host.save()
    assert host.renew()[0] == "rekeyed"
    assert host.save()["site.key"][3] != before["site.key"][3]
    assert pair_of(host.tls)[0] == pair_of(host.tls)[1] and pki.dot_files(host.tls) == []


def test_force_does_not_wait_until_it_is_due(host):
    host.enrol()
    host.stand_in.clock = pki.NOW + timedelta(minutes=5)
    before = serial(host)
    assert host.renew(pki.NOW + timedelta(minutes=5), force=True)[0] == "renewed"
    assert serial(host) != before and host.lines() == 1


@pytest.mark.parametrize("spoil", ["due", "derived"])
def test_dry_touches_nothing(host, spoil):
    host.enrol(combined_path=str(host.tls / "site.pem"))
    if spoil == "derived":
        (host.tls / "site.pem").write_bytes(b"rubbish")
    before = pki.snapshot(host.tls.parent)
    now = LATER if spoil == "due" else pki.NOW
    outcome, reasons, _warnings = host.renew(now, dry=True)
    assert (outcome, pki.snapshot(host.tls.parent)) == ("renewed" if spoil == "due" else "files", before)
    assert reasons and host.lines() == 0 and host.stand_in.asked == []


def test_derived_files_are_put_right_and_told(host):
    host.enrol(combined_path=str(host.tls / "site.pem"))
    (host.tls / "site.pem").write_bytes(b"rubbish")
    assert host.renew(pki.NOW)[0] == "files"
    assert (host.tls / "site.pem").read_bytes().endswith((host.tls / "site.crt").read_bytes())
    assert host.lines() == 1


@pytest.mark.parametrize("mode", [0o640, 0o444])
def test_what_replaces_a_file_has_its_owner_and_mode(host, mode):
    host.enrol(key_policy="always")
    for name in ("site.crt", "site.key"):
        (host.tls / name).chmod(mode)
        if os.geteuid() == 0:
            os.chown(host.tls / name, 65534, 65534)
    before = host.save()
    host.renew()
    after = host.save()
    assert {name: after[name][:3] for name in ("site.crt", "site.key")} == {
        name: before[name][:3] for name in ("site.crt", "site.key")
    }


# where others can write


@root_only
def test_in_a_folder_of_others_nothing_is_taken_from_what_lies_there(host):
    """Nor from the pair of which other files are made: they could have put there any owner and mode."""
    options = {"combined_path": str(host.tls / "site.pem"), "chain_path": str(host.tls / "chain")}
    host.enrol(key_policy="always", **options)
    give(host.tls)
    for name in ("site.crt", "site.pem", "chain"):
        give(host.tls / name, mode=0o666)
    give(host.tls / "site.pem", 0, 0o666)
    host.renew()
    modes = {"site.crt": 0o644, "site.key": 0o600, "site.pem": 0o600, "chain": 0o644}
    assert {name: one[:3] for name, one in host.save().items() if not name.startswith(".")} == {
        name: (0, 0, stat.S_IFREG | mode) for name, mode in modes.items()
    }


@root_only
def test_there_the_configuration_says_whose_a_key_is(host):
    host.enrol(key_policy="always", combined_path=str(host.tls / "site.pem"))
    give(host.tls)
    for name in ("site.key", "site.pem"):
        give(host.tls / name, mode=0o600)
    before = pki.snapshot(host.tls)
    with pytest.raises(HostFileError, match="key_path: .* is left alone: .* Set key_owner: the user %d" % MALLORY):
        host.renew()
    assert pki.snapshot(host.tls) == before and host.stand_in.asked == []
    host.edit(lambda content: content["certificate"].update(key_owner=str(MALLORY), key_mode="0400"))
    host.renew()
    after = host.save()
    assert [after[name][0::2][:2] for name in ("site.key", "site.pem")] == [(MALLORY, stat.S_IFREG | 0o400)] * 2


@root_only
def test_a_rollback_there_brings_back_what_was_read_and_nothing_of_theirs(host, monkeypatch):
    host.enrol(rollback=True, key_policy="always", run_after=["false"])
    give(host.tls)
    before = serial(host)
    with pytest.raises(services.HookError, match="The former files are back in their places"):
        host.renew()
    assert serial(host) == before and pair_of(host.tls)[0] == pair_of(host.tls)[1]
    assert {name: one[:3] for name, one in host.save().items() if name in ("site.crt", "site.key")} == {
        "site.crt": (0, 0, stat.S_IFREG | 0o644),
        "site.key": (0, 0, stat.S_IFREG | 0o600),
    }


# what only a play can help


@pytest.mark.parametrize(
    ("lost", "advice"),
    [
        ("site.key", "Only a play can issue it anew: run the one that enrolled this host."),
        ("site.crt", "Run the play that enrols this host, or .*: renewer.pyz enrol {}/site.crt --token-file -"),
    ],
)
def test_what_is_lost_no_renewal_can_bring_back(host, lost, advice):
    host.enrol()
    (host.tls / lost).unlink()
    before = pki.snapshot(host.tls)
    with pytest.raises(CertificateError, match="%s is missing.* %s$" % (lost, advice.format(host.tls))) as raised:
        host.renew()
    assert (pki.snapshot(host.tls), host.stand_in.asked, host.lines()) == (before, [], 0)
    past = host.history()
    assert past.error == str(raised.value) and past.last_error and not past.pending


def test_where_the_authority_refuses_only_a_play_can_help(host):
    host.enrol()
    host.stand_in.say[RENEW] = [(401, {"message": "no"})]
    before = serial(host)
    with pytest.raises(
        StepCAError, match="the CA refused to renew it .401 Unauthorized.* Only a play can issue it anew"
    ):
        host.renew()
    assert (serial(host), host.lines()) == (before, 0)


def test_what_only_a_play_renews_is_an_error_once_it_is_due(host):
    host.enrol()
    host.configure(host.entry(only_by_play="csr_path: the user brought it.", csr_path=str(host.tls / "site.csr")))
    assert host.renew(pki.NOW)[0] == "none"
    with pytest.raises(CertificateError, match="site.crt: it is due. csr_path: the user brought it."):
        host.renew(LATER)
    (host.tls / "site.crt").unlink()
    with pytest.raises(CertificateError, match="the certificate .*site.crt is missing"):
        host.renew(pki.NOW)


# failures


def test_a_ca_that_is_down_is_remembered_and_the_next_run_renews(host):
    host.enrol(on_failure=["sh", "-c", 'echo "$STEPCA_CERTIFICATE_PATH: $STEPCA_ERROR" > %s' % (host.tls / "mail")])
    before = serial(host)
    host.stand_in.say[RENEW] = [REFUSED]
    with pytest.raises(TransportError, match="connection refused"):
        host.renew()
    past = host.history()
    assert (serial(host), host.lines()) == (before, 0)
    assert "connection refused" in past.error and past.last_error and not past.last_success
    mail = (host.tls / "mail").read_text(encoding="utf-8")
    assert mail == "%s: %s\n" % (host.tls / "site.crt", past.error)
    del host.stand_in.say[RENEW]
    assert host.renew()[0] == "renewed"
    assert (host.lines(), host.history().error, host.history().pending) == (1, "", False)


def test_on_failure_that_fails_is_told_with_the_rest(host):
    host.enrol(on_failure=["sh", "-c", "echo no mail; exit 3"])
    (host.tls / "site.key").unlink()
    with pytest.raises(CertificateError, match="Only a play .*on_failure: The command .* failed with code 3: no mail"):
        host.renew()


def test_a_history_that_cannot_be_written_stops_it_before_anything_is_replaced(host):
    host.enrol()
    (host.state / host.path().name).mkdir()
    before = pki.snapshot(host.tls)
    with pytest.raises(HostFileError, match="is no file, but a folder"):
        host.renew()
    (host.state / host.path().name).rmdir()
    past = host.history()
    past.path = str(host.tls.parent / "missing" / "history")
    with pytest.raises(HostFileError, match="Cannot write .*missing") as caught:
        renewal.run(configuration.load(str(host.path())), past, LATER)
    assert str(caught.value).count("Cannot write") == 1
    assert (pki.snapshot(host.tls), host.lines()) == (before, 0)


def test_a_mistake_of_ours_is_one_line_and_remembered(host, monkeypatch):
    host.enrol()
    monkeypatch.setattr(by_host, "examine", lambda *_all: {}["outcome"])
    with pytest.raises(StepCAError, match=r"KeyError at renewer/renewal\.py:\d+\. Please report"):
        host.renew()
    assert "KeyError" in host.history().error


# the services


def test_a_failing_command_is_tried_again_until_it_was_told_once(host):
    host.enrol()
    good = host.entry()
    host.configure(dict(good, run_after=["sh", "-c", "echo broken; exit 7"]))
    with pytest.raises(
        services.HookError, match="site.crt was replaced, but: The command .* failed with code 7: broken."
    ):
        host.renew()
    new = serial(host)
    with pytest.raises(services.HookError, match="code 7"):
        host.renew()
    assert host.history().pending and serial(host) == new
    host.configure(good)
    assert host.renew() == (
        "notified",
        ["an earlier run replaced it and ended before it notified those who use it"],
        [],
    )
    assert host.renew() == ("none", [], [])
    assert (host.lines(), serial(host), host.history().pending, host.history().error) == (1, new, False, "")


def test_services_are_told_after_a_run_that_ended_before_it_could(host, monkeypatch):
    host.enrol()

    def end(_changed):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(services, "tell", end)
        host.renew()
    assert host.lines() == 0 and host.history().pending
    assert host.renew()[0] == "notified"
    assert host.lines() == 1 and not host.history().pending


class Rolling:
    """A service that refuses the new certificate: run_after fails while it is not the old one."""

    def __init__(self, host, always=False, **more):
        self.old = host.tls.parent / "old.crt"
        judge = "exit 5" if always else "cmp -s %s %s || { echo refused; exit 5; }" % (self.old, host.tls / "site.crt")
        script = "echo told >> %s; %s" % (host.told, judge)
        host.enrol(rollback=True, run_after=["sh", "-c", script], **more)
        self.old.write_bytes(serial(host))


@pytest.mark.parametrize("policy", ["on_issue", "always"])
def test_rollback_brings_the_former_set_back(host, policy):
    Rolling(host, combined_path=str(host.tls / "site.pem"), key_policy=policy)
    (host.tls / "site.key").chmod(0o640)
    before = host.save()
    with pytest.raises(
        services.HookError, match="code 5: refused. The former files are back.* The next run tries again"
    ):
        host.renew()
    assert (host.save(), host.lines()) == (before, 2)
    assert not host.history().pending and "refused" in host.history().error


def test_where_the_former_set_is_refused_too_both_is_told(host):
    Rolling(host, always=True)
    before = host.save()
    with pytest.raises(
        services.HookError, match="was replaced, but: .* are back in their places, and still: The command"
    ):
        host.renew()
    assert host.save() == before and host.history().pending


def test_a_former_set_that_cannot_come_back(host, monkeypatch):
    Rolling(host)

    def full(*_all):
        raise HostFileError("Cannot write: the disk is full.")

    monkeypatch.setattr(replacement, "restore", full)
    with pytest.raises(services.HookError, match="code 5.* The former files cannot be put back: .* the disk is full"):
        host.renew()
    assert host.history().pending


def test_nothing_is_rolled_back_where_nothing_was_renewed(host):
    """The services were not told of the last one: they refuse it now, and no older one is known."""
    Rolling(host, always=True)
    past = host.history()
    past.pending = True
    past.save()
    before = host.save()
    with pytest.raises(services.HookError) as caught:
        host.renew(pki.NOW)
    assert "former files" not in str(caught.value) and host.save() == before and host.history().pending


def test_what_is_still_served_is_told_but_not_kept_as_an_error(host, monkeypatch):
    """status sees it for itself, as long as it is so."""
    host.enrol(served="443")
    monkeypatch.setattr(served, "problem", lambda _one: "The file has serial 1, but localhost:443 still serves 2.")
    monkeypatch.setattr(served.wait, "__defaults__", (0.0,))
    with pytest.raises(served.StillServed, match="still serves 2"):
        host.renew()
    past = host.history()
    assert (past.error, past.pending, host.lines()) == ("", False, 1) and past.last_error
    assert json.loads((host.state / host.path().name).read_text(encoding="utf-8"))["pending"] is False


def test_a_ca_that_dates_back_by_an_hour(host):
    """max_lifetime bounds what is left of a life from its signing: such a certificate is renewed, and stays."""
    host.stand_in.backdate = timedelta(hours=1)
    host.enrol(max_lifetime="24h")
    assert host.renew()[0] == "renewed"
    assert host.renew() == ("none", [], [])

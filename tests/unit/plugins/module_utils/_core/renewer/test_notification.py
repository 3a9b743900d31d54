# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A play notifies those who use what it replaced; what it could not tell them, the next play or renewal does."""

from __future__ import annotations

import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import locks
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import history, notification
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import start

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root remembers")


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    found = start(tmp_path, monkeypatch)
    monkeypatch.setattr(history, "FOLDER", str(found.state))
    return found


def notify(host, replaced=True, dry=False, **more):
    entry = host.entry(**more)
    return notification.notify([entry], [entry["certificate_path"]] * replaced, dry)


def test_once_where_all_is_well(host):
    done, failed = notify(host)
    assert len(done) == 1 and done[0].startswith("%s was replaced, and run_after is sh -c" % (host.tls / "site.crt"))
    assert (failed, host.lines(), os.listdir(host.state)) == ({}, 1, []), "and nothing is left to remember"
    assert notify(host, replaced=False) == ([], {}) and host.lines() == 1


def test_what_failed_is_tried_again_by_the_next_play(host):
    entry = dict(host.entry(), run_after=["sh", "-c", "echo told >> %s; exit 3" % host.told])
    path = entry["certificate_path"]
    failed = notification.notify([entry], [path], False)[1]
    assert "failed with code 3" in failed[path] and host.history().pending
    failed = notification.notify([entry], [], False)[1]
    assert path in failed and host.lines() == 2
    assert len(notify(host, replaced=False)[0]) == 1
    assert (host.lines(), host.history().pending) == (3, False)
    assert notify(host, replaced=False) == ([], {})


def test_what_failed_is_tried_again_by_the_next_renewal(host):
    host.enrol()
    broken = dict(host.entry(), run_after=["false"])
    assert notification.notify([broken], [broken["certificate_path"]], False)[1]
    outcome, reasons, _warnings = host.renew(now=host.now_fresh)
    assert (outcome, host.lines(), host.history().pending) == ("notified", 1, False), reasons


def test_what_only_a_play_renews_is_told_by_the_next_run_too(host):
    host.enrol(only_by_play="Only a play.")
    broken = dict(host.entry(), run_after=["false"])
    assert notification.notify([broken], [broken["certificate_path"]], False)[1]
    assert host.renew(now=host.now_fresh)[0] == "notified"
    assert (host.lines(), host.history().pending) == (1, False)


def test_check_mode(host):
    assert len(notify(host, dry=True)[0]) == 1
    assert (host.lines(), os.listdir(host.state)) == (0, [])


def test_a_run_that_is_killed_leaves_it_to_the_next(host, monkeypatch):
    def end(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(notification.services, "tell", end)
        notify(host)
    assert host.history().pending and host.lines() == 0
    assert len(notify(host, replaced=False)[0]) == 1 and host.lines() == 1


def test_what_it_remembered_stays(host):
    """History that the renewer wrote."""
    past = host.history()
    past.last_success, past.error = "2026-07-01T00:00:00Z", "no route"
    past.save()
    notify(host)
    assert vars(host.history()) == vars(past)


def test_who_holds_the_lock_for_long_keeps_nobody_from_being_told(host, monkeypatch):
    def held(*_given):
        raise HostFileError("Another run is replacing certificates.")

    monkeypatch.setattr(locks, "locked", held)
    assert notify(host)[1] == {} and host.lines() == 1


def test_entries_without_hooks_are_nothing_to_remember(host):
    entry = dict(host.entry(), run_after=[])
    assert notification.notify([entry], [entry["certificate_path"]], False) == ([], {})
    assert os.listdir(host.state) == []

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the doctor is told of a host: the words of systemd, the digest of the renewer, the route to each URL."""

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.inspection import checkup
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import services
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import StandIn


@pytest.fixture(name="bare", autouse=True)
def fixture_bare(monkeypatch):
    monkeypatch.setattr(services, "systemd_runs", lambda: False)


def test_a_host_without_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(checkup, "CRON_FILE", str(tmp_path / "cron"))
    told = checkup.look(None, str(tmp_path / "renewer.pyz"), str(tmp_path))
    assert (told["route"], told["renewer"], told["systemd"], told["cron"]) == ([], "", None, False)
    assert durations.parse_time(told["now"], "now") and told["cryptography"] and "python" in told["python"]


def test_the_renewer_by_its_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(checkup, "CRON_FILE", str(tmp_path))
    (tmp_path / "renewer.pyz").write_bytes(b"renewer")
    told = checkup.look(None, str(tmp_path / "renewer.pyz"), str(tmp_path))
    assert told["renewer"] == hashlib.sha256(b"renewer").hexdigest() and told["cron"] is True
    assert (
        checkup.look(None, str(tmp_path), str(tmp_path))["renewer"] == hashlib.sha256(b"").hexdigest()
    )  # a folder is no renewer of ours


def test_each_url_is_asked(tmp_path, monkeypatch):
    stand_in = StandIn(CA)
    stand_in.say.update({"/health": [(200, {"status": "ok"})], "/version": [(200, {"version": "0.30.2"})]})
    monkeypatch.setattr(checkup.https, "Transport", stand_in.transport)
    connection = stand_in.connection()
    away = connections.Connection(
        ["https://127.0.0.1:1"], connection.fingerprints, connection.roots, timeout=2.0, retries=0
    )
    (answer,) = checkup.look(connection, str(tmp_path), str(tmp_path))["route"]
    assert answer == {"url": connection.urls[0], "problem": ""}
    monkeypatch.undo()
    monkeypatch.setattr(services, "systemd_runs", lambda: False)
    (answer,) = checkup.look(away, str(tmp_path), str(tmp_path))["route"]
    assert answer["url"] == away.urls[0] and "refused" in answer["problem"]


def test_the_words_of_systemd(tmp_path, monkeypatch):
    words = {"UnitFileState": "enabled", "ActiveState": "active", "Result": "exit-code"}
    asked = []

    def call(command):
        asked.append(command)
        return 0, words[command[command.index("--property") + 1]] + "\n"

    monkeypatch.setattr(services, "systemd_runs", lambda: True)
    monkeypatch.setattr(services, "call", call)
    told = checkup.look(None, str(tmp_path), str(tmp_path))["systemd"]
    assert told == {"enabled": "enabled", "active": "active", "result": "exit-code"}
    assert [command[-1] for command in asked] == ["stepca-renewer.timer"] * 2 + ["stepca-renewer.service"]

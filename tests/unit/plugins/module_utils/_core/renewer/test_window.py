# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The renewer looks at least once while a certificate is due, or somebody is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import request
from ansible_collections.privatepki.stepca.plugins.module_utils._core.renewer import configuration, status, window
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.renewer.renewing import start

M = timedelta(minutes=1)


def of_options(**more):
    entry = {"certificate_path": "/etc/tls/a.crt", "key_path": "/etc/tls/a.key", "sans": ["a.example"]}
    return window.of_options(request.parse(dict(entry, **more)))


@table(
    "more, found",
    {
        "a third of a day": ({"not_after": "24h"}, timedelta(hours=24) * 0.33),
        "a part of minutes": ({"not_after": "10m", "renew_before": "50%"}, 5 * M),
        "a duration, whatever the life": ({"renew_before": "20m"}, 20 * M),
        "max_lifetime bounds it": ({"max_lifetime": "1h", "renew_before": "10%"}, 6 * M),
        "the shorter of both": ({"max_lifetime": "1h", "not_after": "30m", "renew_before": "10%"}, 3 * M),
        "the CA chooses": ({}, None),
        "a time": ({"not_after": "2031-01-01T00:00:00Z"}, None),
    },
)
def test_what_the_options_show(more, found):
    assert of_options(**more) == found


@table(
    "minutes, interval, problem, warned",
    {
        "too short": (14.9, 15, True, False),
        "just one look": (15, 15, False, True),
        "nearly two": (29.9, 15, False, True),
        "two looks": (30, 15, False, False),
        "hours": (72, 360, True, False),
        "no renewal is asked for": (0, 15, False, False),
    },
)
def test_the_verdict(minutes, interval, problem, warned):
    found = ("/etc/tls/a.crt", minutes * M, interval * M)
    assert (bool(window.problem(*found)), bool(window.warning(*found))) == (problem, warned)


def test_the_numbers_and_the_options_are_named():
    text = window.problem("/etc/tls/a.crt", 72 * M, 360 * M)
    assert "due only 1h12m before it ends" in text and "runs every 6h" in text
    assert "renew_before" in text and "stepca_renewer_interval" in text


@pytest.mark.parametrize("interval, problem", [("6h", True), ("15m", False), (None, False)])
def test_status_says_so(tmp_path, monkeypatch, interval, problem):
    host = start(tmp_path, monkeypatch, now=pki.NOW + timedelta(hours=1))
    host.enrol(renew_before="5%", interval=interval)
    row = status.look(str(host.path()), str(host.state), durations.now())
    assert (row["state"], bool(row["problem"])) == (("failing", True) if problem else ("ok", False)), row
    if problem:
        assert "due only 1h1" in row["problem"] and "every 6h" in row["problem"]


def test_a_configuration_keeps_it(tmp_path, monkeypatch):
    host = start(tmp_path, monkeypatch)
    host.enrol(interval="90m", served="443")
    one = configuration.load(str(host.path()))
    assert one.interval == 90 * M
    again = configuration.parse(configuration.make(one.entry(), one.connection))
    assert (again.interval, again.served) == (90 * M, ("localhost", 443))

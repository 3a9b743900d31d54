# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Certificates that a host is not to renew any more: one of several, then the last, with which the renewer goes."""

from __future__ import annotations

import pytest

from tests.integration.judging import tree
from tests.integration.pairs import pair
from tests.integration.renewing import PATHS, RENEWER, set_up
from tests.integration.support import connection

pytestmark = pytest.mark.oldest_core


def test_with_the_last_certificate_the_renewer_goes(play, host, authority):
    """One absent: the renewer goes on with the other. Both: nothing of it is left, once; and certificates are not its own."""
    metrics = host.path("/metrics")
    metrics.mkdir()
    options = {"metrics_path": str(metrics / "stepca.prom")}
    entries = [pair("site"), pair("other")]
    renewer = set_up(play, host, authority, entries, **options)
    renewer("renew", "--metrics", metrics / "stepca.prom")
    tls = tree(host.path("/etc/tls"))

    def told(*absent, **how):
        listed = [
            dict(entry, state="absent" if name in absent else "present")
            for name, entry in zip(("site", "other"), entries, strict=True)
        ]
        where = {} if len(absent) == len(entries) else connection(authority)  # which only renewals have to know
        task = {"name": "told", RENEWER: {**where, **PATHS, "entries": listed, **options}}
        return play([task, dict(task, name="again")], **how).expect_ok()

    run = told("site")
    assert (run["told"].changed, run["again"].changed) == (True, False)
    assert len(run["told"]["reasons"]) == 1 and "site.crt" in run["told"]["reasons"][0]
    assert run["told"]["configurations"] == [str(renewer.configuration("other.crt"))]
    assert list(renewer.status()) == ["other.crt"]

    there = tree(host.root)
    run = told("site", "other", check=True, diff=True)
    assert run["told"].changed and tree(host.root) == there
    run = told("site", "other", diff=True)
    assert (run["told"].changed, run["again"].changed, run["again"]["reasons"]) == (True, False, [])
    gone = [renewer.config / "other.crt", renewer.program, metrics / "stepca.prom"]
    assert len(run["told"]["reasons"]) == len(gone) and run["told"]["configurations"] == []
    assert str(metrics / "stepca.prom") in " ".join(run["told"]["reasons"])
    assert not renewer.config.exists() and not host.path("/usr/renewer.pyz").exists()
    assert list(metrics.iterdir()) == [] and tree(host.path("/etc/tls")) == tls

    metrics.rmdir()
    run = told("site", "other")
    assert not run["told"].changed, "a folder for metrics that is missing is no reason to fail any more"


def test_a_host_with_no_certificate_yet_keeps_its_renewer(play, host, authority):
    """No entry at all is what sets it up for `enrol`; the configuration of another play keeps it, too."""
    task = {"name": "told", RENEWER: {**connection(authority), **PATHS, "entries": []}}
    run = play([task, dict(task, name="again")]).expect_ok()
    assert (run["told"].changed, run["again"].changed) == (True, False)
    renewer = set_up(play, host, authority, [pair("site")])
    gone = {
        "name": "gone",
        RENEWER: {**connection(authority), **PATHS, "entries": [dict(pair("else"), state="absent")]},
    }
    assert not play([gone]).expect_ok()["gone"].changed
    assert list(renewer.status()) == ["site.crt"]

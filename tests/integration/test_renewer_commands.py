# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The renewer by hand: force, check, status for people and programs, metrics for Prometheus; as root and as anybody."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timezone

import pytest

from tests.integration.judging import judge, mode, see, traffic, tree
from tests.integration.pairs import pair
from tests.integration.renewing import serials, set_up
from tools.commands import wait_until

pytestmark = pytest.mark.oldest_core


def test_force_and_check(play, host, authority):
    """One that is named, then all; what would be done is said, and nothing is touched by saying it."""
    tls = host.path("/etc/tls")
    renewer = set_up(play, host, authority, [pair("a"), pair("b")])
    was, before = serials(host), tree(host.root / "etc")
    with traffic(authority) as asked:
        said = renewer("renew", "--check", "--force", tls / "a.crt").splitlines()
    assert len(said) == 1 and said[0].startswith("would be renewed %s/a.crt: it was asked for by --force" % tls)
    assert renewer("renew", "--check").splitlines() == ["%s/%s.crt: nothing to do" % (tls, name) for name in "ab"]
    assert (asked.posts, tree(host.root / "etc"), renewer.state.exists()) == ([], before, False)

    with traffic(authority) as asked:
        assert renewer("renew", "--force", tls / "b.crt").startswith("renewed %s/b.crt: " % tls)
    now = serials(host)
    assert asked.posts == [("POST", "/1.0/renew")] and now["a"] == was["a"] and now["b"] != was["b"]
    wait_until(lambda: datetime.now(timezone.utc).second != see(tls / "b.crt").not_before.second, 5, "another second")
    with traffic(authority) as asked:
        assert renewer("renew", "--force").count("renewed ") == 2
    assert len(asked.posts) == 2 and not set(serials(host).values()) & set(now.values())
    for name in "ab":
        judge(authority, tls / (name + ".crt"), tls / (name + ".key"))
    assert renewer("renew") == ""
    (line,) = renewer.fails("renew", "/etc/tls/nobody.crt")
    assert "/etc/tls/nobody.crt has no configuration in %s" % renewer.config in line


def test_status(play, host, authority):
    """0 while all is fine, 1 once something is due or wrong, 2 once something has expired; a table, JSON, metrics."""
    tls = host.path("/etc/tls")
    renewer = set_up(play, host, authority, [pair("fine")])
    lines = renewer("status").splitlines()
    assert lines[0].split() == ["CERTIFICATE", "STATE", "ENDS", "LEFT", "RENEWS", "PROBLEM"]
    end = see(tls / "fine.crt").not_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert lines[1].split()[:3] == [str(tls / "fine.crt"), "ok", end] and lines[1].endswith("-")
    row = renewer.status()["fine.crt"]
    assert (row["serial"], row["not_after"], row["problem"]) == (see(tls / "fine.crt").serial, end, "")

    metrics = host.path("/metrics/stepca.prom")
    assert "Cannot write" in renewer.fails("renew", "--metrics", metrics)[0]
    metrics.parent.mkdir()
    renewer("renew", "--metrics", metrics)
    found = samples(metrics)
    path = str(tls / "fine.crt")
    assert found["stepca_certificate_not_after_timestamp_seconds"] == {
        path: see(tls / "fine.crt").not_after.timestamp()
    }
    assert found["stepca_certificate_failing"] == {path: 0}
    assert abs(found["stepca_certificate_last_success_timestamp_seconds"][path] - datetime.now().timestamp()) < 60
    assert "stepca_certificate_last_error_timestamp_seconds" not in found and mode(metrics) == "0644"

    (tls / "fine.key").rename(tls / "away")
    assert renewer.status(code=1)["fine.crt"]["state"] == "failing"
    renewer("renew", "--metrics", metrics, code=1)
    assert samples(metrics)["stepca_certificate_failing"] == {path: 1}
    assert path in samples(metrics)["stepca_certificate_last_error_timestamp_seconds"]
    (tls / "away").rename(tls / "fine.key")
    assert "fine.key is missing" in renewer.status(code=1)["fine.crt"]["problem"], "what the last run said"
    renewer("renew")
    assert renewer.status()["fine.crt"]["problem"] == ""


def test_status_for_anybody(play, host, authority):
    """Who may not read the key is told the rest; who may not write is told so in one line."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can give files to somebody else, and setpriv take its own powers away")
    renewer = set_up(play, host, authority, [pair("site", key_owner="root")])
    renewer("renew")
    for path in (host.path("/etc/tls/site.key"), host.path("/etc/tls"), renewer.state, *renewer.state.iterdir()):
        os.chown(path, 65534, 65534)
    renewer.prefix = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    row = renewer.status()["site.crt"]
    assert (row["state"], row["problem"]) == ("ok", "") and row["last_success"]
    before = tree(host.root)
    (line,) = renewer.fails("renew", "--force")
    assert line.startswith("failed ") and "Permission denied" in line
    assert tree(host.root) == before


def samples(path) -> dict:
    """{name: {path of the certificate: value}}, as Prometheus reads the file."""
    parser = pytest.importorskip("prometheus_client.parser")
    families = list(parser.text_string_to_metric_families(path.read_text(encoding="utf-8")))
    assert all(family.type == "gauge" and family.documentation for family in families)
    return {family.name: {one.labels["path"]: one.value for one in family.samples} for family in families}

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A renewer whose CA, files or configuration fail: one clear line each, old files whole, the others renewed, later all is well."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.judging import judge, leftovers, see, traffic, tree
from tests.integration.pairs import CERTIFICATE, pair
from tests.integration.renewing import Renewer, serials, set_up, tasks
from tests.integration.support import enrolment
from tools.authority import Provisioner
from tools.commands import wait_until
from tools.pki import make_root
from tools.ports import free_port

pytestmark = pytest.mark.oldest_core


def test_a_ca_that_is_away(play, host, new_authority):
    """One line and the exit code; the files stay as they are, and the run after its return renews."""
    authority = new_authority(Provisioner("ansible", rounds=100_000))
    tls = host.path("/etc/tls")
    dead = "https://localhost:%d" % free_port()
    renewer = set_up(play, host, authority, [pair("site")], ca_url=[dead, authority.url], retries=0)
    assert renewer("renew", "--force").startswith("renewed "), "the first URL is dead, the second is not"
    judge(authority, tls / "site.crt", tls / "site.key")
    authority.stop()
    before = tree(tls)
    (line,) = renewer.fails("renew", "--force")
    assert line.startswith("failed %s/site.crt: No answer from the CA. %s: " % (tls, dead)) and authority.url in line
    assert (tree(tls), leftovers(host)) == (before, [])
    row = renewer.status(code=1)["site.crt"]
    assert "No answer from the CA." in row["problem"] and row["last_error"] and row["last_success"]
    authority.start()
    assert renewer("renew", "--force").startswith("renewed ")
    assert renewer.status()["site.crt"]["problem"] == ""


def test_what_has_expired(play, host, new_authority):
    """It proves itself by its key where the provisioner allows it; else only a play can help, and that is said."""
    brief = {"minTLSCertDuration": "1s"}
    authority = new_authority(
        Provisioner("ansible", rounds=100_000, claims=brief),
        Provisioner("lenient", rounds=100_000, claims={**brief, "allowRenewalAfterExpiry": True}),
    )
    tls, life = host.path("/etc/tls"), {"not_after": "4s", "renew_before": "1s"}
    lenient, strict = pair("lenient", **life), pair("strict", **life)
    first = {"name": "lenient", CERTIFICATE: {**enrolment(authority, "lenient"), "certificates": [lenient]}}
    both = tasks(authority, [strict], interval="1s")
    both[1][list(both[1])[1]]["entries"].append(lenient)
    play([first, *both]).expect_ok()
    renewer, was = Renewer(host), serials(host)
    end = max(see(tls / (name + ".crt")).not_after for name in was)
    over = end + timedelta(seconds=1)  # the CA counts whole seconds
    wait_until(lambda: datetime.now(timezone.utc) > over, 60, "the end of both")
    assert {row["state"] for row in renewer.status(code=2).values()} == {"expired"}
    with traffic(authority) as asked:
        said = renewer("renew", code=1).splitlines()
    assert set(asked.posts) == {("POST", "/1.0/renew")}
    assert [line for line in said if line.startswith("renewed %s/lenient.crt: it expired on " % tls)]
    (line,) = [line for line in said if line.startswith("failed ")]
    assert "strict.crt" in line and "expired on" in line
    assert line.endswith("Only a play can issue it anew: run the one that enrolled this host.")
    assert serials(host)["lenient"] != was["lenient"] and serials(host)["strict"] == was["strict"]


def test_a_key_that_was_deleted(play, host, authority):
    """Only a play can help: it says so, touches nothing, and the next play does."""
    tls = host.path("/etc/tls")
    renewer = set_up(play, host, authority, [pair("site"), pair("other")])
    (tls / "site.key").unlink()
    before, was = tree(tls), serials(host)
    said = renewer("renew", code=1).splitlines()
    words = (
        "the private key %s/site.key is missing. Only a play can issue it anew: run the one that enrolled this host."
    )
    assert len(said) == 1 and said[0].endswith(words % tls) and tree(tls) == before
    assert renewer("renew", "--force", code=1).count("renewed %s/other.crt" % tls) == 1
    assert serials(host)["site"] == was["site"] and serials(host)["other"] != was["other"]
    play(tasks(authority, [pair("site"), pair("other")])).expect_ok()
    assert renewer("renew") == "" and renewer.status()["site.crt"]["state"] == "ok"
    judge(authority, tls / "site.crt", tls / "site.key")


GARBAGE = {
    "nothing": b"",
    "cut": None,
    "binary": b"\x00\xff\xfe",
    "list": b"[]",
    "deep": b"[" * 50000,
    "version": {"version": 2},
    "unknown": {"run_afer": []},
    "types": {"certificate": {"certificate_path": 7}},
    "relative": {"certificate": {"certificate_path": "site.crt", "key_path": "k", "sans": ["a.example.com"]}},
    "nul": {"run_after": ["\x00"]},
    "choice": {"certificate": {"certificate_path": "/x", "key_path": "/y", "sans": ["a.b"], "key_type": "rsa-1"}},
    "no-ca": {"ca": {}},
    "http": None,
    "service": {"reload": ["--now"]},
    "port": {"served": "https"},
}


def test_a_configuration_edited_to_garbage(play, host, authority):
    """One line for each, never a traceback, and the others are renewed all the same."""
    tls = host.path("/etc/tls")
    renewer = set_up(play, host, authority, [pair("site")])
    whole = renewer.configuration("site.crt").read_bytes()
    content = json.loads(whole)
    for name, harm in GARBAGE.items():
        if name == "http":
            harm = {"ca": {**content["ca"], "urls": ["http://localhost"]}}
        elif name == "cut":
            harm = whole[: len(whole) // 2]
        text = harm if isinstance(harm, bytes) else json.dumps({**content, **harm}).encode()
        (renewer.config / ("a-%s.json" % name)).write_bytes(text)
    (renewer.config / "a-folder.json").mkdir()
    was = serials(host)
    said = renewer("renew", "--force", code=1).splitlines()
    assert len(said) == len(GARBAGE) + 2 and serials(host) != was
    for name in [*GARBAGE, "folder"]:
        (line,) = [line for line in said if "a-%s.json" % name in line]
        assert line.startswith("failed: ") and len(line) < 700
        assert name == "folder" or line.endswith("Run the play again, which writes it anew.")
    assert [line for line in said if line.startswith("renewed %s/site.crt" % tls)]
    rows = renewer.status(code=1)
    assert rows["site.crt"]["state"] == "ok" and rows["a-cut.json"]["problem"] and len(rows) == len(said)
    metrics = host.path("/stepca.prom")
    renewer("renew", "--metrics", metrics, code=1)
    assert metrics.read_text(encoding="utf-8").count("stepca_certificate_failing{") == len(said)

    # The next play writes its own anew; files of nobody are said to be there until somebody removes them.
    renewer.configuration("site.crt").write_bytes(whole[:99])
    run = play(tasks(authority, [pair("site")])).expect_ok()
    assert not run["enrol"].changed and len(run["renewer"]["reasons"]) == 1
    assert renewer.configuration("site.crt").read_bytes() == whole


def test_a_root_that_has_expired(play, host, new_authority):
    """The CA cannot be believed any more: said so, and nothing is touched."""
    root = make_root(days=50 / 86400)
    authority = new_authority(Provisioner("ansible", rounds=100_000), root=root)
    renewer = set_up(play, host, authority, [pair("site", not_after="10m")], retries=0, interval="1m")
    before = tree(host.path("/etc/tls"))
    end = root.certificate.not_valid_after_utc
    wait_until(lambda: datetime.now(timezone.utc) > end, 60, "the end of the root")
    (line,) = renewer.fails("renew", "--force")
    assert "expired" in line, line
    assert tree(host.path("/etc/tls")) == before

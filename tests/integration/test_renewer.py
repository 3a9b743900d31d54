# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host that renews by itself: the renewer, set up by its module, against a real CA."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.judging import judge, mode, see, traffic, tree
from tests.integration.pairs import everything, pair
from tests.integration.renewing import PATHS, RENEWER, Renewer, tasks
from tests.integration.support import connection
from tests.integration.test_renewal import DUE, LIFE, until_due

pytestmark = pytest.mark.oldest_core


def test_renew_what_is_due(play, host, authority):
    """Set up, found in order, then due: renewed by the client certificate with all that is made of the pair."""
    tls = host.path("/etc/tls")
    bundle = {name: value for name, value in everything("all").items() if name != "pkcs12_password"}
    password = host.path("/etc/password")
    password.write_text("first\n", encoding="ascii")
    password.chmod(0o600)
    bundle["pkcs12_password_file"] = str(password)
    marker = host.path("/srv-told")
    entries = [
        {**pair("site", mode="0640"), **LIFE},
        {**pair("all", key_type="rsa-2048"), **bundle, **LIFE},
        {**pair("rekeyed", key_policy="always"), **LIFE},
        {**pair("rests"), **LIFE},
    ]
    hooks = {"run_after": ["sh", "-c", "echo x >> %s" % marker]}
    run = play(tasks(authority, entries, hooks, interval="20s"), check=True, diff=True).expect_ok()
    assert run["renewer"].changed and not host.path("/usr").exists()
    run = play(tasks(authority, entries, hooks, interval="20s"), diff=True).expect_ok()
    result = run["renewer"]
    assert result.changed and len(result["reasons"]) == 5 and "is missing" in result["reasons"][0]
    assert result["folders"] == [str(tls)] and len(result["configurations"]) == 4
    assert result["schedule"]["on_calendar"].startswith("*-*-* *:")
    renewer = Renewer(host)
    assert (mode(host.path("/usr/renewer.pyz")), mode(renewer.configuration("site.crt"))) == ("0755", "0644")
    before = tree(host.root / "etc")
    with traffic(authority) as asked:
        assert not play(tasks(authority, entries, hooks, interval="20s")).expect_ok()["renewer"].changed
        assert renewer("renew") == ""
    assert (asked, tree(host.root / "etc")) == ([], before)

    was = {name: see(tls / (name + ".crt")) for name in ("site", "all", "rekeyed", "rests")}
    keys = {name: (tls / (name + ".key")).read_bytes() for name in was}
    until_due(tls, "site", "all", "rekeyed")
    due = [dict(entry, **(DUE if "rests" not in entry["certificate_path"] else {})) for entry in entries]
    assert len(play(tasks(authority, due, hooks, interval="20s")[1:]).expect_ok()["renewer"]["reasons"]) == 3
    assert {name: row["state"] for name, row in renewer.status(code=1).items()} == {
        "site.crt": "due",
        "all.crt": "due",
        "rekeyed.crt": "due",
        "rests.crt": "ok",
    }
    assert "would be renewed %s" % (tls / "site.crt") in renewer("renew", "--check")
    assert not marker.exists()
    with traffic(authority) as asked:
        told = renewer("renew")
    assert sorted(path for _method, path in asked.posts) == ["/1.0/rekey", "/1.0/renew", "/1.0/renew"]
    assert "renewed %s/site.crt: it is due since " % tls in told and "rekeyed %s/rekeyed.crt: " % tls in told
    assert marker.read_text(encoding="ascii") == "x\n" * 3
    for name, old in was.items():
        kind = "rsa-2048" if name == "all" else "ec-p256"
        new = judge(authority, tls / (name + ".crt"), tls / (name + ".key"), kind)
        assert (new.serial == old.serial) == (name == "rests")
        assert ((tls / (name + ".key")).read_bytes() == keys[name]) == (name != "rekeyed")
    assert (mode(tls / "site.crt"), mode(tls / "site.key")) == ("0640", "0600")
    assert renewer.status()["site.crt"]["last_success"]
    with traffic(authority) as asked:
        run = play(tasks(authority, entries, hooks, interval="20s")).expect_ok()
    assert asked.posts == [] and not run["enrol"].changed, "what the renewer made is what the play wants"


BUILD = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.privatepki.stepca.plugins.module_utils import _zipapp
sys.stdout.buffer.write(_zipapp.build())
"""


def test_same_bytes_from_every_core(play, host, authority, lab):
    """What this core's payload made on its host is what another Python makes of the sources, with no Ansible at all."""
    play([{"name": "renewer", RENEWER: {**connection(authority), **PATHS}}]).expect_ok()
    command = [sys.executable, "-B", "-c", BUILD, lab.collections]
    made = subprocess.run(command, capture_output=True, check=True, cwd="/").stdout
    assert host.path("/usr/renewer.pyz").read_bytes() == made

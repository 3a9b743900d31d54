# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The playbook expiry_report: what stands on the page and in the table, whatever the hosts are like."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.judging import see, tree
from tests.integration.pairs import pair
from tests.integration.renewing import tasks
from tests.integration.support import as_variables, connection
from tools.hosts import Host
from tools.ports import free_port

pytestmark = pytest.mark.one_core

READ = "Read the certificates of each host"


def unreachable(name):
    """A host of the inventory whose port nobody answers."""
    # No control path: that of the test is too long for a socket.
    found = {
        "ansible_host": "127.0.0.1",
        "ansible_port": free_port(),
        "ansible_ssh_args": "-F none",
        "host_root": "/nowhere",
    }
    return Host(name, Path(), found)


def test_a_fleet_with_everything_wrong(play, new_hosts, report, authority, tmp_path):
    """Not read come first with the reason, then by days left; certificates of others are there; nothing of a host runs."""
    fine, odd, bare = new_hosts("fine", "<b>odd</b>", "bare")
    entries = [pair("long", not_after="20h"), pair("short", not_after="10h"), pair("lost")]
    play(tasks(authority, entries, unrenewable="warn"), hosts=[fine, odd]).expect_ok()
    serials = {name: see(fine.path("/etc/tls/%s.crt" % name)).serial for name in ("long", "short", "lost")}
    fine.path("/etc/tls/lost.crt").unlink()
    # A certificate by others, whose name would be a formula and a tag; the root of the CA, which is for no host.
    foreign = odd.path("/etc/tls/foreign.pem")
    subject = "/CN==cmd<script>alert(1)<\\/script>"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "400"]
    made += ["-addext", "basicConstraints=critical,CA:FALSE", "-subj", subject]
    subprocess.run([*made, "-keyout", tmp_path / "key", "-out", foreign], check=True, capture_output=True)
    odd.path("/etc/tls/root.pem").write_text(authority.root_pem, encoding="ascii")
    odd.path("/etc/tls/garbage.crt").write_text("trust me", encoding="ascii")
    # As an older or a newer renewer may have left them.
    for path in odd.path("/etc/renew.d").glob("long*"):
        path.write_text(json.dumps(dict(json.loads(path.read_text(encoding="utf-8")), version=7)), encoding="utf-8")
    poor = Host("=1+1", bare.root, {**bare.variables, "ansible_python_interpreter": "/nowhere/python3"})
    before = [tree(host.root) for host in (fine, odd)]
    run, page, rows = report([fine, odd, bare, poor, unreachable("gone")], **as_variables(connection(authority)))
    run.expect_ok()
    assert before == [tree(host.root) for host in (fine, odd)] and "Traceback" not in run.output
    assert {row["host"] for row in rows if row["state"] == "unread"} == {"gone", "'=1+1"}
    assert [row["state"] for row in rows][:2] == ["unread"] * 2 and "refused" in page.text
    left = [float(row["days_left"]) for row in rows if row["days_left"]]
    assert left == sorted(left) and len(left) == 2 + 2 + 1 + 1
    missing = [row for row in rows if row["state"] == "failing"]
    assert {(row["host"], row["certificate_path"].rsplit("/")[-1]) for row in missing} >= {("fine", "lost.crt")}
    assert any("no configuration of version 1" in row["problem"] for row in missing if row["host"] == "<b>odd</b>")
    named = {(row["host"], row["certificate_path"].rsplit("/")[-1]): row for row in rows}
    assert named["fine", "long.crt"]["serial"] == serials["long"] and serials["long"] in page.text
    assert named["fine", "long.crt"]["names"] == "dns:long.example.com"
    assert named["<b>odd</b>", "foreign.pem"]["known_by"] == "folder"
    assert named["<b>odd</b>", "foreign.pem"]["issuer"].startswith("CN=")
    assert ("<b>odd</b>", "root.pem") not in named and ("<b>odd</b>", "garbage.crt") not in named
    assert "script" not in page.tags and "b" in page.tags and page.outside == []
    assert [row[0] for row in page.rows if row[0] == "<b>odd</b>"]
    assert "all 5 hosts" in page.text and "Hosts on which none was found" in page.text


def test_part_of_a_fleet_and_a_threshold(play, hosts, report, authority):
    """Under --limit the page says of how many; red is what has fewer days left than the threshold."""
    play(
        tasks(authority, [pair("long", not_after="20h"), pair("short", not_after="10h")], unrenewable="warn"),
        hosts=hosts,
    ).expect_ok()
    run, page, rows = report(hosts, limit=["--limit", "web*"], stepca_report_days=0.5)
    assert "2 of 3 hosts" in page.text and {row["host"] for row in rows} == {"web2", "web3"}
    assert [cell for row in page.rows for cell in row if "0.4" in cell or "0.8" in cell] == ["0.4"] * 2 + ["0.8"] * 2
    assert run.changed and {task.action for task in run.changed} <= {"ansible.builtin.template", "template"}


def test_nobody_is_there(report):
    """No host reachable: a report all the same."""
    run, page, rows = report([unreachable("one"), unreachable("two")])
    run.expect_ok()
    assert [row["host"] for row in rows] == ["one", "two"] and "No certificate was found." in page.text


def test_certificates_that_only_a_play_knows(play, host, report, authority):
    """Without a renewer, the variables of the role say where to look; one that is not there is failing."""
    listed = {
        "stepca_certificates": [pair("made")],
        "stepca_certificates_web": [pair("never"), {**pair("old"), "state": "absent"}],
    }
    play(tasks(authority, [pair("made")])[:1]).expect_ok()
    _run, _page, rows = report([host], **listed)
    assert [(row["known_by"], row["state"]) for row in rows] == [("play", "failing"), ("play", "ok")]
    assert "is missing" in rows[0]["problem"]

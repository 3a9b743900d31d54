# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a host says is words in a cell: it draws no table, moves no cursor, floods nobody, and fails for itself alone."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import time

import pytest

from tests.integration.judging import see
from tests.integration.pairs import TLS, pair
from tests.integration.renewing import tasks
from tests.integration.support import as_variables, connection, enrolment
from tests.unit.plugins.hostile import TEXT, is_harmless

FACTS = {"serial": TEXT, "common_name": TEXT, "sans": [TEXT, ";=1+1"], "issuer": '=cmd;"=cmd', "provisioner": TEXT}
ROW = {"certificate_path": "/etc/tls/site.crt", "known_by": "renewer", "state": "ok", "problem": ""}
ROW.update(not_after="2030-01-01T00:00:00Z", days_left=3.5, certificate=FACTS)
#: Rows that may cost themselves, and nothing else.
ODD = [
    dict(ROW, days_left=None),
    dict(ROW, days_left="soon"),
    dict(ROW, days_left=10**400),
    dict(ROW, certificate_path=None, not_after=7, certificate=[]),
    dict(ROW, certificate_path=TEXT, problem=TEXT, state=TEXT, known_by=TEXT, not_after=TEXT),
    dict(ROW, problem=";=cmd;\t@cmd", certificate_path="+1;'-2", certificate=dict(FACTS, issuer=";\"'＝cmd")),
    7,
    None,
    [ROW],
]


@pytest.mark.both_cores
def test_a_report_of_hosts_that_lie(play, new_hosts, liar, report, authority, tmp_path):
    """A bad row costs a row, a flood is cut and counted; the page and the table of the others are as ever."""
    (fine,) = new_hosts("fine")
    play(tasks(authority, [pair("good")], unrenewable="warn"), hosts=[fine]).expect_ok()
    hosts = [
        fine,
        liar("odd", {"whole": {"certificates": ODD, "problems": [TEXT, 7]}}),
        liar("flood", {"whole": {"certificates": [ROW] * 20000, "problems": []}}),
        liar("none", {"whole": {"certificates": "none", "problems": []}}),
        liar("failing", {"whole": {"failed": True, "msg": TEXT}}),
    ]
    begun = time.monotonic()
    run, page, rows = report(hosts, stepca_report_days=1)
    run.expect_ok()
    assert time.monotonic() - begun < 240 and "Traceback" not in run.output
    assert [row["state"] for row in rows if row["host"] == "fine"] == ["ok"]
    unread = {(row["host"], row["problem"]) for row in rows if row["state"] == "unread"}
    assert any(
        host == "flood" and "more certificates that this host lists were left out" in why for host, why in unread
    )
    assert any(host == "none" and "did not answer as this collection's module does" in why for host, why in unread)
    assert {"odd", "failing"} <= {host for host, why in unread if "evil.example" in why}
    assert {row["state"] for row in rows if row["host"] == "odd"} == {"failing", "ok", "unread"}
    assert sum(row["host"] == "flood" and row["state"] != "unread" for row in rows) <= 1000
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    table = (tmp_path / "report.csv").read_text(encoding="utf-8")
    assert is_harmless(html) and is_harmless(table) and page.outside == []
    for delimiter in ",;\t":
        cells = [cell.strip() for line in csv.reader(table.splitlines(), delimiter=delimiter) for cell in line]
        assert [cell for cell in cells if re.match("[=+@＝＋－＠-]", cell)] == []
    style = re.search("<style>(.*?)</style>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    policy = "default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'" % digest
    assert '<meta http-equiv="Content-Security-Policy" content="%s">' % policy in html
    assert html.index("Content-Security-Policy") < html.index("<style>") and "@media print" in style
    assert not re.search(r'\sstyle="|<script|\son\w+="', html)


@pytest.mark.both_cores
def test_a_host_that_draws_a_table_for_the_doctor(new_hosts, liar, doctor, authority):
    """Each line of the table is one that we began, and no advice in it is the host's."""
    told = {"python": TEXT, "cryptography": TEXT, "renewer": TEXT, "cron": TEXT, "now": "2030-01-01T00:00:00Z"}
    told["route"] = [
        {"url": authority.url, "problem": TEXT},
        {"url": TEXT, "problem": TEXT},
        {"url": "", "problem": ""},
    ]
    told["systemd"] = {"enabled": TEXT, "active": TEXT, "result": TEXT}
    hosts = [liar("draws", {"whole": told}), liar("fails", {"whole": {"failed": True, "msg": TEXT}})]
    _run, lines = doctor(hosts, **as_variables(connection(authority)))
    every = [line for mark in lines for line in lines[mark]]
    assert all(line.isprintable() and not re.search("[✘✔]", line[1:]) for line in every)
    begun = {line[2:].split()[0] for line in every if "draws" in line or "fails" in line}
    assert begun <= {"host", "route", "renewer", "timer", "renewal", "controller", "url", "clock", "pin", "ca_name"} | {
        "version",
        "provisioner",
    }
    advised = [line for line in every if "evil.example" in line]
    assert len(advised) == 2 and all(re.match("✘ (route +From the host: |host +)", line) for line in advised)


@pytest.mark.both_cores
def test_a_certificate_whose_host_says_much(play, liar, authority):
    """Reasons, warnings, facts and failures are one line each, and can be read."""
    said = {
        "outcome": "none",
        "reasons": [TEXT],
        "warnings": [TEXT] * 300,
        "certificate": FACTS,
        "backup_files": [TEXT],
    }
    failed = {"failed": True, "msg": TEXT}
    hosts = [liar("talks", {"whole": {"answers": [said]}}), liar("fails", {"whole": {"answers": [failed]}})]
    run = play(
        [
            {
                "name": "issue",
                "privatepki.stepca.stepca_certificate": {
                    "certificate_path": "{{ host_root }}/etc/tls/site.crt",
                    "key_path": "{{ host_root }}/etc/tls/site.key",
                    "sans": ["site.example.com"],
                    **enrolment(authority),
                },
                "ignore_errors": True,
            }
        ],
        hosts=hosts,
    )
    talks = run.task("issue", "talks").result
    assert is_harmless(talks["reasons"][0]) and all(map(is_harmless, talks["warnings"]))
    assert len(talks["warnings"]) <= 101
    assert run.expect_failure("evil.example", host="fails")["msg"].isprintable()


@pytest.mark.both_cores
def test_a_bad_entry_costs_one_certificate(play, host, authority, core, tmp_path):
    """Half a surrogate pair (which ansible-core 2.17 lets through) and a NUL: the other certificate is there."""
    half = "\ud800" if core.name == "2.17" else "b\0c"
    (tmp_path / "odd.json").write_text(json.dumps({"half": half, "end": "a\0b"}), encoding="ascii")
    bad = [
        dict(pair("half"), common_name="{{ odd.half }}"),
        dict(pair("nul"), common_name="{{ odd.end }}"),
        dict(pair("name"), sans=["{{ odd.half }}.example.com"]),
        dict(pair("path"), certificate_path=TLS + "{{ odd.half }}"),
        dict(pair("nul-path"), key_path=TLS + "{{ odd.end }}"),
    ]
    task = {"certificates": [*bad, pair("good")], **enrolment(authority)}
    run = play(
        [{"name": "issue", "privatepki.stepca.stepca_certificate": task, "ignore_errors": True}],
        extra_vars={"odd": "{{ lookup('ansible.builtin.file', '%s') | from_json }}" % (tmp_path / "odd.json")},
        verbosity=3,
    )
    failure = run.expect_failure("5 of 6 certificates failed")
    assert [bool(one.get("failed")) for one in failure["results"]] == [True] * 5 + [False]
    assert "Traceback" not in run.output and "Unexpected error" not in run.output
    assert failure["results"][-1]["outcome"] == "issued"
    assert see(host.path("/etc/tls/good.crt")).serial

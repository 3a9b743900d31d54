# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the playbooks that look at a fleet show: the table of the doctor, the report on certificates."""

from __future__ import annotations

import csv
from html.parser import HTMLParser

from tests.integration.renewing import PATHS

DOCTOR = "privatepki.stepca.doctor"
REPORT = "privatepki.stepca.expiry_report"
SHOW = "Show what was found"
RENEWER = {"stepca_renewer_path": PATHS["path"], "stepca_renewer_config_path": PATHS["config_path"]}


class Page(HTMLParser):
    """A page as a reader sees it: the rows of its tables, each a list of cells, and all of its text."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.text, self.tags, self.outside = [], "", set(), []
        self.feed(text)
        self.rows = [[cell.strip() for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def ask_doctor(play, hosts, **variables):
    """Run the playbook with these variables; return the run and the lines of its table by mark."""
    run = play(DOCTOR, hosts=hosts, variables={**RENEWER, **variables})
    lines = next(task for task in run.tasks if task.task == SHOW)["msg"]
    assert "Traceback" not in run.output and all(line[0] in "✘–✔" for line in lines), lines
    return run, {mark: [line for line in lines if line[0] == mark] for mark in "✘–✔"}


def make_report(play, folder, hosts, *, limit=(), **variables):
    """Run the playbook; return the run, the page and the rows of the table."""
    variables = {
        "stepca_report_path": str(folder / "report"),
        "stepca_renewer_config_path": PATHS["config_path"],
        **variables,
    }
    run = play(REPORT, hosts=hosts, variables=variables, arguments=limit)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    with open(folder / "report.csv", encoding="utf-8", newline="") as stream:
        return run, page, list(csv.DictReader(stream))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Tables of bad input: each row is a task and the words of its failure; all rows of a table are one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.remains import staged, tree
from tests.integration.support import Playbooks, Run
from tools.hosts import Host

HOST = "site.example.com"
PAIR = {"certificate_path": "{{ host_root }}/etc/tls/site.crt", "key_path": "{{ host_root }}/etc/tls/site.key"}


@dataclass
class Row:
    """A task that fails with these words. An option that is None is left out; `keywords` are the task's own."""

    name: str
    words: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    module: str = "stepca_certificate"
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def task(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The task, as a playbook has it."""
        own = {**PAIR, "sans": [HOST]} if self.module == "stepca_certificate" else {}
        options = {name: value for name, value in {**own, **defaults, **self.options}.items() if value is not None}
        return {"name": self.name, "privatepki.stepca." + self.module: options, "ignore_errors": True, **self.keywords}


def tasks(rows: Iterable[Row], defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks of a table."""
    return [row.task(defaults) for row in rows]


def check_failures(run: Run, rows: Iterable[Row]) -> None:
    """Each row failed with its words, in one sentence or more, and nowhere was a traceback."""
    wrong = {}
    for row in rows:
        result = run[row.name]
        missing = [word for word in row.words if word not in result.msg]
        if not result.failed or missing:
            wrong[row.name] = "lacks %s: %s: %s" % (missing, result.status, result.msg)
    assert "Traceback" not in run.output, run
    if wrong:
        pytest.fail("\n".join("%s: %s" % pair for pair in wrong.items()), pytrace=False)


def run_unchanged(play: Playbooks, host: Host, content: Any, **options: Any) -> Run:
    """Run a playbook that must change nothing on the host, nor leave a staged file."""
    before = tree(host.path("/etc"))
    run = play(content, hosts=[host], verbosity=3, **options)
    assert staged([host]) == [], run
    assert tree(host.path("/etc")) == before, run
    assert not run.changed, run
    return run

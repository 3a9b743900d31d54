# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Playbooks whose tasks are measured: seconds for all hosts together, and what was executed on each of them."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.cache import CHECKOUT
from tools.commands import run

PLAYBOOKS = CHECKOUT / "tests" / "benchmark"

_CONFIGURATION = """\
[defaults]
forks = 10
nocows = true
library = {playbooks}/library
callback_plugins = {playbooks}/callback_plugins
callbacks_enabled = lab_trips
[connection]
pipelining = true
"""


@dataclass
class Measured:
    """One thing that was measured: a figure for each round."""

    seconds: list[float] = field(default_factory=list)
    # The most commands on one host, and the bytes that its programs were given, which is what a module is made of.
    trips: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    hosts: int = 1

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Plays:
    """Runs playbooks on hosts, and keeps what tests/benchmark/callback_plugins tells of their tasks."""

    def __init__(self, folder: Path, environment: Mapping[str, str], hosts: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.measured: dict[str, Measured] = defaultdict(Measured)
        folder.mkdir()
        (folder / "ansible.cfg").write_text(_CONFIGURATION.format(playbooks=PLAYBOOKS), encoding="utf-8")
        (folder / "hosts.yml").write_text(json.dumps({"nodes": {"hosts": hosts}}, indent=2), encoding="utf-8")

    def __call__(self, playbook: str, variables: Path, label: str = "%s", limit: str = "all", **others: Any) -> None:
        """Run one. A task is kept by its name, put into `label`; all tasks are one where `label` has no place for it."""
        lines = self.folder / "trips.jsonl"
        lines.unlink(missing_ok=True)
        command = ["ansible-playbook", "-i", self.folder / "hosts.yml", "-e", "@%s" % variables, "--limit", limit]
        command += ["-e", json.dumps(others), PLAYBOOKS / playbook]
        settings = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "LAB_TRIPS": str(lines)}
        run(command, env={**self.environment, **settings}, cwd=self.folder)
        self._keep([json.loads(text) for text in lines.read_text(encoding="utf-8").splitlines()], label)

    def _keep(self, lines: list[dict[str, Any]], label: str) -> None:
        seconds: Counter[str] = Counter()
        trips: dict[str, Counter[str]] = defaultdict(Counter)
        sent: dict[str, Counter[str]] = defaultdict(Counter)
        for line in lines:
            name = label % line["task"] if "%s" in label else label
            if line.get("host") == "localhost":  # delegated to the controller: no way to a host
                continue
            if "host" in line:
                trips[name][line["host"]] += 1
                sent[name][line["host"]] += line["sent"]
            else:
                seconds[name] += line["seconds"]
        for name, duration in seconds.items():
            one = self.measured[name]
            one.seconds.append(duration)
            one.trips.append(max(trips[name].values(), default=0))
            one.sent.append(max(sent[name].values(), default=0))
            one.hosts = max(1, len(trips[name]))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The benchmark itself: ten nodes, a real step-ca, rounds of plays, and a table of medians and ratios.

Runs in the environment `demo`; `tools.benchmark` prepares it.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.cache import CHECKOUT, temporary_folder
from tools.commands import command_line, run, say
from tools.images import ensure_images
from tools.laboratory import Laboratory, laboratory
from tools.tree import linked_tree

PLAYBOOKS = CHECKOUT / "tests" / "benchmark"
SUITE = "debian12"
NODES = {"node%d" % number: SUITE for number in range(1, 11)}
ROUNDS = 7

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
    """What was seen of the tasks of one name: a figure for each round."""

    seconds: list[float] = field(default_factory=list)
    trips: list[Counter[str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Plays:
    """Runs the playbooks on hosts, and keeps what the callback tells of their tasks."""

    def __init__(self, folder: Path, environment: Mapping[str, str], hosts: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.measured: dict[str, Measured] = defaultdict(Measured)
        folder.mkdir()
        (folder / "ansible.cfg").write_text(_CONFIGURATION.format(playbooks=PLAYBOOKS), encoding="utf-8")
        inventory = {"nodes": {"hosts": hosts}}
        (folder / "hosts.yml").write_text(json.dumps(inventory, indent=2), encoding="utf-8")

    def __call__(self, playbook: str, variables: Path, **others: Any) -> None:
        """Run one of them; all of its tasks are measured."""
        lines = self.folder / "trips.jsonl"
        lines.unlink(missing_ok=True)
        command = ["ansible-playbook", "-i", self.folder / "hosts.yml", "-e", "@%s" % variables]
        command += ["-e", json.dumps(others), PLAYBOOKS / playbook]
        settings = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "LAB_TRIPS": str(lines)}
        run(command, env={**self.environment, **settings}, cwd=self.folder)
        trips: dict[str, Counter[str]] = defaultdict(Counter)
        sent: Counter[str] = Counter()
        for text in lines.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if "trip" in line:
                trips[line["trip"]][line["host"]] += 1
                sent[line["trip"]] += line["sent"]
                continue
            one = self.measured[line["task"]]
            one.seconds.append(line["seconds"])
            one.trips.append(trips.pop(line["task"], Counter()))
            one.sent.append(sent.pop(line["task"], 0))


def over_ssh(lab: Laboratory) -> dict[str, dict[str, Any]]:
    """The inventory of the nodes."""
    options = "-F none -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=%s"
    return {
        node.name: {
            "ansible_host": node.address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(lab.folder / "login_key"),
            "ansible_ssh_common_args": options % (lab.folder / "known_hosts"),
            "ansible_python_interpreter": "/usr/bin/python3",
            "fqdn": node.fqdn,
        }
        for node in lab.nodes
    }


def settings(lab: Laboratory) -> Path:
    """The file of variables that a user would write."""
    provisioner = lab.authority.provisioner("ansible")
    variables = {
        "stepca_ca_url": lab.authority.url,
        "stepca_ca_fingerprint": lab.authority.fingerprint,
        "stepca_provisioner": provisioner.name,
        "stepca_provisioner_key": provisioner.jwk,
    }
    path = lab.folder / "stepca.yml"
    path.touch(mode=0o600)
    path.write_text(json.dumps(variables), encoding="utf-8")
    return path


def measure(lab: Laboratory) -> dict[str, Measured]:
    """Run the rounds on the nodes; the first is not counted, it opens the connections."""
    variables = settings(lab)
    plays = Plays(lab.folder / "nodes", lab.settings(linked_tree(lab.folder / "collections")), over_ssh(lab))
    plays("prepare.yml", variables)
    for number in range(ROUNDS + 1):
        if number <= 1:
            plays.measured.clear()
        say("benchmark: round %d of %d" % (number, ROUNDS))
        plays("round.yml", variables, round=number)
    return plays.measured


def show(measured: Mapping[str, Measured]) -> None:
    """Print the table."""
    probe = measured["Probe"].median
    for name, one in measured.items():
        ratio, trips = one.median / probe, sorted(set(one.trips[-1].values()))
        print("%-12s %6.2f s  %5.2f  %s  %d KiB" % (name, one.median, ratio, trips, one.sent[-1] / 10240))


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the figures."""
    folder = temporary_folder("benchmark")
    try:
        ensure_images([SUITE])
        with laboratory("benchmark", folder, NODES) as lab:
            show(measure(lab))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    command_line(main)

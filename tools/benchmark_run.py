# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The benchmark itself: ten nodes, a real step-ca, rounds of plays. `tools.benchmark` prepares its environment.

A round plays everything that is compared, so that what else the machine does falls on all alike. The first round is not
counted: it opens the connections.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.benchmark_report import Report
from tools.cache import CHECKOUT, temporary_folder
from tools.commands import ToolError, command_line, say
from tools.images import ensure_images
from tools.laboratory import Laboratory, laboratory
from tools.measuring import PLAYBOOKS, Measured, Plays
from tools.tree import copied_tree

SUITE = "debian12"
NODES = {"node%d" % number: SUITE for number in range(1, 11)}
ROUNDS = 7
# Of what takes long.
FEW_ROUNDS = 3
GROWTH = (10, 30, 100)

REPORT = CHECKOUT / "tests" / "output" / "benchmark.json"


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
            "folder": "/etc/benchmark",
        }
        for node in lab.nodes
    }


def local(folder: Path, count: int) -> dict[str, dict[str, Any]]:
    """An inventory of hosts that are folders of this machine."""
    return {
        "host%d" % number: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "fqdn": "host%d.example.com" % number,
            "folder": str(folder / ("host%d" % number)),
        }
        for number in range(count)
    }


def settings(lab: Laboratory) -> Path:
    """The file of variables that a user would write; the key is not encrypted, as for large fleets."""
    provisioner = lab.authority.provisioner("ansible")
    variables = {
        "stepca_ca_url": lab.authority.url,
        "stepca_ca_fingerprint": lab.authority.fingerprint,
        "stepca_provisioner": provisioner.name,
        "stepca_provisioner_key": provisioner.jwk,
        "ca_root_path": str(lab.authority.root_path),
    }
    path = lab.folder / "stepca.yml"
    path.touch(mode=0o600)
    path.write_text(json.dumps(variables), encoding="utf-8")
    return path


class Benchmark:
    """What is played in a laboratory, and what was measured."""

    def __init__(self, lab: Laboratory, others: Path) -> None:
        """`others` is a collections path with community.crypto."""
        self.lab = lab
        self.variables = settings(lab)
        copied_tree(lab.folder / "collections")
        self.environment = lab.settings(lab.folder / "collections")
        self.environment["ANSIBLE_COLLECTIONS_PATH"] += os.pathsep + str(others)
        self.plays = Plays(lab.folder / "nodes", self.environment, over_ssh(lab))

    def tasks(self) -> Mapping[str, Measured]:
        """Single tasks on the nodes, and the same by hand."""
        self.plays("prepare.yml", self.variables)
        for number in range(ROUNDS + 1):
            if number <= 1:
                self.plays.measured.clear()
            say("benchmark: round %d of %d" % (number, ROUNDS))
            self.plays("round.yml", self.variables, round=number, ten=self.ten(number))
            self.plays("by_hand.yml", self.variables, "by hand, fresh", round=number)
            self.plays("by_hand.yml", self.variables, "by hand, again", round=number)
        for number in range(FEW_ROUNDS):
            say("benchmark: the roles, round %d of %d" % (number + 1, FEW_ROUNDS))
            self.plays("roles.yml", self.variables, "both roles, fresh", round=number)
            self.plays("roles.yml", self.variables, "both roles, again", round=number)
        return self.plays.measured

    def ten(self, number: int) -> list[dict[str, Any]]:
        """Ten certificates of one host, for the task that takes many."""
        paths = ["/etc/benchmark/ten-%d-%d" % (number, one) for one in range(10)]
        names = [self.lab.nodes[0].fqdn]
        return [{"certificate_path": path + ".crt", "key_path": path + ".key", "sans": names} for path in paths]

    def steady_requests(self) -> int:
        """How many requests a steady run makes to the CA."""
        before = len(self.lab.authority.requests())
        self.plays("growth.yml", self.variables, "not counted")
        del self.plays.measured["not counted"]
        return len(self.lab.authority.requests()) - before

    def growth(self) -> Mapping[str, Measured]:
        """The same task for more and more hosts."""
        folder = self.lab.folder / "local"
        plays = Plays(folder, self.environment, local(folder, max(GROWTH)))
        plays("prepare.yml", self.variables)
        plays.measured.clear()
        for number in range(FEW_ROUNDS):
            say("benchmark: growth, round %d of %d" % (number + 1, FEW_ROUNDS))
            for count in GROWTH:
                plays("growth.yml", self.variables, "%%s, %d hosts" % count, "nodes[0:%d]" % (count - 1))
        return plays.measured

    def renewer(self) -> dict[str, Any]:
        """Seconds and peak memory (KiB) of the renewer, and of a Python that only imports the library."""
        self.plays("renewer.yml", self.variables, "not counted")
        del self.plays.measured["not counted"]
        renewer = "/usr/local/lib/stepca/renewer.pyz"
        commands = {
            "import": ["python3", "-c", "import cryptography.x509"],
            "status": ["python3", renewer, "status"],
            "renew": ["python3", renewer, "renew"],
        }
        script = (PLAYBOOKS / "costs.py").read_text(encoding="utf-8")
        return json.loads(self.lab.nodes[0].execute("python3", "-c", script, json.dumps(commands)))


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the figures."""
    if len(arguments) != 1:
        raise ToolError("say where community.crypto is; make benchmark does")
    folder = temporary_folder("benchmark")
    try:
        ensure_images([SUITE])
        with laboratory("benchmark", folder, NODES) as lab:
            benchmark = Benchmark(lab, Path(arguments[0]))
            tasks = benchmark.tasks()
            report = Report(tasks, benchmark.steady_requests(), benchmark.renewer(), benchmark.growth())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report.figures(), indent=2) + "\n", encoding="utf-8")
    say("benchmark: written to %s" % REPORT.relative_to(CHECKOUT))
    return 0 if report.counts_are_right() else 1


if __name__ == "__main__":
    command_line(main)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Run molecule scenarios, each in a laboratory of its own: `python -m tools.scenarios REPORT [NAME...]`.

`tools.test` calls this in the environment molecule. REPORT becomes a JSON object of name to "passed", "failed"
or "skipped": a scenario for which this checkout lacks something writes the reason to the file `skipped` of its laboratory.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tools.cache import CHECKOUT, temporary_folder
from tools.commands import ToolError, command_line, in_ci, is_expected, say
from tools.images import ensure_images
from tools.laboratory import Laboratory, laboratory
from tools.outside import NAME as OUTSIDE
from tools.outside import run_outside
from tools.tree import copied_tree

SCENARIOS = CHECKOUT / "extensions" / "molecule"

# Scenarios wait for timers more than they compute.
AT_ONCE = 3

# Begun first, so that at the end no processor waits for one that began late.
LONGEST_FIRST = ("faults", "absent", "image", "services", "renewal", "no-network", "upgrade", "owners")

# Its attackers take all the time that a machine has, and in others certificates live for a minute: it has a turn of its own.
ALONE = ("redteam",)

# What is printed of the end of a log or a journal; all of it is kept in a file.
LAST_LINES = 60
_MODULE = ": Invoked with "


class Run:
    """One run of some scenarios, from one copy of the checkout."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.folder = temporary_folder("molecule")
        self.collection = copied_tree(self.folder / "collections")

    def all(self) -> dict[str, str]:
        """Run them, several at once; return how each ended."""
        ensure_images()
        together = sorted((name for name in self.names if name not in ALONE), key=_turn)
        with ThreadPoolExecutor(max_workers=AT_ONCE) as workers:
            outcomes = workers.map(lambda name: self._outside() if name == OUTSIDE else self._one(name), together)
            results = dict(zip(together, outcomes, strict=True))
        results.update({name: self._one(name) for name in self.names if name in ALONE})
        if "failed" in results.values():
            say("molecule: what the scenarios left is kept in %s" % self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return results

    def _one(self, name: str) -> str:
        folder = self.folder / name
        folder.mkdir()
        begun = time.monotonic()
        try:
            with laboratory(name, folder) as lab:
                started = time.monotonic()
                passed = self._molecule(name, lab)
                leaks = lab.leaks()
                if leaks or not passed:
                    lab.evidence()
        except ToolError as error:
            say("molecule: %s: %s" % (name, error))
            return "failed"
        finished = time.monotonic()
        outcome = "passed" if passed and not leaks else "failed"
        if outcome == "passed" and (folder / "skipped").exists():
            reason = (folder / "skipped").read_text(encoding="utf-8").strip()
            say("molecule: %s SKIPPED: %s" % (name, reason))
            return "failed" if in_ci() and not is_expected(reason) else "skipped"
        say(
            "molecule: %s %s: %.0f s, %.0f s of it to start the nodes"
            % (name, outcome, finished - begun, started - begun)
        )
        for leak in leaks:
            say("molecule: %s: a secret of the controller is on a host: %s" % (name, leak))
        if outcome == "failed":
            _show(folder)
        return outcome

    def _molecule(self, name: str, lab: Laboratory) -> bool:
        """Run one scenario, and obey it."""
        command = ["molecule", "test", "--no-command-borders", "--scenario-name", name]
        with open(lab.folder / "molecule.log", "wb") as log:
            return lab.run(command, self.collection, self.folder / "collections", self._log(log)) == 0

    def _outside(self) -> str:
        """Run the project of somebody else, which has a container of its own and nothing of a laboratory."""
        folder = self.folder / OUTSIDE
        folder.mkdir()
        begun = time.monotonic()
        try:
            with open(folder / "molecule.log", "wb") as log:
                outcome = "passed" if run_outside(folder, self._log(log)) else "failed"
        except ToolError as error:
            say("molecule: %s: %s" % (OUTSIDE, error))
            return "failed"
        say("molecule: %s %s: %.0f s" % (OUTSIDE, outcome, time.monotonic() - begun))
        if outcome == "failed":
            _show(folder)
        return outcome

    def _log(self, log: IO[bytes]) -> IO[bytes] | None:
        """Where output goes: to the screen if there is only one scenario, else to this file."""
        return None if len(self.names) == 1 else log


def _turn(name: str) -> int:
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)


def _show(folder: Path) -> None:
    log = (folder / "molecule.log").read_text(encoding="utf-8", errors="replace")
    say("----- what failed, of %s" % (folder / "molecule.log"))
    say("\n".join(failed_tasks(log)))
    say("----- the last of it\n%s" % "\n".join(log.splitlines()[-LAST_LINES:]))
    for journal in sorted(folder.glob("*.journal")):
        # Every module writes its arguments there, in lines as long as a page.
        lines = [line for line in journal.read_text(encoding="utf-8").splitlines() if _MODULE not in line]
        say("----- the last of %s\n%s" % (journal.name, "\n".join(lines[-LAST_LINES:])))


def failed_tasks(log: str) -> list[str]:
    """What Ansible printed of each task that failed on some host, whether the play went on or not.

    What failed does not stand at the end: the other hosts go on with the play.
    """
    tasks = re.split(r"^(?=(?:TASK|PLAY|RUNNING HANDLER) )", log, flags=re.MULTILINE)
    return [task.rstrip() for task in tasks if re.search(r"^\W*(?:\[\d+m)?(?:fatal|failed): \[", task, re.MULTILINE)]


def scenario_names() -> list[str]:
    """The scenarios that there are, that of the outside project among them."""
    return sorted([OUTSIDE, *(path.parent.name for path in SCENARIOS.glob("*/molecule.yml"))])


def main(arguments: Sequence[str]) -> int:
    """Run the named scenarios, all without a name."""
    report, *names = arguments
    unknown = set(names) - set(scenario_names())
    if unknown:
        raise ToolError("no scenario %s; there are: %s" % (", ".join(sorted(unknown)), ", ".join(scenario_names())))
    results = Run(names or scenario_names()).all()
    Path(report).write_text(json.dumps(results), encoding="utf-8")
    return 1 if "failed" in results.values() else 0


if __name__ == "__main__":
    command_line(main)

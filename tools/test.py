# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""`make test`: lint, unit, sanity, integration, molecule, or those that are named.

Further arguments after `--` go to pytest, or are the names of molecule scenarios.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from tools import nodes, programs
from tools.cache import CHECKOUT, cache_folder, temporary_folder
from tools.commands import ToolError, command_line, in_ci, say
from tools.lint import lint
from tools.sanity import sanity
from tools.venvs import Unavailable, ensure

COVERED = "plugins/module_utils/_core"
COVERAGE_NEEDED = 95

CONTROLLERS = ("controller-2.17", "controller-newest", "host", "host-oldest", "host-middle")


class Part:
    """One part of the tests, how it ended and how long it took."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.passed = False
        self.seconds = 0.0
        self.counts: Counter[str] = Counter()

    def run(self, pytest_arguments: Sequence[str]) -> None:
        """Run it; what goes wrong is said, and the other parts run all the same."""
        say("\n===== %s" % self.name)
        begun = time.monotonic()
        try:
            self.passed = self._run(pytest_arguments)
        except ToolError as error:
            say("error: %s" % error)
        self.seconds = time.monotonic() - begun

    def _run(self, pytest_arguments: Sequence[str]) -> bool:
        if self.name == "lint":
            return lint()
        if self.name == "sanity":
            return sanity()
        if self.name == "molecule":
            return self._molecule(pytest_arguments)
        return self._unit(pytest_arguments) if self.name == "unit" else self._integration(pytest_arguments)

    def _unit(self, arguments: Sequence[str]) -> bool:
        coverage = ["--cov=%s" % COVERED, "--cov-report=term-missing", "--cov-fail-under=%d" % COVERAGE_NEEDED]
        # Of a part of the tests, the figure says nothing.
        return self._pytest("tests/unit", [] if arguments else coverage, arguments)

    def _integration(self, arguments: Sequence[str]) -> bool:
        # Made before, and not by several workers at once that wait for each other.
        for name in CONTROLLERS:
            try:
                environment = ensure(name)
            except Unavailable as error:
                say("integration: SKIPPED: %s" % error)
                if in_ci():
                    return False
                continue
            if name.startswith("controller"):
                say("integration: %s is ansible-core %s" % (name, environment.version_of("ansible-core")))
        for name in programs.SOURCES:
            programs.find(name)
        # Some tests wait for the end of a certificate: one worker more than processors has something to do meanwhile.
        workers = "--numprocesses=%d" % ((os.cpu_count() or 1) + 1)
        return self._pytest("tests/integration", ["--dist=worksteal", workers], arguments)

    def _molecule(self, scenarios: Sequence[str]) -> bool:
        reason = nodes.why_not()
        if reason:
            say("molecule: SKIPPED: %s" % reason)
            self.counts["skipped"] = 1
            return not in_ci()
        environment = ensure("molecule")
        say("molecule: with ansible-core %s" % environment.version_of("ansible-core"))
        programs.find("step-ca")
        folder = temporary_folder(self.name + "-report")
        report = folder / "report.json"
        command = [environment.python, "-m", "tools.scenarios", report, *scenarios]
        done = subprocess.run([str(word) for word in command], cwd=CHECKOUT, env=_environment(folder), check=False)
        if report.exists():
            self.counts = Counter(json.loads(report.read_text(encoding="utf-8")).values())
        shutil.rmtree(folder, ignore_errors=True)
        return done.returncode == 0

    def _pytest(self, folder: str, options: Sequence[str], arguments: Sequence[str]) -> bool:
        workbench = ensure("workbench")
        temporary = temporary_folder(self.name)
        report = temporary / "report.xml"
        # Whoever names files does not want the whole folder besides.
        named = any(argument.startswith(folder) for argument in arguments)
        command: list[str] = [str(workbench.python), "-m", "pytest", *([] if named else [folder]), "--quiet"]
        command += ["-p", "tools.strict"]
        command += ["-p", "no:cacheprovider", "--numprocesses=auto", "--durations=5"]
        command += ["--basetemp=%s" % (temporary / "t"), "--junitxml=%s" % report, *options, *arguments]
        environment = _environment(temporary)
        if workbench.made_of.minor >= (3, 12):  # older ones cannot, and coverage would warn
            environment["COVERAGE_CORE"] = "sysmon"
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, check=False)
        self.counts = _counts(report)
        if done.returncode == 0:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            say("%s: what the tests wrote is kept in %s" % (self.name, temporary))
        return done.returncode == 0

    def __str__(self) -> str:
        outcome = "ok" if self.passed else "FAILED"
        details = ", ".join("%d %s" % (self.counts[key], key) for key in ("passed", "failed", "skipped"))
        return "%-12s %-7s %5.0f s%s" % (self.name, outcome, self.seconds, "   " + details if self.counts else "")


def _environment(temporary: Path) -> dict[str, str]:
    """The checkout stays as it is: nothing compiled, collected or remembered in it."""
    return {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "COVERAGE_FILE": str(temporary / "coverage"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(cache_folder("hypothesis")),
    }


def _counts(report: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    if not report.exists():
        return counts
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            counts["failed"] += 1
        else:
            counts["skipped" if "skipped" in kinds else "passed"] += 1
    return counts


PARTS = ("lint", "unit", "sanity", "integration", "molecule")


def main(arguments: Sequence[str]) -> int:
    """Run the named parts (all without one), then sum up."""
    words = list(arguments)
    cut = words.index("--") if "--" in words else len(words)
    names, pytest_arguments = words[:cut], words[cut + 1 :]
    unknown = set(names) - set(PARTS)
    if unknown:
        raise ToolError("no part %s; there are: %s" % (", ".join(sorted(unknown)), ", ".join(PARTS)))
    parts = [Part(name) for name in names or PARTS]
    for part in parts:
        part.run(pytest_arguments)
    total: Counter[str] = sum((part.counts for part in parts), Counter())
    say("")
    for part in parts:
        print(part)
    print("%d passed, %d failed, %d skipped" % (total["passed"], total["failed"], total["skipped"]), flush=True)
    return 0 if all(part.passed for part in parts) else 1


if __name__ == "__main__":
    command_line(main)

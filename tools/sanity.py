# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""`ansible-test sanity` with the oldest and the newest ansible-core, without containers.

ansible-test wants three things that an ordinary checkout on an ordinary machine does not give it: the collection
copied to where Ansible would install it, real interpreters on PATH, and a script that brings pip into its own
environments. It drops the environment, so everything is given by files in a home of its own, kept in the cache.
"""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.cache import CHECKOUT, cache_folder, temporary_folder
from tools.commands import command_line, in_ci, say
from tools.pythons import find_pythons
from tools.tree import copied_tree
from tools.venvs import Environment, Unavailable, ensure

CORES = ("controller-2.17", "controller-newest")

# What tests and tools are like, one pylint says as well as another, and it takes longer than all the rest: with the oldest
# ansible-core it reads what users install.
SHIPPED_ALONE = {"controller-2.17": "plugins/"}

# Takes the place of get-pip.py: no download beside the package index that everything else comes from.
_GET_PIP = '''\
"""Unpack the interpreter's own pip, then install what ansible-test pinned."""

import subprocess
import sys

wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
# A child process, because ensurepip points PIP_CONFIG_FILE at the null device for the rest of its own.
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install"] + wanted))
'''


@dataclass(frozen=True)
class Outcome:
    """How the sanity tests of one ansible-core ended."""

    title: str
    passed: bool
    seconds: float
    log: Path


def sanity(arguments: Sequence[str] = ()) -> bool:
    """Run all of it; print the outcome of each ansible-core; return whether all is well."""
    complaints = filled_ignore_files()
    for complaint in complaints:
        say("sanity: %s is not empty: mend what it hides" % complaint)
    environments, lacking = _environments()
    # Each is mostly one process waiting for another: side by side they take little longer than one.
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda environment: _sanity_of(environment, arguments), environments))
    for outcome in outcomes:
        said = _essence(outcome.log.read_text(encoding="utf-8"))
        say("sanity, %s: %s in %.0f s" % (outcome.title, "ok" if outcome.passed else "FAILED", outcome.seconds))
        say("".join("  %s\n" % line for line in said) + "  (all of its output: %s)" % outcome.log)
    return not complaints and not lacking and all(outcome.passed for outcome in outcomes)


def _environments() -> tuple[list[Environment], bool]:
    found, lacking = [], False
    for name in CORES:
        try:
            found.append(ensure(name))
        except Unavailable as error:
            say("sanity: SKIPPED: %s" % error)
            lacking = in_ci()
    return found, lacking or not found


def _essence(output: str) -> list[str]:
    """Leave out what ansible-test and pip say about their own work."""
    lines = output.splitlines()
    told = [line for line in lines if line.startswith(("ERROR", "WARNING"))]
    final = next((number for number, line in enumerate(lines) if line.startswith("FATAL")), len(lines))
    return told + [line for line in lines[final:] if line]


def filled_ignore_files() -> list[str]:
    """Return the ignore files that hide something."""
    files = sorted((CHECKOUT / "tests" / "sanity").glob("ignore*.txt"))
    return [str(path.relative_to(CHECKOUT)) for path in files if path.read_text(encoding="utf-8").strip()]


def _sanity_of(environment: Environment, arguments: Sequence[str]) -> Outcome:
    title = "ansible-core %s" % environment.version_of("ansible-core")
    say("sanity, %s: running (minutes the first time)" % title)
    log = cache_folder("ansible-test", environment.name) / "sanity.log"
    begun = time.monotonic()
    folder = temporary_folder("sanity")
    try:
        collection = copied_tree(folder, with_git=True)
        with open(log, "wb") as output:
            codes = [
                subprocess.run(
                    [environment.program("ansible-test"), "sanity", "--color", "no", *chosen],
                    cwd=collection,
                    env=_environment_variables(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
                for chosen in _turns(environment, arguments)
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(title, not any(codes), time.monotonic() - begun, log)


def _turns(environment: Environment, arguments: Sequence[str]) -> list[Sequence[str]]:
    """What ansible-test is asked for, one after the other; who asks for something else gets that."""
    if arguments or environment.name not in SHIPPED_ALONE:
        return [arguments]
    return [("--skip-test", "pylint"), ("--test", "pylint", SHIPPED_ALONE[environment.name])]


def _environment_variables(environment: Environment) -> dict[str, str]:
    home = cache_folder("ansible-test", environment.name)
    _write_get_pip(home, environment)
    _write_pip_settings(home)
    # Real interpreters before a version manager's shims, which may answer for nothing.
    folders = dict.fromkeys(str(python.path.parent) for python in find_pythons().values())
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "HOME": str(home), "PATH": path}


def _write_get_pip(home: Path, environment: Environment) -> None:
    """Put our stand-in where ansible-test looks before it downloads, under each version of pip that it pins."""
    kept = home / ".ansible" / "test" / "cache"
    kept.mkdir(parents=True, exist_ok=True)
    for source in environment.folder.glob("lib/python3*/site-packages/ansible_test/_internal/python_requirements.py"):
        for version in set(re.findall(r"""pip(?:=|['"]: )['"]([0-9.]+)['"]""", source.read_text(encoding="utf-8"))):
            (kept / ("get_pip_%s.py" % version.replace(".", "_"))).write_text(_GET_PIP, encoding="utf-8")


def _write_pip_settings(home: Path) -> None:
    """Hand on whatever settings the user's pip has, from wherever it has them, as a file."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = configparser.RawConfigParser()
    settings.add_section("global")
    # Sorted, what came from the environment (":env:.") stands before files: going backwards, it wins.
    for line in sorted(listing.splitlines(), reverse=True):
        name, _equals, value = line.partition("=")
        section, _dot, option = name.rpartition(".")
        if section in ("global", "install", ":env:") and value:
            settings.set("global", option, str(ast.literal_eval(value)))
    target = home / ".config" / "pip" / "pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "w", encoding="utf-8") as handle:
        settings.write(handle)


def main(arguments: Sequence[str]) -> int:
    """Run sanity tests; arguments go to ansible-test, as in `--test validate-modules`."""
    return 0 if sanity(arguments) else 1


if __name__ == "__main__":
    command_line(main)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Named virtual environments, each made of one file in `tools/requirements`, kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cache import CHECKOUT, cache_folder
from tools.commands import ToolError, command_line, locked, run, say
from tools.pythons import NEWEST, OLDEST, Python, find_pythons

REQUIREMENTS = CHECKOUT / "tools" / "requirements"


@dataclass(frozen=True)
class Variant:
    """Which Python an environment wants: the newest (or oldest) one at hand between two versions."""

    lowest: tuple[int, int]
    highest: tuple[int, int] = NEWEST
    oldest_first: bool = False


VARIANTS = {
    "controller-2.17": Variant((3, 10), (3, 12)),
    "controller-newest": Variant((3, 10)),
    "host": Variant((3, 9)),
    # With ansible-core 2.17 as its controller, which manages 3.7 to 3.12.
    "host-oldest": Variant(OLDEST, (3, 12), oldest_first=True),
    "host-middle": Variant((3, 7), (3, 11)),
    "workbench": Variant((3, 10)),
    "demo": Variant((3, 10)),
    "lint": Variant((3, 10)),
    "molecule": Variant((3, 10)),
    "awx": Variant((3, 11)),
}


@dataclass(frozen=True)
class Environment:
    """A virtual environment that is ready for use."""

    name: str
    folder: Path
    made_of: Python

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def program(self, name: str) -> Path:
        """Return a program that one of the requirements brought."""
        return self.folder / "bin" / name

    def version_of(self, distribution: str) -> str:
        """Return the version of a package in it."""
        question = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        return run([self.python, "-c", question, distribution]).strip()


class Unavailable(ToolError):
    """No Python at hand fits this environment."""


def choose_python(name: str) -> Python:
    """Return the Python at hand that fits an environment best."""
    variant = VARIANTS[name]
    fitting = [
        python
        for minor, python in find_pythons().items()
        if variant.lowest <= minor <= variant.highest and python.makes_environments
    ]
    if not fitting:
        raise Unavailable(
            "the environment %s needs a Python between %d.%d and %d.%d with venv and ensurepip; at hand: %s"
            % (name, *variant.lowest, *variant.highest, _at_hand())
        )
    return fitting[0] if variant.oldest_first else fitting[-1]


def _at_hand() -> str:
    return ", ".join(str(python) for python in find_pythons().values()) or "none"


def ensure(name: str) -> Environment:
    """Return the environment of that name; make it anew if its requirements or its Python changed."""
    python = choose_python(name)
    folder = cache_folder("venvs") / name
    environment = Environment(name, folder, python)
    requirements = REQUIREMENTS / (name + ".txt")
    digest = hashlib.sha256(requirements.read_bytes() + str(python).encode()).hexdigest()
    stamp = folder / "complete"
    with locked(cache_folder("locks") / name):
        if not (stamp.exists() and stamp.read_text(encoding="utf-8") == digest):
            _make(environment, requirements)
            stamp.write_text(digest, encoding="utf-8")
    return environment


def _make(environment: Environment, requirements: Path) -> None:
    say("making the environment %s of %s" % (environment.name, environment.made_of))
    shutil.rmtree(environment.folder, ignore_errors=True)
    run([environment.made_of.path, "-m", "venv", environment.folder])
    run([environment.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements])


def main(arguments: Sequence[str]) -> int:
    """Make the named environments (all without a name) and print where they are."""
    for name in arguments or VARIANTS:
        if name not in VARIANTS:
            raise ToolError("no environment %r; there are: %s" % (name, ", ".join(VARIANTS)))
        print(ensure(name).folder)
    return 0


if __name__ == "__main__":
    command_line(main)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Find the Python interpreters at hand. Each is really run: a version manager's shim may answer for nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.commands import command_line

OLDEST, NEWEST = (3, 7), (3, 14)

# A virtual environment's interpreter names the one it was made of; `ensurepip` is missing on some distributions.
_ASK = """
import sys
try:
    import ensurepip, venv
    whole = 1
except ImportError:
    whole = 0
print(getattr(sys, "_base_executable", None) or sys.executable)
print("%d.%d.%d" % sys.version_info[:3])
print(whole)
"""


@dataclass(frozen=True)
class Python:
    """An interpreter that ran and said who it is."""

    path: Path
    version: tuple[int, int, int]
    makes_environments: bool

    @property
    def minor(self) -> tuple[int, int]:
        return self.version[:2]

    def __str__(self) -> str:
        return "Python %d.%d.%d (%s)" % (*self.version, self.path)


def _ask(candidate: Path) -> Python | None:
    try:
        done = subprocess.run([candidate, "-c", _ASK], capture_output=True, text=True, timeout=30, check=False)
        path, version, whole = done.stdout.split("\n")[:3]
        numbers = [int(number) for number in version.split(".")]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return Python(Path(path), (numbers[0], numbers[1], numbers[2]), whole == "1")


def _pyenv_folders() -> list[Path]:
    """The real interpreters of pyenv: its shims on PATH answer only for the versions that are selected."""
    if not shutil.which("pyenv"):
        return []
    done = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
    return sorted(Path(done.stdout.strip()).glob("versions/*/bin")) if done.returncode == 0 else []


def _candidates() -> Iterator[Path]:
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    names = ["python3.%d" % minor for minor in range(OLDEST[1], NEWEST[1] + 1)] + ["python3"]
    for folder in _pyenv_folders() + folders:
        for name in names:
            if os.access(folder / name, os.X_OK):
                yield folder / name


@cache
def find_pythons() -> dict[tuple[int, int], Python]:
    """Return one interpreter for each minor version at hand, those that can make virtual environments first."""
    found: dict[tuple[int, int], Python] = {}
    asked: set[Path] = set()
    for candidate in _candidates():
        program = candidate.resolve()
        if program in asked:
            continue
        asked.add(program)
        python = _ask(candidate)
        if python is None or not OLDEST <= python.minor <= NEWEST:
            continue
        known = found.get(python.minor)
        if known is None or (python.makes_environments and not known.makes_environments):
            found[python.minor] = python
    return dict(sorted(found.items()))


def main(arguments: Sequence[str]) -> int:
    """Print the interpreters found."""
    for python in find_pythons().values():
        print(python if python.makes_environments else "%s, without venv and ensurepip" % python)
    return 0


if __name__ == "__main__":
    command_line(main)

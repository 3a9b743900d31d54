# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""All linters but ansible-test's, in a copy of the checkout that lies where Ansible would install it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.cache import CHECKOUT, temporary_folder
from tools.commands import command_line, in_ci, say
from tools.tree import copied_tree
from tools.venvs import Environment, Unavailable, ensure

LINTERS = {
    "ruff": ["ruff check --no-cache", "ruff format --no-cache --check"],
    "yamllint": ["yamllint --strict ."],
    "ansible-lint": ["ansible-lint --offline --strict --profile production"],
    "antsibull-docs": ["antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self ."],
    "antsibull-changelog": ["antsibull-changelog lint"],
}


def lint(names: Sequence[str] = ()) -> bool:
    """Run the linters of these names (all without one); return whether all are content."""
    try:
        environment = ensure("lint")
    except Unavailable as error:
        say("lint: SKIPPED: %s" % error)
        return not in_ci()
    folder = temporary_folder("lint")
    try:
        collection = copied_tree(folder, with_git=True)
        commands = [command for name in names or LINTERS for command in LINTERS[name]]
        # Most of them use one processor, and each only reads: side by side, they take as long as the slowest.
        with ThreadPoolExecutor() as pool:
            results = list(pool.map(lambda command: _run(command, environment, collection, folder), commands))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return all(results)


def _run(command: str, environment: Environment, collection: Path, folder: Path) -> bool:
    settings = {
        **os.environ,
        "PATH": os.pathsep.join([str(environment.folder / "bin"), os.environ.get("PATH", os.defpath)]),
        "ANSIBLE_COLLECTIONS_PATH": str(folder),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        shlex.split(command),
        cwd=collection,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    say("lint: %s\n%s" % (command, done.stdout.decode("utf-8", "replace")))
    return done.returncode == 0


def mend() -> bool:
    """Format the Python files of the checkout, and mend what ruff can mend."""
    ruff = ensure("lint").program("ruff")
    checked = subprocess.run([ruff, "check", "--no-cache", "--fix"], cwd=CHECKOUT, check=False)
    formatted = subprocess.run([ruff, "format", "--no-cache"], cwd=CHECKOUT, check=False)
    return checked.returncode == 0 and formatted.returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Run the named linters, or with `--fix` mend what can be mended."""
    if list(arguments) == ["--fix"]:
        return 0 if mend() else 1
    unknown = set(arguments) - set(LINTERS)
    if unknown:
        say("no linter %s; there are: %s" % (", ".join(sorted(unknown)), ", ".join(LINTERS)))
        return 2
    return 0 if lint(arguments) else 1


if __name__ == "__main__":
    command_line(main)

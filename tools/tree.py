# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The checkout as an installed collection: Ansible finds it only under `ansible_collections/privatepki/stepca`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.cache import CHECKOUT
from tools.commands import run

_INSIDE = Path("ansible_collections", "privatepki", "stepca")

# What no listing of files to copy may hold, where there is no git to ask.
_RUBBISH = {".git", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ansible"}


def linked_tree(folder: Path) -> Path:
    """Make `folder` a collections path with a link to the checkout: quick, and edits show at once."""
    target = folder / _INSIDE
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        target.symlink_to(CHECKOUT, target_is_directory=True)
    return folder


def copied_tree(folder: Path, with_git: bool = False) -> Path:
    """Copy the files that git knows or would add into `folder`; return the collection's own folder.

    ansible-test refuses a link, resolves it back, and asks git what belongs to the collection.
    """
    target = folder / _INSIDE
    shutil.rmtree(target, ignore_errors=True)
    for name in _files():
        source = CHECKOUT / name
        if not source.is_file():
            continue  # known to git and deleted since
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name)
    if with_git:
        run(["git", "init", "--quiet", "."], cwd=target)
        run(["git", "add", "--all"], cwd=target)
    return target


def _files() -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return [
            str(path.relative_to(CHECKOUT))
            for path in CHECKOUT.rglob("*")
            if path.is_file() and not _RUBBISH.intersection(path.relative_to(CHECKOUT).parts)
        ]
    return [name for name in listing.split("\0") if name]

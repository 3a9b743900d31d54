# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The project of somebody else (`tests/outside`), tested by its own molecule scenario, with the collection as users get it.

The collection is built and installed from the archive. A container is all that the scenario has, and an authority of
`privatepki.stepca.disposable_ca`; afterwards nothing of both may be left. Needs the environment molecule, and images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

from tools import programs
from tools.cache import CHECKOUT, PROJECT
from tools.commands import run, say
from tools.images import image_name
from tools.nodes import ENGINE_SETTINGS
from tools.ports import free_port
from tools.tree import copied_tree

NAME = "outside"
_NODE = "debian12"


def run_outside(folder: Path, log: IO[bytes] | None) -> bool:
    """Run it in this folder; whether it passed and left nothing. Output goes to `log`, where one is given."""
    project = folder / "nginx"
    shutil.copytree(CHECKOUT / "tests" / "outside" / "nginx", project)
    environment = _environment(folder)
    _install(folder, environment)
    try:
        done = subprocess.run(
            ["molecule", "test", "--no-command-borders"],
            cwd=project,
            env=environment,
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
            check=False,
        )
        left = _left(folder, environment)
        for what in left:
            say("molecule: %s: this is left: %s" % (NAME, what))
        return done.returncode == 0 and not left
    finally:
        # What a broken run leaves.
        command = ["podman", "rm", "--force", "--ignore", "--time=0", environment["SITE_CONTAINER"]]
        subprocess.run(command, env=environment, capture_output=True, check=False)


def _environment(folder: Path) -> dict[str, str]:
    """What the scenario asks of its surroundings, and a cache of its own, so that what is left can be seen."""
    settings = folder / "containers.conf"
    settings.write_text(ENGINE_SETTINGS, encoding="utf-8")
    path = [Path(sys.executable).parent, programs.find("step-ca").path.parent, os.environ.get("PATH", os.defpath)]
    return {
        **os.environ,
        "PATH": os.pathsep.join(map(str, path)),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "CONTAINERS_CONF": str(settings),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(folder / "molecule"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SITE_CONTAINER": "%s-%d-%s" % (PROJECT, os.getpid(), NAME),
        "SITE_IMAGE": image_name(_NODE),
        "SITE_SSH_PORT": str(free_port()),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def _install(folder: Path, environment: dict[str, str]) -> None:
    """Build the archive and install it where nothing else is."""
    source = copied_tree(folder / "source")
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    run([galaxy, "collection", "build", "--output-path", folder / "archive"], environment, source)
    (archive,) = (folder / "archive").iterdir()
    collections = environment["ANSIBLE_COLLECTIONS_PATH"]
    run([galaxy, "collection", "install", "--offline", "--collections-path", collections, archive], environment)


def _left(folder: Path, environment: dict[str, str]) -> list[str]:
    """Containers, folders and processes that outlived the scenario."""
    listing = run(["podman", "ps", "--all", "--format", "{{.Names}}"], environment).split()
    left = [name for name in listing if name == environment["SITE_CONTAINER"]]
    left += [str(path) for path in Path(environment["XDG_CACHE_HOME"]).glob("**/disposable_ca*")]
    processes = run(["ps", "-A", "-ww", "-o", "pid=", "-o", "args="]).splitlines()
    return left + [line.strip() for line in processes if str(folder / "cache") in line]

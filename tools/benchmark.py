# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""`make benchmark`: prepare what it needs, then go on as `tools.benchmark_run` in the demo's environment."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tools import nodes, programs
from tools.cache import CHECKOUT, cache_folder, temporary_folder
from tools.commands import command_line, in_ci, locked, run, say
from tools.venvs import Environment, ensure

_INSIDE = "ansible_collections/community/crypto/"


def community_crypto(environment: Environment) -> Path:
    """Return a collections path with community.crypto, which PyPI has as a part of the package ansible only."""
    target = cache_folder("benchmark", "collections")
    with locked(cache_folder("locks") / "community.crypto"):
        if (target / _INSIDE / "MANIFEST.json").exists():
            return target
        folder = temporary_folder("ansible")
        try:
            say("downloading the package ansible, for its community.crypto")
            run([environment.python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "ansible"])
            with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
                names = [name for name in wheel.namelist() if name.startswith(_INSIDE)]
                # The file by which it is known to be complete comes last.
                wheel.extractall(target, sorted(names, key=lambda name: name.endswith("MANIFEST.json")))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return target


def main(arguments: Sequence[str]) -> int:
    """Make the environment, find or build step-ca, and hand over."""
    reason = nodes.why_not()
    if reason:
        say("benchmark: SKIPPED: %s" % reason)
        return 1 if in_ci() else 0
    controller = ensure("demo")
    programs.find("step-ca")
    say("benchmark: with ansible-core %s on %s" % (controller.version_of("ansible-core"), controller.made_of))
    os.chdir(CHECKOUT)
    words = [controller.python, "-m", "tools.benchmark_run", community_crypto(controller), *arguments]
    os.execv(controller.python, [str(word) for word in words])


if __name__ == "__main__":
    command_line(main)

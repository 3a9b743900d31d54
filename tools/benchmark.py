# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""`make benchmark`: prepare what it needs, then go on as `tools.benchmark_run` in the demo's environment."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tools import nodes, programs
from tools.cache import CHECKOUT
from tools.commands import command_line, in_ci, say
from tools.venvs import ensure


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
    words = [controller.python, "-m", "tools.benchmark_run", *arguments]
    os.execv(controller.python, [str(word) for word in words])


if __name__ == "__main__":
    command_line(main)

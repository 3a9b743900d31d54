# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""`make demo`: prepare what the demo needs, then go on as `tools.demo_run` in its own environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from tools import programs
from tools.cache import CHECKOUT
from tools.commands import ToolError, command_line, say
from tools.venvs import ensure


def main(arguments: Sequence[str]) -> int:
    """Make the environments, find or build step-ca, and hand over."""
    if not shutil.which("openssl"):
        raise ToolError("the demo has openssl judge its certificates, and there is no openssl on PATH")
    controller, host = ensure("demo"), ensure("host")
    step_ca = programs.find("step-ca")
    say("using ansible-core %s on %s" % (controller.version_of("ansible-core"), controller.made_of))
    os.chdir(CHECKOUT)
    words = [controller.python, "-m", "tools.demo_run", step_ca.path, controller.folder, host.python, *arguments]
    os.execv(controller.python, [str(word) for word in words])


if __name__ == "__main__":
    command_line(main)

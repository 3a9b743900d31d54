# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Find `step-ca` and `step`, or build them once into the cache. `python -m tools.programs step-ca` prints the path.

How, the collection itself knows: its throw-away authority for molecule needs the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from plugins.plugin_utils._disposable.program import STEP_CA, Finder, Program, ProgramError, Source
from tools.commands import ToolError, command_line, say
from tools.venvs import choose_python

STEP = Source("step", "Smallstep CLI", "github.com/smallstep/cli/cmd/step", "v0.30.6", (0, 27, 0))
SOURCES = {source.name: source for source in (STEP_CA, STEP)}


def find(name: str) -> Program:
    """Return the program from PATH if it is new enough, else the one in the cache, built now if need be."""
    try:
        program = Finder(say, choose_python("workbench").path).find(SOURCES[name])
    except ProgramError as error:
        raise ToolError(str(error)) from None
    say("using %s" % program)
    return program


def main(arguments: Sequence[str]) -> int:
    """Print the path of each named program."""
    if not arguments or not set(arguments) <= set(SOURCES):
        raise ToolError("name one or more of: %s" % ", ".join(SOURCES))
    for name in arguments:
        print(find(name).path)
    return 0


if __name__ == "__main__":
    command_line(main)

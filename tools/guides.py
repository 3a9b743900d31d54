# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What the guides show, as tests run it: the text of a code block by its name. Nothing is written down twice.

A block has a name where the guide gives it one:

    .. code-block:: yaml
        :name: nginx

`python -m tools.guides GUIDE NAME` prints it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tools.cache import CHECKOUT
from tools.commands import ToolError, command_line

FOLDER = CHECKOUT / "docs" / "docsite" / "rst"
_DIRECTIVE = ".. code-block::"
_NAME = ":name:"


def blocks(guide: str) -> dict[str, str]:
    """The named code blocks of a guide (`guide_services`, without `.rst`), name to text."""
    found: dict[str, str] = {}
    lines = (FOLDER / (guide + ".rst")).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith(_DIRECTIVE):
            indented = _indented(lines[number + 1 :], len(line) - len(line.lstrip()))
            names = [text.strip()[len(_NAME) :].strip() for text in indented if text.strip().startswith(_NAME)]
            if names:
                # Options end with the first empty line, and the text follows it.
                found[names[0]] = textwrap.dedent("\n".join(indented[indented.index("") :])).strip("\n") + "\n"
    return found


def _indented(lines: Sequence[str], depth: int) -> list[str]:
    """The lines up to the first that is not indented further."""
    taken = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            break
        taken.append(line)
    return taken


def block(guide: str, name: str) -> str:
    """One of them, with an error that lists them."""
    found = blocks(guide)
    if name not in found:
        raise ToolError("%s has no block named %s, only: %s" % (guide, name, ", ".join(found) or "none"))
    return found[name]


def main(arguments: Sequence[str]) -> int:
    """Print a block."""
    if len(arguments) != 2:
        raise ToolError("say which guide and which block")
    print(block(*arguments), end="")
    return 0


if __name__ == "__main__":
    command_line(main)

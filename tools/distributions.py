# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The table of distributions in the README of the role trust: `python -m tools.distributions` writes it anew.

What the collection knows comes from its code, and what was tried from the nodes on which the scenario trust runs.
Nothing here can be edited into a claim: a distribution without a node is untested.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from plugins.module_utils._core.trust.stores import STORES
from tools.cache import CHECKOUT
from tools.commands import ToolError, command_line
from tools.images import SUITES

README = CHECKOUT / "roles" / "trust" / "README.md"
SCENARIO = CHECKOUT / "extensions" / "molecule" / "trust" / "molecule.yml"
BEGIN, END = "<!-- begin of the table by tools/distributions.py -->\n", "<!-- end of the table -->\n"

# The package that keeps Java's store in step with the system's, where the distribution has one besides ca-certificates.
JAVA = {"Debian": "`ca-certificates-java`", "Ubuntu": "`ca-certificates-java`", "Alpine": "`java-cacerts`"}


def tested(distribution: str) -> str:
    """The releases on whose nodes the scenario trust runs."""
    if not SCENARIO.exists():
        return ""
    nodes = (re.fullmatch("([a-z]+)([0-9.]*)", node) for node in SUITES)
    return ", ".join(node[2] for node in nodes if node and node[1] == distribution.lower())


def table() -> str:
    """The table in Markdown, its marks included."""
    head = ["distribution", "roots are added in", "and taken over by", "Java's store is kept in step by", "tested on"]
    rows = [head, ["---"] * len(head)]
    for store in sorted(STORES, key=lambda one: not any(map(tested, one.distributions))):
        for name in store.distributions:
            java = JAVA.get(name, "the same")
            taken = "`%s`" % " ".join(store.command)
            rows.append([name, "`%s`" % store.folder, taken, java, tested(name) or "**untested**"])
    return BEGIN + "".join("| %s |\n" % " | ".join(row) for row in rows) + END


def renewed(text: str) -> str:
    """The text of the README with the table as it is to be."""
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise ToolError("%s has no place for the table: %s and %s" % (README, BEGIN.strip(), END.strip()))
    return before + table() + after


def main(_arguments: Sequence[str]) -> int:
    """Write the table into the README."""
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    command_line(main)

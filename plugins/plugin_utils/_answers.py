# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The result of a module, as far as it may come from anybody: what a host says is read by _core/wire.py."""

from __future__ import annotations

import re

from ..module_utils._core import wire
from ..module_utils._core.errors import CsrError, one_line

NOT_OURS = "The host did not answer as this collection's module does. Is another version of it in the way?"


def of_certificates(result: dict, count: int) -> list:
    """The wire.Answer of each certificate in one call; CsrError for what is no answer of our module."""
    answers = result.get("answers")
    if not isinstance(answers, list) or len(answers) != count or not all(isinstance(one, dict) for one in answers):
        raise CsrError(NOT_OURS)
    return [wire.Answer.from_json(one) for one in answers]


def serial(facts: dict) -> int:
    """The serial number in these facts; CsrError for what is none."""
    digits = facts["serial"] or ""
    if not re.fullmatch("[0-9]{1,50}", digits):
        raise CsrError("The host names no serial number of its certificate.")
    return int(digits)


def failure(result: dict) -> dict:
    """What is passed on of a module's failure: known keys, cut to a length that can be read."""
    known = ("module_stderr", "module_stdout")
    return {name: wire.lines(result[name], 10000) for name in known if isinstance(result.get(name), str)}


def reason(result: dict) -> str:
    """Why a module failed, in its words, or in Ansible's where it never came to answer."""
    message = wire.word(result.get("msg"), 10000) or _crash(result.get("exception")) or "The module failed."
    if "stdout/stderr" in message:  # Ansible's own words for a module that never came to answer
        said = wire.lines(result.get("module_stderr"), 10**6) + wire.lines(result.get("module_stdout"), 10**6)
        message = "%s: %s" % (message, " ".join(said.split())[-500:])
    return one_line(message)


def _crash(exception) -> str:
    """What ended a module, of which ansible-core 2.21 hands over an object and 2.17 a traceback: the last words of it."""
    event = getattr(exception, "event", None)
    said = wire.word(getattr(event, "msg", None)) or wire.lines(exception).strip().rpartition("\n")[2]
    return "The module failed: %s" % said[-500:] if said else ""

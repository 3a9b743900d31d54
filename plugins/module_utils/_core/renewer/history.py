# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What the renewer remembers of one certificate: when all was well, what went wrong, and whether services know yet."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Optional

from .. import durations
from ..errors import OptionError
from ..files import places, reading

FOLDER = places.STATE


@dataclass
class History:
    """path: where it is kept; times are RFC 3339.

    last_success: when it was last seen in order, or put in order; last_error, error: when it last was not, and why;
    pending: whether files were, or may have been, replaced, and those who use them are still to be told.
    """

    path: str
    last_success: Optional[str] = None
    last_error: Optional[str] = None
    error: str = ""
    pending: bool = False

    def save(self) -> None:
        """Write it down, or forget it where there is nothing to remember; HostFileError."""
        from ..files import replacing

        content = {name: value for name, value in vars(self).items() if name != "path"}
        if not any(content.values()):
            places.remove(self.path)
            return
        replacing.put(self.path, (json.dumps(content, sort_keys=True) + "\n").encode("ascii"), 0o644)


def load(folder: str, name: str) -> History:
    """The history of the configuration of this name; of what makes no sense nothing is believed. HostFileError."""
    history = History(os.path.join(folder, name))
    try:
        content = json.loads((reading.read(history.path) or b"{}").decode("utf-8"))
    except (ValueError, RecursionError):
        return history
    for key, fits in _SHAPE.items():
        if isinstance(content, dict) and fits(content.get(key)):
            setattr(history, key, content[key])
    return history


def _is_time(value) -> bool:
    try:
        return bool(durations.parse_time(value, "time"))
    except OptionError:
        return False


_SHAPE = {
    "last_success": _is_time,
    "last_error": _is_time,
    "error": lambda value: isinstance(value, str),
    "pending": lambda value: isinstance(value, bool),
}

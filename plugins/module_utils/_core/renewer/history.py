# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What the renewer remembers of one certificate: when all was well, what went wrong, and whether services know yet."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Optional

from .. import files

FOLDER = "/var/lib/stepca"


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

    @property
    def failing(self) -> bool:
        """Whether the last run ended in an error."""
        return bool(self.error)

    def save(self) -> None:
        """Write it down; HostFileError."""
        content = {name: value for name, value in vars(self).items() if name != "path"}
        staged = files.stage(self.path, (json.dumps(content, sort_keys=True) + "\n").encode("ascii"), "new")
        with files.explained("write", self.path):
            os.chmod(staged, 0o644)
            os.rename(staged, self.path)


def load(folder: str, name: str) -> History:
    """The history of the configuration of this name; an empty one where there is none that can be read."""
    history = History(os.path.join(folder, name))
    try:
        content = json.loads((files.read(history.path) or b"{}").decode("utf-8"))
    except (ValueError, RecursionError):
        return history
    shape = {"last_success": str, "last_error": str, "error": str, "pending": bool}
    for key, kind in shape.items():
        if isinstance(content, dict) and isinstance(content.get(key), kind):
            setattr(history, key, content[key])
    return history


def one_line(text: str) -> str:
    """A message fit for a line of a log."""
    return re.sub(r"\s+", " ", text).strip()

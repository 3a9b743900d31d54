# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Where the tools keep what is dear to make: virtual environments, built programs, ansible-test's own cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PROJECT = "privatepki.stepca"
CHECKOUT = Path(__file__).resolve().parent.parent


def cache_folder(*parts: str) -> Path:
    """Return (and make) a folder inside the project's cache; `make clean` removes the whole of it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / PROJECT
    folder = base.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def temporary_folder(purpose: str) -> Path:
    """Make a temporary folder that carries the project's name, so that leftovers can be told by it.

    The path is short on purpose: sockets in it must stay below the 104 characters that macOS allows.
    """
    return Path(tempfile.mkdtemp(prefix="%s-%s-" % (PROJECT, purpose))).resolve()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A thread that looks at the files of a folder, again and again, while something else works on them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Watched:
    """What was seen: the modes of each file by its name, and how often all of it was looked at.

    It sees what lasts longer than one look (some 50 microseconds), and every file that stays, however it came to be;
    what is opened with another mode and changed within one look escapes it, and is the business of the unit tests.
    """

    looks: int = 0
    modes: dict[str, set[int]] = field(default_factory=dict)

    def readable_by_others(self, *words: str) -> dict[str, list[str]]:
        """The files with one of these words in their names that others, or the group, might have read."""
        return {
            name: [oct(mode) for mode in sorted(modes)]
            for name, modes in self.modes.items()
            if any(word in name for word in words) and any(mode & 0o077 for mode in modes)
        }


@contextmanager
def watching(folder: Path) -> Iterator[Watched]:
    """Look at everything in a folder as fast as possible while the block runs."""
    seen, over = Watched(), threading.Event()

    def look() -> None:
        while not over.is_set():
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        mode = entry.stat(follow_symlinks=False).st_mode
                    except FileNotFoundError:
                        continue
                    seen.modes.setdefault(entry.name, set()).add(stat.S_IMODE(mode))
            seen.looks += 1

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()

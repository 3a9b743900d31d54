# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A process that outlives the play which started it, and is found again by the next one.

It holds a lock for as long as it lives, however it ends, and its number lies in the locked file. So a number is never
taken for that of another process that was given it since: who holds the lock still has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Seconds that a process is given to end by itself, and then to be ended.
_GRACE = 10.0


class Background:
    """The process of this lock file."""

    def __init__(self, lock_path: Path) -> None:
        self._path = lock_path

    @property
    def is_running(self) -> bool:
        """Whether it lives; others can only come to another answer when they start or end it."""
        try:
            with open(self._path, encoding="ascii") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def start(self, command: Sequence[object], log_path: Path, environment: Mapping[str, str]) -> None:
        """Start it where none is running; OSError if the command cannot be run. environment: all that it has."""
        with open(self._path, "w", encoding="ascii") as handle, open(log_path, "ab") as log:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._path.parent,
                env=environment,
                # A group of its own: neither Ctrl-C at the terminal nor the end of the play reaches it.
                start_new_session=True,
                pass_fds=[handle.fileno()],
            )
            handle.write(str(process.pid))

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        for order in (signal.SIGTERM, signal.SIGKILL):
            if not self.is_running:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(self._path.read_text(encoding="ascii")), order)
            deadline = time.monotonic() + _GRACE
            while self.is_running and time.monotonic() < deadline:
                time.sleep(0.02)

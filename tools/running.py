# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Background processes that do not outlive the run that started them.

Each one is written down in the cache with its owner. Should the owner be killed outright, the next run (or
`make clean`) ends what it left, after checking by the folder in its command line that it really is ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tools.cache import PROJECT, cache_folder
from tools.commands import ToolError, command_line, say, wait_until

Ready = TypeVar("Ready")


class Background:
    """One background process, its log, and the note that names it."""

    def __init__(self, command: Sequence[object], folder: Path, log_path: Path) -> None:
        self.command = [str(word) for word in command]
        self.folder = folder
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._note = cache_folder("running") / "none"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], Ready], timeout: float = 20.0) -> Ready:
        """Start it and wait until `ready` gives something true; a process that ends before is an error."""
        end_leftovers()
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                # Out of reach of Ctrl-C at the terminal: whoever started it stops it, in order.
                start_new_session=True,
            )
        self._note = cache_folder("running") / str(self._process.pid)
        self._note.write_text(json.dumps({"owner": os.getpid(), "folder": str(self.folder)}), encoding="utf-8")
        try:
            return wait_until(lambda: self._alive() and ready(), timeout, "%s to answer" % self.command[0])
        except BaseException:
            self.stop()
            raise

    def _alive(self) -> bool:
        if self.running:
            return True
        log = self.log_path.read_text(encoding="utf-8", errors="replace")
        raise ToolError("%s ended at once:\n%s" % (self.command[0], "\n".join(log.splitlines()[-15:])))

    def reload(self) -> None:
        """Have it read its configuration again, as daemons do on SIGHUP; nothing where it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def stop(self, timeout: float = 10.0) -> None:
        """Ask it to end, wait, and kill it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._note.unlink(missing_ok=True)
        self._process = None


def end_leftovers() -> int:
    """End the processes whose owner is gone; return how many there were."""
    ended = 0
    for note in cache_folder("running").iterdir():
        try:
            facts = json.loads(note.read_text(encoding="utf-8"))
            owner, folder = int(facts["owner"]), str(facts["folder"])
        except (OSError, ValueError, KeyError):
            continue  # another run is just writing or removing it
        if command_of(owner):
            continue
        if folder in command_of(int(note.name)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(note.name), signal.SIGTERM)
                ended += 1
        note.unlink(missing_ok=True)
    return ended


def command_of(process: int) -> str:
    """The command line of a process, empty when there is none or it is dead and only not yet collected."""
    command = ["ps", "-ww", "-o", "stat=", "-o", "args=", "-p", str(process)]
    state, _space, words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition(" ")
    return "" if state.startswith("Z") else words.strip()


def main(arguments: Sequence[str]) -> int:
    """End what killed runs left, and remove the folders that failed runs kept."""
    ended = end_leftovers()
    in_use = [note.read_text(encoding="utf-8") for note in cache_folder("running").iterdir()]
    folders = [
        folder
        for folder in Path(tempfile.gettempdir()).resolve().glob(PROJECT + "-*")
        if folder.stat().st_uid == os.getuid() and not any(str(folder) in text for text in in_use)
    ]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    say("ended %d processes and removed %d temporary folders of runs that are gone" % (ended, len(folders)))
    return 0


if __name__ == "__main__":
    command_line(main)

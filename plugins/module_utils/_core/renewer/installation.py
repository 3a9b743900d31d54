# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The renewer's own files on a host: itself, a configuration for each certificate, what it remembers."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from .. import files
from ..errors import HostFileError, StepCAError
from . import configuration, history, services
from .renewable import Renewable

#: Names of the folders that are removed with us, once they are empty. A folder of another name is somebody else's.
_FOLDERS = ("renew.d", "stepca")


class Installation:
    """path: of the renewer; config_path: folder of the configurations; dry: say what would be done, and do nothing.

    reasons: what differed, in sentences; problems: why a certificate could never be renewed; warnings: what may be meant
    so; differences: as `--diff` shows them.
    """

    def __init__(self, path: str, config_path: str, dry: bool):
        self._path = files.resolve(path, "path")
        self._config_path = config_path.rstrip("/") or "/"
        self._dry = dry
        self._texts = {one: _known(one) for one in configuration.paths(self._config_path)}
        self.reasons = []
        self.problems = []
        self.warnings = []
        self.differences = []

    def install(self, content: bytes) -> None:
        """Put the renewer there; HostFileError."""
        self._put(self._path, content, 0o755)

    def configure(self, entries: list, connection, metrics_path, strict: bool) -> None:
        """Have the configurations say what the entries say; OptionError, HostFileError. Those of other certificates stay.

        connection: None where no entry is present; strict: leave out what could never be renewed, so that the next run complains again.
        """
        if not entries or any(entry.get("state") != "absent" for entry in entries):
            self._refuse_missing_folder(metrics_path)
        renewable = Renewable(connection) if connection else None
        for entry in entries:
            path = os.path.join(self._config_path, configuration.name_of(entry["certificate_path"]))
            if entry.get("state") == "absent":
                self._take_away(path)
                self._forget(_memory(path))
                self._texts.pop(path, None)
                continue
            text = configuration.make(entry, connection)
            one = configuration.parse(text)
            self._look_for_services(one)
            if self._texts.get(path) != text:
                problem = renewable.problem(one)
                self.problems += [problem] if problem else []
                if problem and strict:
                    continue
            self._put(path, text, 0o644)
            self._texts[path] = text

    def is_idle(self, entries: list) -> bool:
        """Whether these entries were all taken away, and no other is left that anybody asked to have renewed."""
        return bool(entries) and not self._texts and all(entry.get("state") == "absent" for entry in entries)

    def remove(self, metrics_path=None) -> None:
        """Take everything of the renewer away; HostFileError."""
        for path in list(self._texts) + [self._path] + ([metrics_path] if metrics_path else []):
            self._take_away(path)
        for path in self._texts:
            self._forget(_memory(path))
        self._texts = {}
        folders = [self._config_path, os.path.dirname(self._config_path), os.path.dirname(self._path), history.FOLDER]
        for folder in folders if not self._dry else []:
            if os.path.basename(folder) in _FOLDERS:
                with suppress(OSError):  # others may keep files there
                    os.rmdir(folder)

    def configurations(self) -> list:
        """The paths of all configurations."""
        return sorted(self._texts)

    def folders(self, metrics_path) -> list:
        """The folders that renewals write to."""
        found = {os.path.dirname(os.path.realpath(metrics_path))} if metrics_path else set()
        for text in self._texts.values():
            with suppress(StepCAError):  # the renewer says so itself, at every run
                found.update(configuration.parse(text).folders())
        return sorted(found)

    def _look_for_services(self, one: configuration.Configuration) -> None:
        self.warnings += [
            "%s names the service %s, and systemd knows none of that name on this host. It is reloaded once it is there and runs."
            % (one.certificate_path, name)
            for name in services.unknown(one)
        ]

    def _refuse_missing_folder(self, metrics_path) -> None:
        missing = files.missing_folder(metrics_path) if metrics_path else None
        if missing:
            raise HostFileError(
                "metrics_path: the folder %s is missing. Name the one that node_exporter reads (--collector.textfile.directory), "
                "or make it first." % missing
            )

    def _put(self, path: str, content: bytes, mode: int) -> None:
        found = files.read(path)
        if found is None:
            self.reasons.append("%s is missing" % path)
        elif found != content:
            self.reasons.append("%s is not what it should be" % path)
        elif not self._is_ours(path, mode):
            self.reasons.append("the owner or mode of %s is not root's and %04o" % (path, mode))
        else:
            return
        self._differ(path, found, content)
        if self._dry:
            return
        files.make_folder(os.path.dirname(path))
        files.put(path, content, mode)

    @staticmethod
    def _is_ours(path: str, mode: int) -> bool:
        found = os.stat(path)
        return found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == mode

    def _take_away(self, path: str) -> None:
        if not os.path.lexists(path):
            return
        self.reasons.append("%s is there" % path)
        self._differ(path, files.read(path), None)
        self._forget(path)

    def _forget(self, path: str) -> None:
        """Remove a file, and what a run that was interrupted left beside it."""
        for one in files.waiting(path) + [path] if not self._dry else []:
            files.forget(one)

    def _differ(self, path: str, before, after) -> None:
        self.differences.append(
            {"before_header": path, "after_header": path, "before": _shown(before), "after": _shown(after)}
        )


def _memory(path: str) -> str:
    """Where the renewer remembers what became of the certificate of this configuration."""
    return os.path.join(history.FOLDER, os.path.basename(path))


def _known(path: str) -> bytes:
    """What stands in a configuration; nothing where it cannot be read, which the renewer says itself, at every run."""
    try:
        return files.read(path) or b""
    except HostFileError:
        return b""


def _shown(content) -> str:
    """Content of a file as a diff shows it."""
    if content is None:
        return ""
    if content.startswith(b"#!"):
        return "the renewer, %d bytes\n" % len(content)
    return content.decode("utf-8", "replace")

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The renewer's own files on a host: itself, a configuration for each certificate, what it remembers."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, suppress

from ..certificate import record
from ..errors import HostFileError, StepCAError
from ..files import areas, folders, locks, places, reading, replacing, staging
from . import configuration, history, metrics, sandbox, services, window
from .renewable import Renewable

#: Names of the folders that are removed with us, once they are empty. A folder of another name is somebody else's.
_FOLDERS = ("renew.d", "records", "stepca")


class Installation:
    """path: of the renewer; config_path: folder of the configurations; dry: say what would be done, and do nothing.

    reasons: what differed, in sentences; problems: why a certificate could never be renewed; warnings: what may be meant
    so; too_rare: certificates that may end between two looks of the renewer, in sentences; differences: as `--diff` shows
    them; backups: where somebody else's files are kept that stood in our way.
    """

    def __init__(self, path: str, config_path: str, dry: bool):
        self._path = places.resolve(path, "path")
        self._config_path = config_path.rstrip("/") or "/"
        self._refuse_foreign(self._path, "path")
        self._refuse_foreign(os.path.join(self._config_path, "file"), "config_path")
        self._dry = dry
        self._texts = {one: _known(one) for one in configuration.paths(self._config_path)}
        self.reasons = []
        self.problems = []
        self.warnings = []
        self.too_rare = []
        self.differences = []
        self.backups = []

    def install(self, content: bytes) -> None:
        """Put the renewer there, once no run of it is under way, which would still load parts of itself; HostFileError."""
        with ExitStack() as held:
            if not self._dry and reading.read(self._path) not in (None, content):
                with suppress(HostFileError):  # it is replaced all the same
                    held.enter_context(locks.locked(os.path.join(history.FOLDER, "renewals"), patience_with_older=20.0))
            self._put(self._path, content, 0o755, _is_renewer)

    def configure(self, entries: list, connection, metrics_path, strict: bool) -> None:
        """Have the configurations say what the entries say; OptionError, HostFileError. Those of other certificates stay.

        connection: None where no entry is present; strict: leave out what could never be renewed, so that the next run complains again.
        """
        if not entries or any(entry.get("state") != "absent" for entry in entries):
            self._refuse_impossible(metrics_path)
        renewable = Renewable(connection) if connection else None
        for entry in entries:
            path = os.path.join(self._config_path, record.name_of(entry["certificate_path"]))
            if entry.get("state") == "absent":
                self._take_away(path)
                if not history.load(
                    history.FOLDER, os.path.basename(path)
                ).pending:  # those who use it shall still be told
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
            self._put(path, text, 0o644, _is_configuration)
            self._texts[path] = text
            self._look_for_window(one)

    def is_idle(self, entries: list) -> bool:
        """Whether these entries were all taken away, and no other is left that anybody asked to have renewed."""
        return bool(entries) and not self._texts and all(entry.get("state") == "absent" for entry in entries)

    def remove(self, metrics_path=None) -> None:
        """Take everything of the renewer away; HostFileError."""
        for path in [*self._texts, self._path]:
            self._take_away(path)
        if metrics_path and not metrics.is_ours(reading.read(metrics_path) or b""):
            self.warnings.append("metrics_path: %s holds something else than metrics, and stays." % metrics_path)
        elif metrics_path:
            self._take_away(metrics_path)
        for path in self._texts:
            self._forget(_memory(path))
        self._texts = {}
        made = [self._config_path, os.path.dirname(self._config_path), os.path.dirname(self._path)]
        made += [os.path.join(history.FOLDER, "records"), history.FOLDER]
        for folder in made if not self._dry else []:
            if os.path.basename(folder) in _FOLDERS:
                folders.take_away([folder])
                with suppress(OSError, HostFileError):  # others may keep files there
                    folders.remove_empty(folder)

    def configurations(self) -> list:
        """The paths of all configurations."""
        return sorted(self._texts)

    def folders(self, metrics_path) -> tuple:
        """(folders that the renewer must be let write to, why there is none for a file: sentences)."""
        found, problems = set(), []
        for option, path in self._written(metrics_path):
            try:
                found.add(sandbox.folder_of(path, option))
            except StepCAError as error:
                problems.append(str(error))
        return sorted(found), problems

    def _written(self, metrics_path) -> list:
        """(option, path) of all that renewals write."""
        written = [("metrics_path", metrics_path)] if metrics_path else []
        for text in self._texts.values():
            with suppress(StepCAError):  # the renewer says so itself, at every run
                written += configuration.parse(text).written().items()
        return written

    @staticmethod
    def _refuse_foreign(path: str, option: str) -> None:
        """HostFileError where others could change what root runs."""
        with places.explained("reach", path), places.opened(path) as place:
            if not place.ours:
                raise HostFileError(
                    "%s: others can change what lies at %s (%s), and what the renewer reads there is run. Name a path that only "
                    "root can write to, folders above it included."
                    % (option, path if option == "path" else os.path.dirname(path), place.why_foreign())
                )

    def _look_for_services(self, one: configuration.Configuration) -> None:
        self.warnings += [
            "%s names the service %s, and systemd knows none of that name on this host. It is reloaded once it is there and runs."
            % (one.certificate_path, name)
            for name in services.unknown(one)
        ]

    def _look_for_window(self, one: configuration.Configuration) -> None:
        found = window.measured(one)
        if found:
            self.too_rare += filter(None, [window.problem(*found)])
            self.warnings += filter(None, [window.warning(*found)])

    @staticmethod
    def _refuse_impossible(metrics_path) -> None:
        if not metrics_path:
            return
        missing = places.missing_folder(metrics_path)
        if not missing and not metrics.is_ours(reading.read(metrics_path) or b""):
            raise HostFileError(
                "metrics_path: %s holds something else than metrics, and would be lost. Name another path."
                % metrics_path
            )
        if missing:
            raise HostFileError(
                "metrics_path: the folder %s is missing. Name the one that node_exporter reads (--collector.textfile.directory), "
                "or make it first." % missing
            )

    def _put(self, path: str, content: bytes, mode: int, is_ours) -> None:
        """is_ours(content) -> whether a file is of our making; another one is kept."""
        found = reading.read(path)
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
        folders.make(os.path.dirname(path))
        if found and found.strip() and not is_ours(found):
            self.backups.append(replacing.back_up(path, None))
            self.warnings.append("%s held what is not of our making. It is kept as %s." % (path, self.backups[-1]))
        replacing.put(path, content, mode)

    @staticmethod
    def _is_ours(path: str, mode: int) -> bool:
        found = reading.load(path)[1]
        return found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == mode

    def _take_away(self, path: str) -> None:
        if not places.is_there(path):
            return
        self.reasons.append("%s is there" % path)
        self._differ(path, reading.read(path), None)
        self._forget(path)
        self._forget(configuration.staged(path))

    def _forget(self, path: str) -> None:
        """Remove a file, and what a run that was interrupted left beside it."""
        if self._dry:
            return
        for tag in areas.waiting(path):
            staging.forget(path, tag)
        places.remove(path)

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
        return reading.read(path) or b""
    except HostFileError:
        return b""


def _is_renewer(content: bytes) -> bool:
    return content.startswith(b"#!/usr/bin/env python3\nPK") and b"privatepki.stepca" in content


def _is_configuration(content: bytes) -> bool:
    try:
        return bool(configuration.parse(content))
    except StepCAError:
        return False


def _shown(content) -> str:
    """Content of a file as a diff shows it: of what is not ours, which may be anything, only how much there is."""
    if content is None:
        return ""
    for what, is_ours in (("the renewer", _is_renewer), ("metrics", metrics.is_ours)):
        if content.strip() and is_ours(content):
            return "%s, %d bytes\n" % (what, len(content))
    return content.decode("utf-8") if _is_configuration(content) else "something else, %d bytes\n" % len(content)

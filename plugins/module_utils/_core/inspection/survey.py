# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""All certificates of a host: those that the renewer knows, those that a play names, and what else lies beside them."""

from __future__ import annotations

import errno
import os
import stat
from datetime import datetime

from .. import durations
from ..errors import HostFileError, StepCAError, unforeseen
from ..files import places
from ..renewer import configuration, status
from ..x509 import certificates, extensions

#: Who says that a certificate is there.
KNOWN_BY = ("renewer", "play", "folder")
#: Files of a folder that are looked into, and no more: somebody may keep a whole trust store there.
MOST_FILES = 200
LARGEST_FILE = 256 * 1024
_SUFFIXES = (".crt", ".pem", ".cer", ".cert")
_THRESHOLD = durations.parse_threshold("33%", "renew_before")


def look(config_path: str, memory: str, named: list, folders: list, roots, fingerprints: list, now: datetime) -> dict:
    """certificates: rows as of status.look_at_files, with known_by; problems: what could not be looked at, sentences.

    config_path, memory: folders of the renewer; named: options of stepca_certificate, of which certificate_path, key_path
    and renew_before are looked at; folders: where to look besides; roots, fingerprints: see status.look_at_files.
    """
    problems, rows = [], []
    try:
        paths = configuration.paths(config_path)
    except HostFileError as error:
        paths, problems = [], [str(error)]
    rows += [dict(status.look(path, memory, now), known_by="renewer") for path in paths]
    known = {os.path.realpath(row["certificate_path"]) for row in rows}
    for entry in named:
        row = _named(entry, roots, fingerprints, now)
        if os.path.realpath(row["certificate_path"]) not in known:
            known.add(os.path.realpath(row["certificate_path"]))
            rows.append(row)
    beside = {os.path.dirname(row["certificate_path"]) for row in rows if row["certificate"]}
    serials = {row["serial"] for row in rows if row["serial"]}
    for folder in sorted(beside.union(folders)):
        found, problem = _in_folder(folder, roots, now)
        problems += [problem] if problem else []
        rows += [dict(row, known_by="folder") for row in found if row["serial"] not in serials]
    return {"certificates": rows, "problems": problems}


def _named(entry: dict, roots, fingerprints: list, now: datetime) -> dict:
    """A certificate that a play names."""
    path = str(entry.get("certificate_path"))
    try:
        threshold = durations.parse_threshold(entry.get("renew_before") or "33%", "renew_before")
        real = places.resolve(path, "certificate_path")
        row = status.look_at_files(real, entry.get("key_path"), threshold, roots, fingerprints, now)
    except Exception as error:
        row = dict(status.UNKNOWN, problem=str(unforeseen(error)))
    return dict(row, certificate_path=path, known_by="play")


def _in_folder(folder: str, roots, now: datetime) -> tuple:
    """(rows of the certificates in it that are for hosts, what could not be looked at or "")."""
    rows = {}
    try:
        with places.explained("list", folder), places.entered(folder) as here:
            if here is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
            names = [name for name in here.names() if name.endswith(_SUFFIXES) and name[0] != "."]
    except HostFileError as error:
        return [], str(error)
    for name in names[:MOST_FILES]:
        row = _of_file(os.path.join(folder, name), roots, now)
        if row:  # the leaf alone, and the like, are the same certificate
            rows.setdefault(row["serial"] or name, row)
    more = len(names) - MOST_FILES
    problem = "%s holds %d more files, which were not looked into." % (folder, more) if more > 0 else ""
    return list(rows.values()), problem


def _of_file(path: str, roots, now: datetime):
    """The certificate in a file nobody told us of, or None where it holds none for a host. Whose it is, its issuer tells."""
    try:
        with places.opened(path) as place:
            if not place.status or not stat.S_ISREG(place.status.st_mode) or place.status.st_size > LARGEST_FILE:
                return None
        chain = certificates.read(path)[0]
        if not chain or extensions.asks_to_be_ca(chain[0].extensions):
            return None
        return status.row_of(chain, certificates.facts(chain, _THRESHOLD, path, roots), now, roots)
    except (OSError, StepCAError, ValueError):
        return None
    except Exception as error:
        return dict(status.UNKNOWN, certificate_path=path, problem=str(unforeseen(error)))

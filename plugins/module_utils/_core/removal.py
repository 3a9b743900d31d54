# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Take a certificate off the host: what the task names, what the record lists, the record, all that waits beside them.

Backups stay, and so does a request that the user brought. The record goes last, so that a run that was interrupted can
be finished by the next. Folders that the role certificate made, and marked, go with the last that is in them.
"""

from __future__ import annotations

import os
from contextlib import suppress

from . import certificates, files, fileset, keys, record
from .errors import HostFileError

#: The file that marks a folder as made by the role, which has this name, too.
FOLDER_MARK = ".stepca.folder"


def examine(wanted, context: fileset.Context) -> dict:
    """What is there to be removed; where it need not be revoked before, it is removed at once.

    Returns what exchange.examine returns; backup_files: what stays.
    """
    chain = certificates.read(files.resolve(wanted.certificate_path, "certificate_path"))[0]
    kept = record.read(files.resolve(wanted.certificate_path, "certificate_path"))
    there = _there(wanted, kept) + _left_alone(_folders(wanted, kept))
    roots = fileset.known_roots(wanted, context, chain, kept) if wanted.revoke and chain else None
    former = fileset.former(wanted, context, chain, _key(wanted, kept), roots)
    needs_roots = bool(wanted.revoke and chain and roots is None)
    answer = {
        "outcome": "removed" if there else "none",
        "reasons": [] if needs_roots else ["%s is there; wanted is none" % path for path in there],
        "warnings": [],
        "certificate": certificates.facts(chain, wanted.renew_before, wanted.certificate_path) if chain else None,
        "needs_roots": needs_roots,
        "backup_files": [path for path in _backups(wanted, kept) if os.path.exists(path)],
    }
    if wanted.revoke and chain and roots and not former["revocable"]:
        answer["warnings"] = ["%s is removed, but not revoked: this CA did not issue it." % wanted.certificate_path]
    if not context.dry and not needs_roots and not former["revocable"]:
        remove(wanted)
    return dict(answer, **former)


def remove(wanted) -> None:
    """Remove all of it. HostFileError names what cannot be."""
    folder = os.path.dirname(wanted.certificate_path)
    if not os.path.isdir(folder):
        return
    with files.locked(wanted.certificate_path):
        kept = record.read(files.resolve(wanted.certificate_path, "certificate_path"))
        for path in _there(wanted, kept):
            files.forget(path)
        _take_away(_folders(wanted, kept))


def _take_away(folders: list) -> None:
    """Remove those that nothing is in but the mark, and in turn those above them."""
    for folder in _left_alone(folders):
        with suppress(OSError):  # somebody else has just put something there
            files.forget(os.path.join(folder, FOLDER_MARK))
            os.rmdir(folder)
            _take_away([os.path.dirname(folder)])


def _left_alone(folders: list) -> list:
    """Those in which nothing is but the mark."""
    found = []
    for folder in folders:
        with suppress(OSError):  # there is none, or it is none of ours
            found += [folder] if os.listdir(folder) == [FOLDER_MARK] else []
    return found


def _folders(wanted, kept) -> list:
    """Where files of the set are, or were."""
    real = [files.resolve(path, "certificate_path") for path in _named(wanted, kept)]
    return list(dict.fromkeys(os.path.dirname(path) for path in real + _named(wanted, kept)))


def _key(wanted, kept):
    """The private key of the certificate, wherever the task or the record says it is; None if it cannot be read."""
    listed = kept.get("files") if kept else None
    path = wanted.key_path or (listed.get("key_path") if isinstance(listed, dict) else None)
    try:
        return keys.read(path)[0] if isinstance(path, str) else None
    except HostFileError:
        return None


def _named(wanted, kept) -> list:
    """The files of the set, the certificate last: those of the task, those of the record."""
    key = [wanted.key_path] if wanted.key_path and not wanted.csr_path else []
    named = list(wanted.outputs.values()) + key + record.files(kept)
    last = [files.resolve(wanted.certificate_path, "certificate_path"), wanted.certificate_path]
    return list(dict.fromkeys([path for path in named if path not in last + [wanted.csr_path]] + last))


def _backups(wanted, kept) -> list:
    """Where former files of the set may be kept: beside the files, not beside links to them."""
    real = [files.resolve(path, "certificate_path") for path in _named(wanted, kept)]
    return list(dict.fromkeys(map(files.backup_path, real)))


def _there(wanted, kept) -> list:
    """All that exists of it, in the order of removal; a symbolic link after the file that it leads to."""
    found = []
    for path in _named(wanted, kept) + [record.path_of(files.resolve(wanted.certificate_path, "certificate_path"))]:
        real = files.resolve(path, "state: absent")
        found += files.waiting(real) + [one for one in (real, path) if os.path.lexists(one)]
    return list(dict.fromkeys(found))

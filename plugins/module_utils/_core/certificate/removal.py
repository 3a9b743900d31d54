# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Take a certificate off the host: what the task names, what the record lists, the record, all that waits beside them.

Backups stay, and so does a request that the user brought. The record goes last, so that a run that was interrupted can
be finished by the next. Folders that the role certificate made, and marked, go with the last that is in them.
"""

from __future__ import annotations

import os

from ..errors import HostFileError
from ..files import areas, folders, locks, places, replacing, staging
from ..wire import Answer
from ..x509 import certificates, keys
from . import fileset, record


def examine(wanted, context: fileset.Context) -> Answer:
    """What is there to be removed; where it need not be revoked before, it is removed at once. backup_files: what stays."""
    path = places.resolve(wanted.certificate_path, "certificate_path")
    chain = certificates.read(path)[0]
    kept = record.read(path, chain)
    there = _there(wanted, kept) + folders.left_alone(_folders(wanted, kept))
    roots = fileset.known_roots(wanted, context, chain, kept) if wanted.revoke and chain else None
    former = fileset.former(wanted, context, chain, _key(wanted, kept), roots)
    needs_roots = bool(wanted.revoke and chain and roots is None)
    warnings = _spared(wanted, kept)
    if wanted.revoke and chain and roots and not former["revocable"]:
        warnings.append("%s is removed, but not revoked: this CA did not issue it." % wanted.certificate_path)
    answer = Answer(
        outcome="removed" if there else "none",
        reasons=[] if needs_roots else ["%s is there, expected none" % one for one in there],
        warnings=warnings,
        certificate=certificates.facts(chain, wanted.renew_before, wanted.certificate_path) if chain else None,
        needs_roots=needs_roots,
        backup_files=_backups(wanted, kept),
        **former,
    )
    if not context.dry and not needs_roots and not answer.revocable:
        remove(wanted)
    return answer


def remove(wanted) -> None:
    """Remove all of it. HostFileError names what cannot be."""
    if places.missing_folder(wanted.certificate_path):
        return
    with locks.locked(wanted.certificate_path):
        path = places.resolve(wanted.certificate_path, "certificate_path")
        kept = record.read(path, certificates.read(path)[0])
        emptied = _folders(wanted, kept)
        for one in _named(wanted, kept) + _records(path):
            real = places.resolve(one, "state: absent")
            for tag in areas.waiting(real, tidy=True):
                staging.forget(real, tag)
            for place in (real, one):
                places.remove(place)
    folders.take_away(emptied)  # without the lock, which may be a file in one of them


def _folders(wanted, kept) -> list:
    """Where files of the set are, or were."""
    real = [places.resolve(path, "certificate_path") for path in _named(wanted, kept)]
    return list(dict.fromkeys(os.path.dirname(path) for path in real + _named(wanted, kept)))


def _key(wanted, kept):
    """The private key of the certificate, wherever the task or the record says it is; None if it cannot be read."""
    listed = kept.get("files") if kept else None
    path = wanted.key_path or (listed.get("key_path") if isinstance(listed, dict) else None)
    try:
        return keys.read(path)[0] if isinstance(path, str) else None
    except HostFileError:
        return None


def _of_task(wanted) -> list:
    """The files that the task names, links and what they lead to."""
    paths = [wanted.certificate_path, *wanted.outputs.values()]
    paths += [wanted.key_path] if wanted.key_path and not wanted.csr_path else []
    return paths + [places.resolve(path, "state: absent") for path in paths]


def _named(wanted, kept) -> list:
    """The files of the set, the certificate last: those of the task, those of the record that we may believe."""
    spared = _beyond(wanted, kept)
    key = [wanted.key_path] if wanted.key_path and not wanted.csr_path else []
    named = list(wanted.outputs.values()) + key + [path for path in record.files(kept) if path not in spared]
    last = [places.resolve(wanted.certificate_path, "certificate_path"), wanted.certificate_path]
    return list(dict.fromkeys([path for path in named if path not in last + [wanted.csr_path]] + last))


def _beyond(wanted, kept) -> list:
    """Files that only the record names, outside the certificate's own folder, where root does not hold the record.

    Whoever wrote such a record could have others remove what they want.
    """
    path = places.resolve(wanted.certificate_path, "certificate_path")
    if record.is_held(path, kept):
        return []
    own = (os.path.dirname(path), os.path.dirname(wanted.certificate_path))
    return [one for one in record.files(kept) if one not in _of_task(wanted) and os.path.dirname(one) not in own]


def _spared(wanted, kept) -> list:
    """Warnings on what is left although the record lists it."""
    return [
        "%s stays: only the record beside the certificate names it, and others could have written that. Name it in the task to "
        "have it removed." % path
        for path in _beyond(wanted, kept)
        if places.exists(path)
    ]


def _records(path: str) -> list:
    """Where the record is, or may have been left."""
    return list(dict.fromkeys([record.beside(path), record.path_of(path)]))


def _backups(wanted, kept) -> list:
    """Where former files of the set are kept: beside the files, not beside links to them."""
    real = [places.resolve(path, "certificate_path") for path in _named(wanted, kept)]
    return [backup for path in dict.fromkeys(real) for backup in replacing.backups(path)]


def _there(wanted, kept) -> list:
    """All that exists of it, in the order of removal; a symbolic link after the file that it leads to."""
    found = []
    path = places.resolve(wanted.certificate_path, "certificate_path")
    for one in _named(wanted, kept) + _records(path):
        real = places.resolve(one, "state: absent")
        found += [areas.path_of(real, tag) for tag in areas.waiting(real)]
        found += [place for place in (real, one) if places.is_there(place)]
    return list(dict.fromkeys(found))

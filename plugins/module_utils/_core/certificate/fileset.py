# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The files of one certificate on this host: read them, and compare what is made of the pair. replacement.py puts new ones there.

What files should look like on disk (owner, mode, SELinux) is the business of `finish(target, kind, staged, look)`, a
callable that the caller brings. With staged (staging.Staged) it puts kind's attributes on that file, which will become
target, and returns warnings; without, it puts them on the target itself, or with look only looks, and returns sentences on
what differed. This file knows nothing of Ansible.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Callable, Optional

from ..errors import CsrError, HostFileError, Overtaken
from ..files import areas, locks, places, reading
from ..x509 import certificates, keys
from . import ownership, plan, record
from .request import Request


@dataclass
class Context:
    """What the controller says of the task.

    now: its clock; roots: the trusted roots, None while it does not know them; fingerprints: theirs, hex SHA-256;
    provisioner: the name to compare, or None; finish: see above; dry: check mode; revoked(serial) -> a sentence where
    the CA revoked it, "" where not; refused: why the CA did not renew, if it was asked to; audiences: the renewal URLs
    that a proof is for; attempts: how many proofs to make; by_host: the host itself asks the CA; can_issue: whether
    anybody vouches for a certificate that is issued anew; learnt: what a host that asks the CA learns for one
    certificate and need not ask again for the others.
    """

    now: datetime
    roots: Optional[list]
    fingerprints: list
    provisioner: Optional[str]
    finish: Callable
    dry: bool = False
    revoked: Optional[Callable] = None
    refused: str = ""
    audiences: tuple = ()
    attempts: int = 1
    by_host: bool = False
    can_issue: bool = True
    learnt: dict = field(default_factory=dict)


def resolve(wanted: Request) -> Request:
    """The same request for the files that its paths lead to: symbolic links are followed. HostFileError if two are one."""
    found = replace(
        wanted,
        named=wanted.named or {option: path for option, path, _kind in wanted.written()},
        certificate_path=places.resolve(wanted.certificate_path, "certificate_path"),
        key_path=places.resolve(wanted.key_path, "key_path") if wanted.key_path else None,
        csr_path=places.resolve(wanted.csr_path, "csr_path") if wanted.csr_path else None,
        outputs={option: places.resolve(path, option) for option, path in wanted.outputs.items()},
    )
    seen = {}
    for option, path, _kind in found.written():
        if path in seen:
            raise HostFileError("%s and %s resolve to the same file, %s." % (seen[path], option, path))
        seen[path] = option
    return found


def replaced(wanted) -> list:
    """The paths of all that a run replaces: the files that the task writes, and the record, where it is and where it was."""
    records = (record.path_of(wanted.certificate_path), record.beside(wanted.certificate_path))
    return [path for _option, path, _kind in wanted.written()] + list(dict.fromkeys(records))


def left_behind(wanted, dry: bool = True) -> list:
    """Tags of what runs left waiting to become one of these. dry: leave areas that are empty, too."""
    return [tag for path in replaced(wanted) for tag in areas.waiting(path, tidy=not dry)]


def read(wanted, context: Context) -> plan.Found:
    """What lies there; HostFileError for what cannot be read or is not ours to replace."""
    chain, certificate_problem = certificates.read(wanted.certificate_path)
    kept = (context.dry and waiting_record(wanted, chain)) or record.read(wanted.certificate_path, chain)
    if wanted.csr_path:
        key, key_problem = _read_request_key(wanted, context.dry)
    else:
        key, key_problem = (context.dry and waiting_key(wanted, chain)) or _read_key(wanted, kept)
    return plan.Found(
        chain,
        certificate_problem,
        key,
        key_problem,
        kept,
        known_roots(wanted, context, chain, kept),
        context.revoked(chain[0].serial_number) if context.revoked and chain else "",
        context.refused,
    )


def _read_key(wanted, kept) -> tuple:
    """(private key, "") or (None, what is wrong with the file, or with whose it may be)."""
    content, status = reading.load(wanted.key_path)
    key, problem = keys.understand(content, wanted.key_path)
    if key is not None:
        problem = ownership.unproven(wanted, status, keys.fingerprint(key), kept)
    return (None, problem) if problem else (key, "")


def known_roots(wanted, context: Context, chain, kept):
    """The trusted roots: the controller's, else those of the record; None if neither will do."""
    if context.roots is not None:
        return context.roots
    roots = record.roots(kept, context.fingerprints)
    if len(roots) == len(set(context.fingerprints)):
        return roots
    # Of several roots the record may lack the one that is needed.
    enough = roots and chain and not certificates.chain_problem(chain, roots, context.now)
    return roots if enough and "root_path" not in wanted.outputs else None


def brought(wanted):
    """The request that a user brings, checked against the task and, where key_path is given, against its key."""
    from ..x509 import csr, forms

    content = reading.read(wanted.csr_path)
    if content is None:
        raise HostFileError("csr_path: %s is missing. Make the request first, or leave csr_path out." % wanted.csr_path)
    try:
        request = csr.load(forms.plain(content).decode("latin-1"))
        csr.check_brought(request, wanted)
    except CsrError as error:
        raise CsrError("csr_path: %s: %s" % (wanted.csr_path, error)) from None
    if wanted.key_path:
        key, problem = keys.read(wanted.key_path)
        if problem or keys.fingerprint(key) != keys.fingerprint(request.public_key()):
            problem = problem or "%s is not the key of the request %s" % (wanted.key_path, wanted.csr_path)
            raise HostFileError("key_path: %s; with csr_path it is read and never written." % problem)
    return request


def _read_request_key(wanted, dry: bool) -> tuple:
    if dry and reading.read(wanted.csr_path) is None:  # the task that makes it has only pretended to
        return None, "the request %s is missing" % wanted.csr_path
    return brought(wanted).public_key(), ""


def held(wanted, context: Context):
    """The lock on the set, so that nobody replaces it while it is read; in check mode, and where nothing is, none."""
    if context.dry or places.missing_folder(wanted.certificate_path):
        return nullcontext()
    return locks.locked(wanted.certificate_path)


def refuse_changed(wanted, examined: str) -> None:
    """Overtaken unless the set is still what it was when this digest was taken. To be called under the lock."""
    if digest(wanted) != examined:
        raise Overtaken(
            "%s changed while its certificate was on the way: another run or person was faster. Run again."
            % wanted.certificate_path
        )


def digest(wanted) -> str:
    """A hash over the set as it lies there."""
    whole = hashlib.sha256()
    for path in [wanted.certificate_path, wanted.key_path, wanted.csr_path]:
        content = reading.read(path) if path else None
        whole.update(b"-" if content is None else hashlib.sha256(content).digest())
    return whole.hexdigest()


def missing_folders(wanted) -> list:
    """The folders that the task's files need and that are not there."""
    return sorted(set(filter(None, (places.missing_folder(path) for _option, path, _kind in wanted.written()))))


def pair_of(wanted, chain, key, roots):
    """What derived files are made of, a derived.Pair."""
    from . import derived

    password = derived.read_password(wanted.pkcs12) if wanted.pkcs12 else None
    return derived.Pair(chain, key, roots, password, wanted.pkcs12)


def private_key(wanted, key):
    """The private key for what is made of the pair; beside a request that a user brings it is read from key_path."""
    if not wanted.csr_path:
        return key
    if not wanted.key_path:
        return None
    found, problem = _read_key(wanted, record.load(record.path_of(wanted.certificate_path)))
    if problem:
        raise HostFileError("key_path: %s." % problem)
    return found


def compare_derived(wanted, found: plan.Found) -> dict:
    """{option: what is wrong} of the files that are made of the pair."""
    if not wanted.outputs:
        return {}
    from . import derived

    pair = pair_of(wanted, found.chain, private_key(wanted, found.key), found.roots)
    problems = {
        option: derived.problem(option, path, reading.read(path), pair) for option, path in wanted.outputs.items()
    }
    return {option: problem for option, problem in problems.items() if problem}


def interrupted(wanted) -> list:
    """What a run that stopped after its commit left waiting, [(target, tag, kind)], the key before the record."""
    chain = certificates.read(wanted.certificate_path)[0]
    moves = [(wanted.key_path, key_tag(chain[0].public_key()), "key")] if waiting_key(wanted, chain) else []
    if waiting_record(wanted, chain):
        moves.append((record.path_of(wanted.certificate_path), "new", "record"))
    return moves


def key_tag(public_key) -> str:
    """The tag of a staged key: the chain that comes back finds it by that."""
    return keys.fingerprint(public_key)[:32]


def staged_key(wanted, public_key):
    """The private key of this public one that waits to become key_path; None where none does."""
    from ..files import staging

    key = keys.load(staging.read(wanted.key_path, key_tag(public_key)) or b"", wanted.key_path)
    return key if key is not None and keys.fingerprint(key) == keys.fingerprint(public_key) else None


def waiting_key(wanted, chain):
    """(staged key, "") where it belongs to the certificate, while the key in its place does not; else None."""
    if wanted.csr_path or not wanted.key_path or not chain:
        return None
    key = staged_key(wanted, chain[0].public_key())
    return (key, "") if key is not None else None


def waiting_record(wanted, chain):
    """The staged record that is about the certificate, while the one in its place is not; else None."""
    from ..files import staging

    place = record.path_of(wanted.certificate_path)
    waiting = record.parse(staging.read(place, "new") or b"")
    return waiting if record.is_of(waiting, chain) and not record.is_of(record.load(place), chain) else None


def former(wanted, context: Context, chain, key, roots) -> dict:
    """What the CA needs to revoke a certificate, as members of an Answer: itself, and the proof that this host has its key.

    revocable: whether this CA issued it. Nobody revokes a certificate on the mere word of a host.
    """
    if not wanted.revoke or not chain or not roots or certificates.is_foreign(chain, roots):
        return {"revocable": False}
    from ..x509 import proof

    holds = (
        key is not None and hasattr(key, "sign") and keys.fingerprint(key) == keys.fingerprint(chain[0].public_key())
    )
    return {
        "revocable": True,
        "former": certificates.to_pem(chain).decode("ascii"),
        "former_roots": certificates.to_pem(roots).decode("ascii"),
        "holding": proof.renewal(chain, key, [], context.now) if holds else "",
    }

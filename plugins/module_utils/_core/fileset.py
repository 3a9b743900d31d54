# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The files of one certificate on this host: read them, compare what is made of the pair, install, finish, remove.

What files should look like on disk (owner, mode, SELinux) is the business of `finish(path, target, kind)`, a callable
that the caller brings: it puts kind's attributes on the file at path, which is or will become target, and returns
sentences on what differed. This file knows nothing of Ansible.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Callable, Optional

from . import certificates, csr, files, keys, outputs, plan, proof, record
from .errors import CsrError, HalfReplaced, HostFileError, Overtaken


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


def resolve(wanted) -> None:
    """Follow symbolic links: the paths of a certificate become those of its files. HostFileError if two are one."""
    wanted.named = wanted.named or {option: path for option, path, _kind in written(wanted)}
    wanted.certificate_path = files.resolve(wanted.certificate_path, "certificate_path")
    if wanted.key_path:
        wanted.key_path = files.resolve(wanted.key_path, "key_path")
    if wanted.csr_path:
        wanted.csr_path = files.resolve(wanted.csr_path, "csr_path")
    wanted.outputs = {option: files.resolve(path, option) for option, path in wanted.outputs.items()}
    seen = {}
    for option, path, _kind in written(wanted):
        if path in seen:
            raise HostFileError("%s and %s are one file, %s." % (seen[path], option, path))
        seen[path] = option


def written(wanted) -> list:
    """(option, path, kind) of each file that the task writes: the certificate, the key, what is made of them."""
    pair = [("certificate_path", wanted.certificate_path, "certificate")]
    if wanted.key_path and not wanted.csr_path:
        pair.append(("key_path", wanted.key_path, "key"))
    return pair + [(option, path, outputs.KINDS[option]) for option, path in wanted.outputs.items()]


def read(wanted, context: Context) -> plan.Found:
    """What lies there; HostFileError for what cannot be read or is not ours to replace."""
    chain, certificate_problem = read_chain(wanted.certificate_path)
    if wanted.csr_path:
        key, key_problem = _read_request_key(wanted, context.dry)
    else:
        key, key_problem = read_key((context.dry and waiting_key(wanted)) or wanted.key_path)
    kept = record.load((context.dry and waiting_record(wanted, chain)) or record.path_of(wanted.certificate_path))
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


def read_chain(path: str) -> tuple:
    """(certificates, "") or ([], what is wrong with the file)."""
    content = files.read(path)
    if content is None:
        return [], "the certificate %s is missing" % path
    try:
        return certificates.load(content), ""
    except ValueError as error:
        return [], "the certificate %s %s" % (path, "is empty" if not content.strip() else "cannot be read: %s" % error)


def read_key(path: str) -> tuple:
    """(private key, "") or (None, what is wrong with the file)."""
    content = files.read(path)
    if content is None:
        return None, "the private key %s is missing" % path
    key = keys.load(content, path)
    if key is None:
        return None, "the private key %s %s" % (path, "cannot be read as one" if content.strip() else "is empty")
    return key, ""


def brought(wanted):
    """The request that a user brings, checked against the task and, where key_path is given, against its key."""
    content = files.read(wanted.csr_path)
    if content is None:
        raise HostFileError("csr_path: %s is missing. Make the request first, or leave csr_path out." % wanted.csr_path)
    try:
        request = csr.load(content.decode("ascii", "replace"))
        csr.check_brought(request, wanted)
    except CsrError as error:
        raise CsrError("csr_path: %s: %s" % (wanted.csr_path, error)) from None
    if wanted.key_path:
        key, problem = read_key(wanted.key_path)
        if problem or keys.fingerprint(key) != keys.fingerprint(request.public_key()):
            problem = problem or "%s is not the key of the request %s" % (wanted.key_path, wanted.csr_path)
            raise HostFileError("key_path: %s; with csr_path it is read and never written." % problem)
    return request


def _read_request_key(wanted, dry: bool) -> tuple:
    if dry and files.read(wanted.csr_path) is None:  # the task that makes it has only pretended to
        return None, "the request %s is missing" % wanted.csr_path
    return brought(wanted).public_key(), ""


def held(wanted, context: Context):
    """The lock on the set, so that nobody replaces it while it is read; in check mode, and where nothing is, none."""
    if context.dry or files.missing_folder(wanted.certificate_path):
        return nullcontext()
    return files.locked(wanted.certificate_path)


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
        content = files.read(path) if path else None
        whole.update(b"-" if content is None else hashlib.sha256(content).digest())
    return whole.hexdigest()


def probe(wanted, context: Context, key) -> None:
    """Find out before a token is spent whether the files can be made and put there, with their owners and modes."""
    for _option, path, kind in written(wanted):
        files.probe(path, lambda staged, path=path, kind=kind: context.finish(staged, path, kind))
    if wanted.pkcs12:  # which of them the library here can make depends on its age
        outputs.make("pkcs12_path", pair_of(wanted, [], private_key(wanted, key), []))


def missing_folders(wanted) -> list:
    """The folders that the task's files need and that are not there."""
    return sorted(set(filter(None, (files.missing_folder(path) for _option, path, _kind in written(wanted)))))


def pair_of(wanted, chain, key, roots) -> outputs.Pair:
    """What derived files are made of."""
    password = outputs.read_password(wanted.pkcs12) if wanted.pkcs12 else None
    return outputs.Pair(chain, key, roots, password, wanted.pkcs12)


def private_key(wanted, key):
    """The private key for what is made of the pair; beside a request that a user brings it is read from key_path."""
    if not wanted.csr_path:
        return key
    return read_key(wanted.key_path)[0] if wanted.key_path else None


def compare_derived(wanted, found: plan.Found) -> dict:
    """{option: what is wrong} of the files that are made of the pair."""
    if not wanted.outputs:
        return {}
    pair = pair_of(wanted, found.chain, private_key(wanted, found.key), found.roots)
    problems = {
        option: outputs.problem(option, path, files.read(path), pair) for option, path in wanted.outputs.items()
    }
    return {option: problem for option, problem in problems.items() if problem}


def write_derived(wanted, context: Context, found: plan.Found, examined: str, options) -> list:
    """Make these files anew of the pair; returns the backups of those that were somebody else's.

    examined: digest of the set when the pair was found.
    """
    pair = pair_of(wanted, found.chain, private_key(wanted, found.key), found.roots)
    contents = {wanted.outputs[option]: (outputs.make(option, pair), outputs.KINDS[option]) for option in options}
    if record.fits(found.record, found.chain):
        kept = record.make(wanted, context.provisioner, found.chain, found.roots, found.record["issued_at"])
        contents[record.path_of(wanted.certificate_path)] = (kept, "record")
    with files.locked(wanted.certificate_path):
        refuse_changed(wanted, examined)
        saved = [
            files.back_up(wanted.outputs[option]) for option in options if _foreign_bundle(wanted, option, found.roots)
        ]
        _replace(context, [], contents)
    return saved


def install(wanted, context: Context, chain, key, staged_key, issued_at: str) -> list:
    """Replace the whole set: stage all of it with its final attributes, then commit. Returns the backups.

    key: the private key or, of a request that a user brings, its public one; staged_key: where a new one waits, None
    where the key stays; issued_at: when it was first issued.
    """
    contents = {wanted.certificate_path: (certificates.to_pem(chain), "certificate")}
    if wanted.outputs:
        pair = pair_of(wanted, chain, private_key(wanted, key), context.roots)
        for option, path in wanted.outputs.items():
            contents[path] = (outputs.make(option, pair), outputs.KINDS[option])
    kept = record.make(wanted, context.provisioner, chain, context.roots, issued_at)
    contents[record.path_of(wanted.certificate_path)] = (kept, "record")
    saved = [files.back_up(path) for path in _worth_keeping(wanted, chain[1:], context.roots, bool(staged_key))]
    _replace(context, [(staged_key, wanted.key_path, "key")] if staged_key else [], contents)
    return saved


def restore(wanted, context: Context, contents: dict) -> None:
    """Put a former set back: {path: (bytes, kind)}, as it was read before."""
    with files.locked(wanted.certificate_path):
        key = contents.pop(wanted.key_path, (None, ""))[0]
        waiting = []
        if key is not None and key != files.read(wanted.key_path):
            # As when it is installed: a run that ends midway can be finished.
            public = keys.fingerprint(keys.load(key, wanted.key_path))
            waiting.append((files.stage(wanted.key_path, key, public[:32]), wanted.key_path, "key"))
        try:
            _replace(context, waiting, contents)
        except HalfReplaced:
            raise
        except Exception:
            for staged, _target, _kind in waiting:
                files.forget(staged)
            raise


def _replace(context: Context, waiting: list, contents: dict) -> None:
    """Stage contents, {target: (bytes, kind)}, and put them in their places, the first of them first.

    waiting: [(staged, target, kind)] that follow the first.
    """
    made = []
    try:
        moves = []
        for target, (content, kind) in contents.items():
            staged = files.stage(target, content, "new")
            made.append(staged)
            moves.append((staged, target))
            _dress(context, staged, target, kind)
        for staged, target, kind in waiting:
            _dress(context, staged, target, kind)
            moves.insert(1, (staged, target))
        files.replace_set(moves)
    except HalfReplaced:
        raise
    except Exception:
        for path in made:
            files.forget(path)
        raise


def _dress(context: Context, staged: str, target: str, kind: str) -> None:
    files.inherit_owner(staged, target)
    context.finish(staged, target, kind)


def _worth_keeping(wanted, intermediates, roots, new_key: bool) -> list:
    """The files of the former set to keep: all that are replaced, or those that this CA did not issue.

    intermediates: those of the successor, which show whose a leaf is that lost its own.
    """
    replaced = [path for option, path, _kind in written(wanted) if new_key or option != "key_path"]
    if wanted.backup:
        return [path for path in replaced if os.path.exists(path)]
    chain = read_chain(wanted.certificate_path)[0]
    foreign = bool(chain) and all(certificates.is_foreign(way, roots) for way in (chain, chain[:1] + intermediates))
    kept = [wanted.certificate_path] if foreign else []
    if new_key and (foreign or _unknown_key(wanted, chain)):
        kept += [wanted.key_path] if os.path.exists(wanted.key_path) else []
    return kept + [wanted.outputs[option] for option in wanted.outputs if _foreign_bundle(wanted, option, roots)]


def _unknown_key(wanted, chain) -> bool:
    """Whether a key belongs to no certificate of ours that is or was here."""
    key = keys.load(files.read(wanted.key_path) or b"", wanted.key_path)
    kept = record.read(wanted.certificate_path)
    known = {kept["key_sha256"]} if kept else set()
    known |= {keys.fingerprint(chain[0].public_key())} if chain else set()
    return key is not None and keys.fingerprint(key) not in known


def _foreign_bundle(wanted, option: str, roots) -> bool:
    """Whether combined_path holds a certificate, and so a key, of somebody else's."""
    if option != "combined_path":
        return False
    chain = read_chain(wanted.outputs[option])[0]
    own = read_chain(wanted.certificate_path)[0]
    if own and own[0] in chain:  # damaged perhaps, but of the pair
        chain = own
    return bool(chain) and certificates.is_foreign(chain, roots)


def finish_interrupted(wanted, context: Context) -> list:
    """A run that stopped after its commit left key or record waiting: put them in their places, under the lock.

    Returns a sentence on the key; the record is no reason by itself.
    """
    key, kept = waiting_key(wanted), waiting_record(wanted, read_chain(wanted.certificate_path)[0])
    moves = [(key, wanted.key_path)] if key else []
    moves += [(kept, record.path_of(wanted.certificate_path))] if kept else []
    if moves and not context.dry:
        if key:
            _dress(context, key, wanted.key_path, "key")
        files.replace_set(moves)
    if not key:
        return []
    return [
        "an interrupted replacement left the key that belongs to %s waiting beside its place" % wanted.certificate_path
    ]


def waiting_key(wanted):
    """The path of a staged key that belongs to the certificate, while the key in its place does not; else None."""
    chain = read_chain(wanted.certificate_path)[0]
    if wanted.csr_path or not wanted.key_path or not chain:
        return None
    public = keys.fingerprint(chain[0].public_key())
    waiting = files.staged_path(wanted.key_path, public[:32])
    key = keys.load(files.read(waiting) or b"", waiting)
    return waiting if key is not None and keys.fingerprint(key) == public else None


def waiting_record(wanted, chain):
    """The path of a staged record that is about the certificate, while the one in its place is not; else None."""
    place = record.path_of(wanted.certificate_path)
    waiting = files.staged_path(place, "new")
    if not chain or not record.is_of(record.load(waiting), chain) or record.is_of(record.load(place), chain):
        return None
    return waiting


def former(wanted, context: Context, chain, key, roots) -> dict:
    """What the CA needs to revoke a certificate: itself, and the proof that this host holds its key.

    revocable: whether this CA issued it. Nobody revokes a certificate on the mere word of a host.
    """
    if not wanted.revoke or not chain or not roots or certificates.is_foreign(chain, roots):
        return {"revocable": False}
    holds = (
        key is not None and hasattr(key, "sign") and keys.fingerprint(key) == keys.fingerprint(chain[0].public_key())
    )
    return {
        "revocable": True,
        "former": certificates.to_pem(chain).decode("ascii"),
        "former_roots": certificates.to_pem(roots).decode("ascii"),
        "holding": proof.renewal(chain, key, [], context.now) if holds else "",
    }


def attributes(wanted, context: Context) -> list:
    """Put owners and modes right; sentences on what differed."""
    return [reason for _option, path, kind in written(wanted) for reason in context.finish(path, path, kind)]

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The host's half of the exchange: examine what lies there and ask; then accept what came back.

    examine: read the files, decide; where something is due, stage a new key and answer with a request for it
    accept:  check the chain against the staged key, then replace key and certificate as one
    discard: the CA refused: remove the staged key

A private key never leaves the host. What the files should look like on disk (owner, mode, SELinux) is the business of
`finish(path, target, kind)`, a callable that the caller brings: it puts kind's attributes on the file at path, which
is or will become target, and returns sentences on what differed. This file knows nothing of Ansible.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Callable, Optional

from . import certificates, csr, files, keys, plan, record
from .errors import CertificateError, CsrError, HalfReplaced, HostFileError


@dataclass
class Context:
    """What the controller says of the whole task.

    now: its clock; roots: the trusted roots, None while it does not know them; fingerprints: theirs, hex SHA-256;
    provisioner: the name to compare, or None; finish: see above; dry: check mode.
    """

    now: datetime
    roots: Optional[list]
    fingerprints: list
    provisioner: Optional[str]
    finish: Callable
    dry: bool = False


def examine(wanted, context: Context) -> dict:
    """What is to be done about one certificate, and the request for it.

    Returns outcome, reasons, warnings, certificate (facts or None), needs_roots, and, where it is to be issued for
    real, csr (PEM) and digest of the files as found.
    """
    _resolve(wanted)
    repaired = _finish_interrupted(wanted, context)
    if not context.dry:
        for path in _outputs(wanted) + [record.path_of(wanted.certificate_path)]:
            files.forget_stale(path)
    found = _read(wanted, context)
    decision = plan.decide(wanted, found, context.now, context.provisioner)
    answer = {
        "outcome": decision.outcome,
        "reasons": decision.reasons,
        "warnings": decision.warnings,
        "certificate": _facts(found.chain, wanted),
        "needs_roots": decision.needs_roots,
    }
    if decision.needs_roots:
        return answer
    if decision.outcome == "none":
        answer["reasons"] = repaired + _attributes(wanted, context)
        answer["outcome"] = "files" if answer["reasons"] else "none"
        return answer
    folders = sorted(set(filter(None, map(files.missing_folder, _outputs(wanted)))))
    if folders and not context.dry:
        raise HostFileError(
            "The folder %s is missing. Make it first (ansible.builtin.file with state: directory)."
            % " and ".join(folders)
        )
    answer["reasons"] += ["the folder %s is missing" % folder for folder in folders]
    if not context.dry:
        _probe(wanted, context)
        answer["csr"] = _request(wanted)
        answer["digest"] = _digest(wanted)
    return answer


def accept(wanted, context: Context, chain_pem: str, digest: str, issued_at: str) -> dict:
    """Install a chain for the key that examine staged; returns the certificate's facts and the names the CA added."""
    _resolve(wanted)
    chain = _load_answer(chain_pem)
    public = keys.fingerprint(chain[0].public_key())
    staged_key = None if wanted.csr_path else files.staged_path(wanted.key_path, public[:32])
    try:
        key = _staged_or_brought(wanted, staged_key)
        added = certificates.check_issued(chain, wanted, keys.fingerprint(key), context.roots, context.now)
        with files.locked(wanted.certificate_path):
            if _digest(wanted) != digest:
                raise HostFileError(
                    "%s changed while its certificate was on the way: another run or person was faster. Run again."
                    % wanted.certificate_path
                )
            _install(wanted, context, chain, staged_key, issued_at)
    except HalfReplaced:
        raise
    except Exception:
        if staged_key:
            files.forget(staged_key)
        raise
    return {"certificate": _facts(chain, wanted), "names_added": [str(san) for san in added]}


def discard(wanted, request_pem: str) -> None:
    """Remove the key that examine staged for this request."""
    if wanted.csr_path:
        return
    _resolve(wanted)
    public = keys.fingerprint(csr.load(request_pem).public_key())
    files.forget(files.staged_path(wanted.key_path, public[:32]))


def _resolve(wanted) -> None:
    wanted.certificate_path = files.resolve(wanted.certificate_path, "certificate_path")
    if wanted.key_path:
        wanted.key_path = files.resolve(wanted.key_path, "key_path")
    if wanted.csr_path:
        wanted.csr_path = files.resolve(wanted.csr_path, "csr_path")
    elif wanted.key_path == wanted.certificate_path:
        raise HostFileError("certificate_path and key_path are one file, %s." % wanted.key_path)


def _outputs(wanted) -> list:
    return [wanted.certificate_path] + ([] if wanted.csr_path else [wanted.key_path])


def _read(wanted, context: Context) -> plan.Found:
    chain, certificate_problem = _read_chain(wanted.certificate_path)
    if wanted.csr_path:
        key, key_problem = _read_request_key(wanted, context.dry)
    else:
        key, key_problem = _read_key((context.dry and _waiting_key(wanted)) or wanted.key_path)
    kept = record.read(wanted.certificate_path)
    roots = context.roots
    if roots is None:
        roots = record.roots(kept, context.fingerprints) or None
        # Of several roots the record may lack the one that this chain needs.
        some = roots is not None and len(roots) < len(context.fingerprints)
        if some and chain and certificates.chain_problem(chain, roots, context.now):
            roots = None
    return plan.Found(chain, certificate_problem, key, key_problem, kept, roots)


def _read_chain(path: str) -> tuple:
    content = files.read(path)
    if content is None:
        return [], "the certificate %s is missing" % path
    if not content.strip():
        return [], "the certificate %s is empty" % path
    try:
        return certificates.load(content), ""
    except ValueError as error:
        return [], "the certificate %s cannot be read: %s" % (path, error)


def _read_key(path: str) -> tuple:
    content = files.read(path)
    if content is None:
        return None, "the private key %s is missing" % path
    key = keys.load(content, path)
    if key is None:
        return None, "the private key %s %s" % (path, "cannot be read as one" if content.strip() else "is empty")
    return key, ""


def _read_request_key(wanted, dry: bool) -> tuple:
    if dry and files.read(wanted.csr_path) is None:  # the task that makes it has only pretended to
        return None, "the request %s is missing" % wanted.csr_path
    return _brought(wanted).public_key(), ""


def _brought(wanted):
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
        key, problem = _read_key(wanted.key_path)
        if problem or keys.fingerprint(key) != keys.fingerprint(request.public_key()):
            problem = problem or "%s is not the key of the request %s" % (wanted.key_path, wanted.csr_path)
            raise HostFileError("key_path: %s; with csr_path it is read and never written." % problem)
    return request


def _probe(wanted, context: Context) -> None:
    """Find out before a token is spent whether the files can be put there, with their owners and modes."""
    files.probe(wanted.certificate_path, lambda staged: context.finish(staged, wanted.certificate_path, "certificate"))
    if not wanted.csr_path:
        files.probe(wanted.key_path, lambda staged: context.finish(staged, wanted.key_path, "key"))


def _request(wanted) -> str:
    """The request to be signed; a new key for it waits beside key_path."""
    if wanted.csr_path:
        return csr.to_pem(_brought(wanted)).decode("ascii")
    key = keys.generate(wanted.key_type)
    files.stage(wanted.key_path, keys.to_pem(key), keys.fingerprint(key)[:32])
    return csr.build(key, wanted.common_name, wanted.sans).decode("ascii")


def _digest(wanted) -> str:
    """A hash over the set as it lies there."""
    digest = hashlib.sha256()
    for path in [wanted.certificate_path, wanted.key_path, wanted.csr_path]:
        content = files.read(path) if path else None
        digest.update(b"-" if content is None else hashlib.sha256(content).digest())
    return digest.hexdigest()


def _load_answer(chain_pem: str) -> list:
    try:
        return certificates.load(chain_pem.encode("ascii", "replace"))
    except ValueError as error:
        raise CertificateError("The chain that came for this host cannot be read: %s." % error) from None


def _staged_or_brought(wanted, staged_key):
    if wanted.csr_path:
        return _brought(wanted).public_key()
    content = files.read(staged_key)
    key = keys.load(content, staged_key) if content else None
    if key is None:
        raise HostFileError(
            "The key %s, made for this certificate, is gone: another run removed it. Run again." % staged_key
        )
    return key


def _install(wanted, context: Context, chain, staged_key, issued_at: str) -> None:
    """Stage what is left of the set with its final attributes, then commit."""
    made = []
    try:
        kept = record.make(wanted, context.provisioner, chain, context.roots, issued_at)
        record_path = record.path_of(wanted.certificate_path)
        moves = []
        for target, content, kind in (
            (wanted.certificate_path, certificates.to_pem(chain), "certificate"),
            (record_path, kept, "record"),
        ):
            staged = files.stage(target, content, "new")
            made.append(staged)
            moves.append((staged, target))
            _dress(context, staged, target, kind)
        if staged_key:
            _dress(context, staged_key, wanted.key_path, "key")
            moves.insert(1, (staged_key, wanted.key_path))
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


def _finish_interrupted(wanted, context: Context) -> list:
    """A run that stopped between its two renames left certificate and key apart: put the waiting key in its place."""
    waiting = _waiting_key(wanted)
    if not waiting:
        return []
    if not context.dry:
        with files.locked(wanted.certificate_path):
            moves = [(waiting, wanted.key_path)]
            record_path = record.path_of(wanted.certificate_path)
            waiting_record = files.staged_path(record_path, "new")
            if os.path.exists(waiting_record):
                moves.append((waiting_record, record_path))
            _dress(context, waiting, wanted.key_path, "key")
            files.replace_set(moves)
    return [
        "an interrupted replacement left the key that belongs to %s waiting beside its place" % wanted.certificate_path
    ]


def _waiting_key(wanted):
    """The path of a staged key that belongs to the certificate, while the key in its place does not; else None."""
    chain = _read_chain(wanted.certificate_path)[0]
    if wanted.csr_path or not chain:
        return None
    public = keys.fingerprint(chain[0].public_key())
    waiting = files.staged_path(wanted.key_path, public[:32])
    key = keys.load(files.read(waiting) or b"", waiting)
    return waiting if key is not None and keys.fingerprint(key) == public else None


def _attributes(wanted, context: Context) -> list:
    reasons = context.finish(wanted.certificate_path, wanted.certificate_path, "certificate")
    if wanted.key_path and not wanted.csr_path:
        reasons += context.finish(wanted.key_path, wanted.key_path, "key")
    return reasons


def _facts(chain, wanted):
    return certificates.facts(chain, wanted.renew_before, wanted.certificate_path) if chain else None

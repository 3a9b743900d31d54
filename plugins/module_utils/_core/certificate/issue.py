# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The host's half of the exchange, where something is due: ask; then accept what came back.

    ask:     answer with a request for a staged key, or with proofs
    accept:  check the chain against the key that waits, or stays, then replace the set as one
    discard: the CA refused: remove the staged key

A private key never leaves the host.
"""

from __future__ import annotations

import os
from dataclasses import replace

from .. import durations
from ..errors import CertificateError, HalfReplaced, HostFileError, OptionError, Overtaken
from ..files import areas, locks, staging
from ..wire import Answer
from ..x509 import certificates, csr, extensions, keys
from . import fileset, plan, record, replacement
from .fileset import Context


def ask(answer: Answer, wanted, context: Context, found: plan.Found, digest: str) -> Answer:
    """The answer, with what goes to the CA: a request for a key, or proofs of the one that stays."""
    _refuse_impossible_key(wanted, found)
    answer = replace(answer, reasons=answer.reasons + replacement.missing_folders(wanted, context))
    if context.dry:
        return answer
    proofs, csr_pem, outcome = [], None, answer.outcome
    relayed = outcome == "renewed" and not context.by_host
    key = found.key if relayed or wanted.csr_path or _keeps(wanted, found) else keys.generate(wanted.key_type)
    key_stays = key is found.key or (outcome == "renewed" and not context.can_issue)
    warnings = answer.warnings + replacement.probe(wanted, context, key, key_stays)
    if relayed:
        from ..x509 import proof

        audiences = list(context.audiences)
        proofs = [proof.renewal(found.chain, key, audiences, context.now) for _one in range(context.attempts)]
    elif context.can_issue or outcome == "rekeyed" or not context.by_host:
        warnings += _never_installed(wanted)
        csr_pem = _request(wanted, found, key)
    former_key = fileset.private_key(wanted, found.key)
    former = fileset.former(wanted, context, found.chain, former_key, found.roots)
    return replace(answer, warnings=warnings, digest=digest, proofs=proofs, csr=csr_pem, **former)


def _refuse_impossible_key(wanted, found: plan.Found) -> None:
    """OptionError where a new key is due, and the task forbids it."""
    if found.key is None:
        return
    keeps = "csr_path" if wanted.csr_path else "key_policy: keep" if wanted.key_policy == "keep" else ""
    if keeps and found.revoked and keys.fingerprint(found.key) == keys.fingerprint(found.chain[0].public_key()):
        raise OptionError(
            "%s: %s, and a revoked certificate always gets a new key, which this setting forbids. Make a new key, or leave the "
            "setting out." % (keeps, found.revoked)
        )
    if keeps.endswith("keep") and keys.type_of(found.key) != wanted.key_type:
        raise OptionError(
            "key_policy: keep: the key %s is of type %s, and key_type asks for %s. Give its type, or another key_policy."
            % (wanted.key_path, keys.type_of(found.key), wanted.key_type)
        )


def _never_installed(wanted) -> list:
    """A key that waits for its certificate means that a run ended in between; what the CA signed then is lost."""
    if wanted.csr_path or not [tag for tag in areas.waiting(wanted.key_path) if len(tag) == 32]:
        return []
    return [
        "An earlier run for %s made a key whose certificate was never installed: it is issued again."
        % wanted.certificate_path
    ]


def _keeps(wanted, found: plan.Found) -> bool:
    """Whether a certificate that is issued anew keeps the key."""
    return wanted.key_policy == "keep" and found.key is not None


def _request(wanted, found: plan.Found, key) -> str:
    """The request to be signed; a new key for it waits beside key_path."""
    if wanted.csr_path:
        return csr.to_pem(fileset.brought(wanted)).decode("ascii")
    if not _keeps(wanted, found):
        staging.stage(wanted.key_path, keys.to_pem(key), fileset.key_tag(key))
    return csr.build(key, wanted.common_name, wanted.sans).decode("ascii")


def accept(wanted, context: Context, chain_pem: str, digest: str, issued_at: str, renewal: bool = False) -> Answer:
    """Install a chain for the key that examine staged, or found.

    digest: of the files as examine found them; issued_at: RFC 3339, the CA's clock; renewal: whether it continues the
    certificate that is there. The outcome is for the caller to say.
    """
    wanted = fileset.resolve(wanted)
    chain = _load_answer(chain_pem)
    try:
        with locks.locked(wanted.certificate_path):
            fileset.refuse_changed(wanted, digest)
            key, staged = _key_for(wanted, chain[0])
            former = certificates.read(wanted.certificate_path)[0]
            if renewal and not former:
                raise Overtaken("%s is gone since it was examined. Run again." % wanted.certificate_path)
            warnings = _check(wanted, context, chain, key, former if renewal else None, issued_at)
            first = issued_at
            if renewal:
                kept = record.read(wanted.certificate_path, former)
                first = durations.format_time(record.issued_at(record.fitting(kept, former), former))
            saved = replacement.install(wanted, context, chain, key, staged, first, issued_at)
    except HalfReplaced:
        raise
    except Exception:
        _forget_key(wanted, chain[0].public_key())
        raise
    facts = certificates.facts(chain, wanted.renew_before, wanted.certificate_path, context.roots)
    return Answer(certificate=facts, backup_files=saved.backups, warnings=warnings + saved.warnings)


def _key_for(wanted, leaf) -> tuple:
    """(the key of this certificate, whether it waits or is in its place); HostFileError if there is none."""
    if wanted.csr_path:
        return fileset.brought(wanted).public_key(), False
    key = fileset.staged_key(wanted, leaf.public_key())
    if key is not None:
        return key, True
    key = keys.read(wanted.key_path)[0]
    if key is not None and keys.fingerprint(key) == keys.fingerprint(leaf.public_key()):
        return key, False
    raise HostFileError(
        "No key of this host belongs to the certificate that came: the one made for it, which waited beside %s, is gone. "
        "Run again." % wanted.key_path
    )


def _check(wanted, context: Context, chain, key, former, issued_at: str) -> list:
    """CertificateError unless the chain is what was asked for; returns sentences on what the CA added, and did not give."""
    public, signed_at = keys.fingerprint(key), durations.parse_time(issued_at, "issued_at")
    if former is not None:
        certificates.check_renewed(chain, former, wanted, public, context.roots, context.now, signed_at)
        return []
    request = fileset.brought(wanted) if wanted.csr_path else None
    usages = extensions.usages(request.extensions) if request else []
    added = certificates.check_issued(chain, wanted, public, context.roots, context.now, usages)
    if wanted.max_lifetime and certificates.lives_longer(chain, wanted.max_lifetime, signed_at):
        raise CertificateError("The certificate that came lives longer than max_lifetime allows.")
    where = wanted.named["certificate_path"]
    missing = csr.not_given(request, chain[0]) if request else []
    return certificates.names_added(added, where) + certificates.not_given(missing, where)


def discard(wanted, request_pem: str) -> None:
    """Remove the key that examine staged for this request, and folders that were made for nothing."""
    if not wanted.csr_path:
        wanted = fileset.resolve(wanted)
        _forget_key(wanted, csr.load(request_pem).public_key())
    if wanted.make_folder:
        from ..files import folders

        folders.take_away(sorted({os.path.dirname(path) for _option, path, _kind in wanted.written()}))


def _forget_key(wanted, public_key) -> None:
    if not wanted.csr_path:
        staging.forget(wanted.key_path, fileset.key_tag(public_key))


def _load_answer(chain_pem: str) -> list:
    try:
        return certificates.load(chain_pem.encode("ascii", "replace"))
    except ValueError as error:
        raise CertificateError("The chain that came for this host cannot be read: %s." % error) from None

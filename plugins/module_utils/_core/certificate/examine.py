# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The host's half of the exchange: read the files, decide, repair what needs no CA. issue.py does what is due.

In a steady run this is all that happens. What only other runs need is imported where they need it: whatever is imported
of what travels is compiled on the host, at every run.
"""

from __future__ import annotations

from dataclasses import replace

from ..files import places
from ..wire import Answer
from ..x509 import certificates
from . import fileset, ownership, plan, record
from .fileset import Context


def examine(wanted, context: Context) -> Answer:
    """What is to be done about one certificate, and what the CA needs for it."""
    if wanted.state == "absent":
        from . import removal

        return removal.examine(wanted, context)
    wanted = fileset.resolve(wanted)
    ownership.refuse_unowned(wanted)
    with fileset.held(wanted, context):
        repaired = _finish_interrupted(wanted, context) if fileset.left_behind(wanted, context.dry) else []
        if not context.dry:
            record.move(wanted.certificate_path)
        found = fileset.read(wanted, context)
        digest = fileset.digest(wanted)
    decision = plan.decide(wanted, found, context.now, context.provisioner, context.by_host)
    answer = Answer(
        outcome=decision.outcome,
        reasons=decision.reasons,
        warnings=decision.warnings,
        certificate=_facts(found, wanted),
        needs_roots=decision.needs_roots or _former_is_unknown(wanted, context, found, decision),
    )
    if answer.needs_roots:
        # What is repaired already is no news any more when the roots are known.
        return replace(answer, reasons=[] if context.dry else repaired)
    if decision.outcome == "none":
        return _repair(answer, wanted, context, found, digest, repaired)
    from . import issue

    return issue.ask(answer, wanted, context, found, digest)


def with_repairs(answer: Answer, before: Answer) -> Answer:
    """An answer, and what an examination that lacked the roots had repaired before."""
    reasons = before.reasons + answer.reasons
    return replace(answer, reasons=reasons, outcome="files" if reasons and answer.outcome == "none" else answer.outcome)


def _finish_interrupted(wanted, context: Context) -> list:
    """Finish what an interrupted run left, and remove the rest, under the lock.

    Returns a sentence on the key; the record is no reason by itself.
    """
    moves = fileset.interrupted(wanted)
    if moves and not context.dry:
        from . import replacement

        replacement.finish(context, moves)
    from ..files import staging

    for path in fileset.replaced(wanted) if not context.dry else []:
        staging.forget_stale(path)
    if wanted.key_path not in [target for target, _tag, _kind in moves]:
        return []
    return [
        "an interrupted replacement left the key that belongs to %s waiting beside its place" % wanted.certificate_path
    ]


def _former_is_unknown(wanted, context: Context, found: plan.Found, decision: plan.Plan) -> bool:
    """Whether a certificate is to be revoked once it is replaced, and only the roots can tell whose it is."""
    replaced = wanted.revoke and found.chain and decision.outcome != "none"
    return bool(replaced and found.roots is None and not context.dry)


def _repair(answer: Answer, wanted, context: Context, found: plan.Found, digest: str, repaired: list) -> Answer:
    """Do what the CA is not needed for: files made of the pair, owners and modes. repaired: what was done before."""
    problems = fileset.compare_derived(wanted, found)
    saved, warnings = [], []
    if problems:
        from . import replacement

        folders = replacement.missing_folders(wanted, context)
        if not context.dry:
            done = replacement.write_derived(wanted, context, found, digest, list(problems))
            saved, warnings = done.backups, done.warnings
        repaired = repaired + list(problems.values()) + folders
    reasons = repaired + _attributes(wanted, context, found, digest)
    outcome, warnings = "files" if reasons else "none", answer.warnings + warnings
    return replace(answer, outcome=outcome, reasons=reasons, backup_files=saved, warnings=warnings)


def _attributes(wanted, context: Context, found: plan.Found, examined: str) -> list:
    """Correct owners and modes; sentences on what differed. found, examined: the set, and its digest."""
    reasons, anew = [], []
    for option, path, kind in wanted.written():
        foreign = not places.is_ours(path)
        differing = context.finish(path, kind, look=foreign)
        anew += [option] if foreign and differing else []
        reasons += differing
    if anew and not context.dry:
        from . import replacement

        replacement.write_anew(wanted, context, found, examined, anew)
    return reasons


def _facts(found: plan.Found, wanted):
    if not found.chain:
        return None
    return certificates.facts(found.chain, wanted.renew_before, wanted.certificate_path, found.roots)

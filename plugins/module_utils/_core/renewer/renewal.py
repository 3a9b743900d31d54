# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""One certificate, renewed by its host alone: examine it, ask the CA, replace the files, tell who uses them.

The decision, the ladder and the replacement are those of stepca_certificate.
"""

from __future__ import annotations

import copy
import dataclasses
from contextlib import suppress
from datetime import datetime

from .. import durations
from ..ca import connections
from ..certificate import by_host, fileset, record
from ..errors import CertificateError, Overtaken, StepCAError, TransportError, unforeseen
from ..files import attributes, places
from ..wire import Answer, Errand
from ..x509 import certificates
from . import history, served

_UNTOLD = "an earlier run replaced it and ended before it notified those who use it"
_ONLY_A_PLAY = "Only a play can issue it anew: run the one that enrolled this host"


class Renewal:
    """One certificate in one run.

    one: configuration.Configuration; past: history.History; now: this host's clock; force: whether due or not;
    dry: look only; learnt: as of fileset.Context, for all certificates of one CA.
    """

    def __init__(self, one, past: history.History, now: datetime, force=False, dry=False, learnt=None):
        self._one = one
        self._past = past
        self._now = now
        self._force = force
        self._dry = dry
        self._learnt = {} if learnt is None else learnt
        self._wanted = fileset.resolve(one.wanted())

    def run(self, tokens=None) -> tuple:
        """(outcome, reasons, warnings); outcome as of stepca_certificate. StepCAError says what is wrong.

        tokens: those that vouch for a certificate issued anew, of which a renewal has none.
        """
        context = self._context(bool(tokens))
        answer = by_host.examine(self._asked(), context, self._one.connection)
        if answer.outcome == "issued" and not tokens:
            missing = not places.exists(self._wanted.certificate_path)
            advice = self._one.enrolment if missing else _ONLY_A_PLAY + "."
            raise CertificateError("%s: %s. %s" % (self._one.certificate_path, "; ".join(answer.reasons), advice))
        if self._force and answer.outcome in ("rekeyed", "renewed"):
            answer = dataclasses.replace(answer, reasons=["it was asked for by --force"])
        if self._dry:
            return answer.outcome, answer.reasons, answer.warnings
        idle = answer.outcome == "none" and not self._past.pending
        reasons = answer.reasons
        if answer.outcome != "none" and not self._past.pending:
            # Before anything is replaced: whatever becomes of this run, the services will be told.
            self._past.pending = True
            self._past.save()
        context.dry = False
        if not idle or fileset.left_behind(self._wanted):
            answer = by_host.examine(self._asked(), context, self._one.connection)
        outcome, warnings, former = answer.outcome, answer.warnings, {}
        if outcome in ("issued", "rekeyed", "renewed"):
            former = self._snapshot(context) if self._one.rollback and outcome != "issued" else {}
            done = self._obtain(context, answer, tokens or {})
            outcome, reasons, warnings = done.outcome, reasons + done.reasons, warnings + done.warnings
        if self._past.pending:
            self._tell(context, former)
            if outcome == "none":
                outcome, reasons = "notified", [_UNTOLD]
        else:
            with suppress(TransportError):  # what does not run reads its files when it starts
                served.refuse_another(self._one)
        return outcome, reasons, warnings

    def watch(self) -> tuple:
        """The same for what only a play renews: an error where it is due, and those who use it are told what the play could not."""
        chain, problem = certificates.read(self._wanted.certificate_path)
        roots = self._one.connection.roots
        if problem or certificates.renew_at(chain, self._wanted.renew_before, roots) <= self._now:
            raise CertificateError(
                "%s: %s. %s" % (self._one.certificate_path, problem or "it is due", self._one.only_by_play)
            )
        if not self._past.pending or self._dry:
            return "none", [], []
        self._tell(None, {})
        return "notified", [_UNTOLD], []

    def _asked(self):
        """What is wanted; with force, due at any moment of its life."""
        return dataclasses.replace(self._wanted, renew_before=durations.Share(1.0)) if self._force else self._wanted

    def _context(self, can_issue: bool) -> fileset.Context:
        connection = self._one.connection
        return fileset.Context(
            now=self._now,
            roots=connection.roots or None,
            fingerprints=connection.fingerprints,
            provisioner=None,  # it vouched once, and a renewal does not ask it
            finish=self._inherit,
            dry=True,
            audiences=tuple(connections.audiences(connection, "renew")),
            by_host=True,
            can_issue=can_issue,
            learnt=self._learnt,
        )

    def _inherit(self, _target: str, kind: str, staged=None, look=False) -> list:
        """The `finish` of fileset: what replaces a file gets what the configuration names, and else what that file has."""
        if staged is None or look:
            return []
        pair = self._wanted.key_path if kind == "key" else self._wanted.certificate_path
        if staged.ours and staged.former is None and pair and places.is_ours(pair) and places.exists(pair):
            staged.former = attributes.Former(pair)  # of the pair that it is made of
        return attributes.dress(staged, self._wanted.attributes.get(kind) or {}, kind)

    def _obtain(self, context: fileset.Context, answer: Answer, tokens: dict) -> Answer:
        from ..certificate import ladder

        errand = Errand("obtain", digest=answer.digest, outcome=answer.outcome, csr=answer.csr)
        return ladder.Ladder(self._wanted, context, self._one.connection, errand, tokens, _ONLY_A_PLAY).run()

    def _snapshot(self, context: fileset.Context) -> dict:
        """{path: (content, kind)} of the set as it is, made of the pair; the record as it stands."""
        from ..certificate import replacement

        found = fileset.read(self._wanted, context)
        former = replacement.as_found(self._wanted, found, [option for option, _path, _kind in self._wanted.written()])
        place = record.path_of(self._wanted.certificate_path)
        kept = record.believed(place)
        return dict(former, **({} if kept is None else {place: (kept, "record")}))

    def _tell(self, context: fileset.Context, former: dict) -> None:
        """Tell the services, and see that the port serves the new certificate; HookError, StillServed.

        former: what comes back where they refuse it, {} where nothing does.
        """
        from . import services

        failed = services.tell([self._one])[1]
        if failed:
            text = "%s was replaced, but: %s" % (self._one.certificate_path, " ".join(failed.values()))
            if former:
                text = "%s %s" % (text, self._roll_back(context, former))
            raise services.HookError(text)
        self._past.pending = False
        served.wait(self._one)

    def _roll_back(self, context: fileset.Context, former: dict) -> str:
        """The former files again, and the services told so; what came of it, a sentence."""
        from ..certificate import replacement
        from . import services

        try:
            replacement.restore(self._wanted, context, former)
        except StepCAError as error:
            return "The former files cannot be put back: %s" % error
        failed = services.tell([self._one])[1]
        if failed:
            return "The former files are back in their places, and still: %s" % " ".join(failed.values())
        self._past.pending = False
        return "The former files are back in their places. The next run tries again."


def run(
    one, past: history.History, now: datetime, force=False, dry=False, learnt=None, tokens=None, problem=None
) -> tuple:
    """Renewal.run, remembered; and on_failure run where it failed. StepCAError as of Renewal.

    problem: a StepCAError that keeps it from being run at all.
    """
    try:
        if problem:
            raise problem
        renewal = Renewal(one, past, now, force, dry, learnt)
        try:
            outcome = renewal.watch() if one.only_by_play else renewal.run(tokens)
        except Overtaken:  # by a play, which may have left nothing to do
            outcome = renewal.run(tokens)
        if not dry:
            past.last_success, past.error = durations.format_time(now.replace(microsecond=0)), ""
            past.save()
        return outcome
    except Exception as error:
        known = unforeseen(error)
        raise (known if dry else _remember_failure(one, past, now, known)) from None


def _remember_failure(one, past: history.History, now: datetime, error: StepCAError) -> StepCAError:
    """Write the failure down and tell those who want to know; the error, with whatever goes wrong with that."""
    text = str(error)
    past.last_error = durations.format_time(now.replace(microsecond=0))
    past.error = "" if isinstance(error, served.StillServed) else text  # which status sees, as long as it is so
    problems = []
    try:
        past.save()
    except StepCAError as full:
        problems += [str(full)] if str(full) != str(error) else []
    if one.on_failure:
        from . import services

        environment = {"STEPCA_CERTIFICATE_PATH": one.certificate_path, "STEPCA_ERROR": text}
        try:
            services.run(one.on_failure, environment)
        except services.HookError as failed:
            problems.append("on_failure: %s" % failed)
    remembered = copy.copy(error)  # other certificates may meet with the same error
    remembered.args = (" ".join([str(error)] + problems),)
    return remembered

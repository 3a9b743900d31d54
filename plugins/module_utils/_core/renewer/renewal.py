# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""One certificate, renewed by its host alone: examine it, ask the CA, replace the files, tell who uses them.

The decision, the ladder and the replacement are those of stepca_certificate.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime

from .. import client, durations, files, fileset, ladder, record
from ..errors import CertificateError, StepCAError
from . import history, served, services

_ONLY_A_PLAY = "Only a play can issue it anew: run the one that enrolled this host"


class Renewal:
    """One certificate in one run.

    one: configuration.Configuration; past: history.History; now: this host's clock; force: whether due or not;
    dry: look only.
    """

    def __init__(self, one, past: history.History, now: datetime, force: bool = False, dry: bool = False):
        self._one = one
        self._past = past
        self._now = now
        self._force = force
        self._dry = dry
        self._wanted = one.wanted()
        fileset.resolve(self._wanted)

    def run(self, tokens=None) -> tuple:
        """(outcome, reasons, warnings); outcome as of stepca_certificate. StepCAError says what is wrong.

        tokens: those that vouch for a certificate issued anew, of which a renewal has none.
        """
        context = self._context(bool(tokens))
        answer = ladder.examine(self._asked(), context, self._one.connection)
        outcome, reasons = answer["outcome"], answer["reasons"]
        if outcome == "issued" and not tokens:
            raise CertificateError("%s: %s. %s." % (self._one.certificate_path, "; ".join(reasons), _ONLY_A_PLAY))
        if self._dry:
            return outcome, reasons, answer["warnings"]
        former = self._snapshot() if self._one.rollback else None
        if outcome in ("issued", "rekeyed", "renewed"):
            done = self._obtain(context, answer, tokens or {})
            outcome, reasons = done["outcome"], reasons + done["reasons"]
        if outcome != "none":
            self._past.pending = True
        self._tell(context, former)
        return outcome, reasons, answer["warnings"]

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
            dry=self._dry,
            audiences=tuple(client.audiences(connection, "renew")),
            by_host=True,
            can_issue=can_issue,
        )

    def _inherit(self, path: str, target: str, kind: str) -> list:
        """The `finish` of fileset: what replaces a file gets its owner, mode and SELinux context."""
        if path != target:
            pair = self._wanted.key_path if kind == "key" else self._wanted.certificate_path
            files.inherit(path, target, pair, 0o600 if kind == "key" else 0o644)
        return []

    def _obtain(self, context: fileset.Context, answer: dict, tokens: dict) -> dict:
        """Have it renewed; before anything is replaced it is written down that services will have to know."""
        before, self._past.pending = self._past.pending, True
        self._past.save()
        asked = {"outcome": answer["outcome"], "csr": answer.get("csr"), "digest": answer["digest"]}
        try:
            climbing = ladder.Ladder(
                self._wanted,
                context,
                self._one.connection,
                dict(asked, source="", revoke=None, without_token=_ONLY_A_PLAY),
                tokens,
            )
            return climbing.run()
        except StepCAError:
            # Nothing was replaced, or the next run finishes it and sees that as a change.
            self._past.pending = before
            raise

    def _snapshot(self) -> dict:
        """{path: (content, kind)} of the set as it is."""
        listed = [(path, kind) for _option, path, kind in fileset.written(self._wanted)]
        listed.append((record.path_of(self._wanted.certificate_path), "record"))
        found = {path: (files.read(path), kind) for path, kind in listed}
        return {path: one for path, one in found.items() if one[0] is not None}

    def _tell(self, context: fileset.Context, former) -> None:
        """Tell the services, where something changed now or before a crash; see that the port serves the new one."""
        if not self._past.pending:
            return
        try:
            services.tell(self._one)
            stale = served.wait(self._one)
        except services.HookError as error:
            if not former:
                raise services.HookError("%s was replaced, but: %s" % (self._one.certificate_path, error)) from None
            self._roll_back(context, former, error)
        self._past.pending = False
        if stale:
            raise services.HookError(stale)

    def _roll_back(self, context: fileset.Context, former: dict, error: services.HookError) -> None:
        """The former files again, and the services told so; always raises."""
        fileset.restore(self._wanted, context, former)
        text = "%s was replaced, but: %s The former files are back in their places" % (
            self._one.certificate_path,
            error,
        )
        try:
            services.tell(self._one)
        except services.HookError as again:
            raise services.HookError("%s, and still: %s" % (text, again)) from None
        self._past.pending = False
        raise services.HookError("%s. The next run tries again." % text)


def run(one, past: history.History, now: datetime, force: bool = False, dry: bool = False, tokens=None) -> tuple:
    """Renewal.run, remembered; and on_failure run where it failed. StepCAError as of Renewal."""
    try:
        outcome = Renewal(one, past, now, force, dry).run(tokens)
    except StepCAError as error:
        if not dry:
            _remember_failure(one, past, now, error)
        raise
    if not dry:
        past.last_success, past.error = durations.format_time(now.replace(microsecond=0)), ""
        past.save()
    return outcome


def _remember_failure(one, past: history.History, now: datetime, error: StepCAError) -> None:
    """Write the failure down and tell those who want to know; whatever goes wrong with that is added to the error."""
    past.last_error = durations.format_time(now.replace(microsecond=0))
    past.error = history.one_line(str(error))
    problems = []
    try:
        past.save()
    except StepCAError as full:
        problems.append(str(full))
    if one.on_failure:
        environment = {"STEPCA_CERTIFICATE_PATH": one.certificate_path, "STEPCA_ERROR": past.error}
        try:
            services.run(one.on_failure, environment)
        except services.HookError as failed:
            problems.append("on_failure: %s" % failed)
    if problems:
        error.args = (" ".join([str(error)] + problems),)

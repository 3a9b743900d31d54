# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""One task's certificates, from exchange to installation: what the action plugin stepca_certificate does.

    examine (host) -> judge what it asks for; renew, or mint and sign; check (here) -> accept (host)

Nothing is due in a steady run: one module execution, no request to the CA. An entry that fails leaves the others be.
"""

from __future__ import annotations

from dataclasses import replace

from ...module_utils._core import durations, wire
from ...module_utils._core.ca import connections
from ...module_utils._core.certificate import examine, request
from ...module_utils._core.certificate.ladder import not_revoked
from ...module_utils._core.errors import (
    ApiError,
    CertificateError,
    StepCAError,
    TransportError,
    nobody_vouches,
    unforeseen,
)
from ...module_utils._core.wire import Answer, Terms
from ...module_utils._core.x509 import csr
from .. import _answers
from .._action import roots_pem
from .._ca import CA
from .._credentials.credential import Nobody
from .._judge import judge_former, judge_request
from .entry import Entry, understand


class Issue:
    """The certificates of one task on one host.

    action: a StepCAAction; entries: the complete options of each. `run` returns one result for each, in their order.
    """

    def __init__(self, action, entries: list):
        self._action = action
        self._dry = bool(action._task.check_mode)
        self._now = durations.now()
        self._by_host = action.settings.request_from() == "host"
        self._ca = CA(action, self._by_host)
        self._lost = None
        self._entries = [Entry(entry) for entry in entries]

    def run(self) -> list:
        """Results of all entries."""
        for entry in self._entries:
            self._guarded(entry, self._understand)
        understood = self._alive(self._entries)
        self._examine(understood)
        self._look_up_revoked(self._alive(understood))
        due = [entry for entry in self._alive(understood) if entry.is_due]
        if self._dry:
            for entry in due:
                self._guarded(entry, self._refuse_without_credentials)
        elif due:
            (self._hand_over if self._by_host else self._relay)(due)
        return [entry.result(self._ca.url, self._dry) for entry in self._entries]

    @property
    def _attempts(self) -> int:
        """How often one thing may be asked of the CA."""
        return (self._ca.connection.retries + 1) * max(1, len(self._ca.connection.urls))

    @property
    def _can_issue(self) -> bool:
        return not isinstance(self._ca.credential, Nobody)

    def _former_serial(self, entry: Entry) -> str:
        return judge_former(entry.answer, entry.wanted, self._ca.roots, self._ca.connection.fingerprints)

    @staticmethod
    def _alive(entries: list) -> list:
        return [entry for entry in entries if entry.error is None]

    def _guarded(self, entry: Entry, step) -> None:
        try:
            if self._lost:
                raise self._lost
            step(entry)
        except TransportError as error:
            # A CA that gave no answer to all attempts for one entry is not asked again for each of the others.
            self._lost = error
            entry.error = str(error)
        except Exception as error:
            entry.error = str(unforeseen(error))

    def _understand(self, entry: Entry) -> None:
        """What the options alone show, before the host is touched."""
        entry.wanted = understand(entry.options)
        request.refuse_past(entry.wanted, self._now)
        self._ca.credential.check_request(entry.wanted)

    # -- the host's first half

    def _examine(self, entries: list) -> None:
        """Have the host look; once more for those that cannot be decided without the roots."""
        self._ask_host(entries)
        undecided = [entry for entry in self._alive(entries) if entry.answer.needs_roots]
        if undecided:
            self._ca.learn_roots()
            before = [entry.answer for entry in undecided]
            self._ask_host(undecided)
            for entry, answer in zip(undecided, before, strict=True):
                if entry.error is None:
                    entry.answer = examine.with_repairs(entry.answer, answer)

    def _ask_host(self, entries: list, look: bool = False) -> None:
        if not entries:
            return
        items = [entry.question(look or (entry.wanted.check_revocation and not self._by_host)) for entry in entries]
        for entry, answer in zip(entries, self._call("examine", entries, items), strict=True):
            entry.answer = answer
            if answer.failed or not entry.fits(answer):
                entry.answer = Answer()
                entry.error = answer.msg or _answers.NOT_OURS
            else:
                self._action.warn(answer.warnings)

    def _look_up_revoked(self, entries: list) -> None:
        """check_revocation from here: look first, then have the host examine again what is due or revoked."""
        asking = [entry for entry in entries if entry.wanted.check_revocation and not self._by_host]
        for entry in asking:
            self._guarded(entry, self._look_up)
        again = [entry for entry in self._alive(asking) if entry.revoked or entry.answer.outcome != "none"]
        self._examine(again if not self._dry else [entry for entry in again if entry.revoked])

    def _look_up(self, entry: Entry) -> None:
        revoked = self._ca.revoked()
        found = entry.answer.certificate
        entry.revoked = revoked.sentence(_answers.serial(found)) if found else ""
        entry.looked_up = True

    def _call(self, step: str, entries: list, items: list, tokens=None) -> list:
        """Run the module once for these entries; its answers."""
        connection = self._ca.connection
        terms = Terms(
            now=durations.format_time(self._now),
            fingerprints=connection.fingerprints,
            roots=roots_pem(self._ca.roots),
            provisioner=self._ca.provisioner_name,
            audiences=connections.audiences(connection, "renew"),
            attempts=self._attempts,
            can_issue=self._can_issue,
            connection=connections.describe(connection) if self._by_host else None,
        )
        exchange = {"step": step, "terms": terms.to_json(), "items": [item.to_json() for item in items]}
        result = self._action.execute({"certificates": [entry.for_host for entry in entries]}, exchange, tokens)
        return _answers.of_certificates(result, len(entries))

    # -- by way of the controller

    def _relay(self, due: list) -> None:
        renewing = [entry for entry in due if entry.answer.outcome == "renewed"]
        for entry in renewing:
            self._guarded(entry, self._renew)
        refused = [entry for entry in self._alive(renewing) if entry.refused]
        self._ask_host(refused)
        for entry in self._alive(refused):
            if entry.answer.outcome == "renewed":  # it was told that it is not
                entry.error = _answers.NOT_OURS
        issuing = [entry for entry in self._alive(due) if entry.answer.outcome == "issued"]
        for entry in issuing:
            self._refuse_shared_token(entry, issuing)
            self._guarded(entry, self._sign)
        for entry in self._alive(due):
            if entry.answer.outcome == "removed":
                self._guarded(entry, self._revoke)
        self._install([entry for entry in due if entry.error is None or entry.answer.csr])
        for entry in self._alive(due):
            if entry.wanted.revoke and entry.answer.outcome != "removed" and entry.answer.revocable:
                self._guarded(entry, self._revoke_former)

    def _refuse_shared_token(self, entry: Entry, due: list) -> None:
        if self._ca.credential.SERVES_ONE and len(due) > 1 and entry.error is None:
            entry.error = (
                "A token serves one certificate, and %d are due. Use the provisioner's options instead." % len(due)
            )

    def _renew(self, entry: Entry) -> None:
        try:
            entry.chain_pem, entry.issued_at = self._ca.renew(entry.answer.proofs, entry.wanted)
        except (ApiError, CertificateError) as error:
            entry.refused = str(error).rstrip(".")

    def _sign(self, entry: Entry) -> None:
        """From the host's request to a chain that was checked."""
        if entry.error is not None:
            return
        self._refuse_without_credentials(entry)
        request = judge_request(entry.answer.csr, entry.wanted)
        entry.chain_pem, entry.issued_at = self._ca.sign(request, entry.wanted)

    def _refuse_without_credentials(self, entry: Entry) -> None:
        if entry.answer.outcome == "issued" and not self._can_issue:
            raise nobody_vouches("A certificate is due (%s)" % "; ".join(entry.answer.reasons))

    def _revoke(self, entry: Entry) -> None:
        self._ca.revoke(self._former_serial(entry), entry.wanted.reason)
        entry.revoked_now = True

    def _revoke_former(self, entry: Entry) -> None:
        try:
            self._revoke(entry)
        except StepCAError as error:
            raise ApiError(not_revoked(entry.options["certificate_path"], error)) from None

    def _install(self, due: list) -> None:
        """One call for all: what came is installed, what was refused leaves no staged key behind."""
        if not due:
            return
        waiting = [entry for entry in due if entry.error is None]
        for entry, answer in zip(due, self._call("accept", due, [entry.errand() for entry in due]), strict=True):
            self._action.warn(answer.warnings)
            if entry in waiting:
                entry.accept(answer)
        self._look_again([entry for entry in waiting if entry.overtaken])

    def _look_again(self, overtaken: list) -> None:
        """Somebody else was faster, such as the host's own renewer: what they left may be all that is wanted."""
        exchange = [entry.error for entry in overtaken]
        for entry in overtaken:
            entry.error, entry.looked_up = None, False
        self._ask_host(overtaken, look=True)
        for entry, message in zip(overtaken, exchange, strict=True):
            if entry.answer.outcome in ("none", "renewed", "rekeyed"):  # due again at once, it is theirs again
                entry.answer = replace(entry.answer, outcome="none", reasons=[])
            else:
                entry.error = message

    # -- by the host itself

    def _hand_over(self, due: list) -> None:
        """The host asks the CA; a token for each attempt that it may make goes with the second call, and nothing else."""
        tokens = {}
        for index, entry in enumerate(due):
            self._refuse_shared_token(entry, due)
            self._guarded(entry, lambda entry, index=index: tokens.update({str(index): self._tokens(entry)}))
        waiting = [entry for entry in due if entry.error is None]
        items = [entry.errand_by_host(self._ca.source) for entry in due]
        for entry, answer in zip(due, self._call("obtain", due, items, tokens), strict=True):
            self._action.warn(answer.warnings)
            if entry in waiting:
                entry.accept(answer, by_host=True)
        self._look_again([entry for entry in waiting if entry.overtaken])

    def _tokens(self, entry: Entry) -> dict:
        """{"sign": [...], "revoke": [...]}: as many as the host may need; beside those to sign, what belongs to the request."""
        if entry.error is not None:
            return {}
        self._refuse_without_credentials(entry)
        tokens = {}
        if entry.answer.csr and self._can_issue:
            request = judge_request(entry.answer.csr, entry.wanted)
            entry.request = csr.to_pem(request).decode("ascii")
            next_token = self._ca.tokens_to_sign(entry.wanted, request)
            # With max_lifetime the host may have to ask twice.
            count = 1 if self._ca.credential.SERVES_ONE else self._attempts * (2 if entry.wanted.max_lifetime else 1)
            tokens["sign"] = [next_token(False) for _one in range(count)]
            if entry.wanted.template_data is not None:
                tokens["template_data"] = wire.packed(entry.wanted.template_data)
        if entry.wanted.revoke and entry.answer.revocable:
            entry.former = self._former_serial(entry)
            next_token = self._ca.tokens_to_revoke(entry.former)
            tokens["revoke"] = [next_token(False) for _one in range(self._attempts)]
        return tokens

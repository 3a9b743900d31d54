# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A host that asks the CA itself climbs down this ladder: its client certificate, its proof, a token.

What the CA answers is then accepted as if it had come by way of the controller.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from .. import durations
from ..ca import api, client, connections, diagnosis, https, one_time
from ..errors import (
    ApiError,
    CertificateError,
    HalfReplaced,
    OptionError,
    Overtaken,
    StepCAError,
    TransportError,
    nobody_vouches,
)
from ..files import reading
from ..wire import Answer, Errand
from ..x509 import certificates, csr, keys, proof
from . import fileset, issue, plan, removal


class Ladder:
    """One certificate on its way.

    wanted: request.Request; context: fileset.Context; connection: connections.Connection; errand: wire.Errand, to obtain;
    tokens: {"sign": for its csr, "revoke": for its serial}, each to be sent once; without_token: what to do where there is
    none to sign, for those who are never given one.
    """

    def __init__(self, wanted, context, connection, errand: Errand, tokens: dict, without_token: str = ""):
        self._wanted = wanted
        self._context = context
        self._connection = connection
        self._errand = errand
        self._without_token = without_token
        self._tokens = tokens
        self._authority = client.StepCA(connection, https.Transport)
        self._names = []

    def run(self) -> Answer:
        """Do what is due. The reasons tell why a rung gave way.

        What fails after the successor is installed is told beside it: failed and msg.
        """
        if self._errand.outcome == "removed":
            revoked = self._revoke()
            removal.remove(self._wanted)
            return Answer(outcome="removed", revoked=revoked, ca_url=self._authority.url)
        done = self._obtain()
        if not self._errand.revoke:
            return done
        try:
            return replace(done, revoked=self._revoke())
        except StepCAError as error:
            return replace(done, failed=True, msg=not_revoked(self._wanted.certificate_path, error))

    def _revoke(self) -> bool:
        serial, reason = self._errand.revoke, self._wanted.reason
        one_time.revoke(self._authority, serial, reason, self._next("revoke"), self._errand.source)
        return True

    def _obtain(self) -> Answer:
        try:
            if "lost" in self._context.learnt:
                raise self._context.learnt["lost"]
            self._context.roots = self._context.roots or self._authority.trust()
            return self._descend()
        except HalfReplaced:
            raise  # the key that waits belongs to the certificate that is in its place
        except Exception as error:
            if isinstance(error, TransportError):
                # A CA that gave no answer to all attempts for one certificate is not asked again for each of the others.
                self._context.learnt["lost"] = error
            self._discard()
            raise

    def _descend(self) -> Answer:
        outcome, reasons, problem = self._errand.outcome, [], ""
        if outcome in ("renewed", "rekeyed"):
            try:
                return self._install(outcome, *self._continue(outcome))
            except (ApiError, CertificateError) as error:
                problem = str(error).rstrip(".")
                reasons = [plan.issued_instead(outcome, problem)]
        if not self._tokens.get("sign"):
            why = " (it cannot be %s: %s)" % (outcome, problem) if problem else ""
            if self._without_token:
                raise OptionError("A certificate is due%s. %s." % (why, self._without_token))
            raise nobody_vouches("A certificate is due%s" % why)
        answer = one_time.sign(self._authority, self._wanted, self._errand.csr, self._next("sign"), self._errand.source)
        return replace(self._install("issued", *answer), reasons=reasons)

    def _install(self, outcome: str, chain_pem: str, date) -> Answer:
        issued_at = one_time.issued_at(date)
        digest, renewal = self._errand.digest, outcome != "issued"
        done = issue.accept(self._wanted, self._context, chain_pem, digest, issued_at, renewal)
        if outcome == "renewed":
            self._discard()
        return replace(done, outcome=outcome, ca_url=self._authority.url)

    def _discard(self) -> None:
        if self._errand.csr:
            issue.discard(self._wanted, self._errand.csr)

    def _next(self, purpose: str):
        """next_one(spent) for one_time: one that was never written to a connection may be tried again."""
        left = list(self._tokens.get(purpose) or [])

        def next_one(spent):
            if spent and left:
                left.pop(0)
            return left[0] if left else None

        return next_one

    def _continue(self, outcome: str) -> tuple:
        """(chain, date) by the client certificate or the proof; ApiError or CertificateError if neither will do."""
        self._wanted = fileset.resolve(self._wanted)
        former = certificates.read(self._wanted.certificate_path)[0]
        if not former:
            raise Overtaken("%s is gone since it was examined. Run again." % self._wanted.certificate_path)
        try:
            answer = self._by_client_certificate(outcome)
        except ApiError as error:
            if outcome == "rekeyed":
                raise ApiError(diagnosis.explain_renewal(error, "")) from None
            answer = self._by_proof(former)
        except TransportError as error:
            # Where the CA does not accept a client certificate it breaks off; anything else means that it is not there.
            if not error.broken_off:
                raise
            if outcome == "rekeyed":
                raise ApiError("the CA did not accept the client certificate (%s)" % error) from None
            answer = self._by_proof(former)
        # Checked here already: issue.accept would forget the key that a token may still be needed for.
        key = former[0].public_key() if outcome == "renewed" else csr.load(self._errand.csr).public_key()
        chain, public = one_time.load(answer[0]), keys.fingerprint(key)
        signed_at = durations.parse_time(one_time.issued_at(answer[1]), "date")
        certificates.check_renewed(
            chain, former, self._wanted, public, self._context.roots, self._context.now, signed_at
        )
        return answer

    def _by_client_certificate(self, outcome: str) -> tuple:
        identity = (reading.read(self._wanted.certificate_path) or b"", reading.read(self._wanted.key_path) or b"")
        connection = connections.Connection(**dict(vars(self._connection), roots=self._context.roots))
        authority = client.StepCA(connection, partial(https.Transport, identity=identity))
        request = api.renew() if outcome == "renewed" else api.rekey(self._errand.csr)
        try:
            answer = authority.obtain(lambda _spent: request)
        finally:
            self._names = authority.names()
        self._authority.url = authority.url
        return answer

    def _by_proof(self, former) -> tuple:
        problem = certificates.renewal_problem(former[0], by_proof=True)
        if problem:
            raise CertificateError(problem)
        key = keys.read(self._wanted.key_path)[0]
        known = self._names  # those that its certificate showed, where it answered to ours
        audiences = list(self._context.audiences) + connections.audiences(self._connection, "renew", known)
        audiences, now = list(dict.fromkeys(audiences)), self._context.now
        return one_time.renew(self._authority, lambda _spent: proof.renewal(former, key, audiences, now))


def not_revoked(path: str, error) -> str:
    """What is told where the successor is in its place, and the former certificate still good."""
    return (
        "%s is replaced, but the certificate that was there before is not revoked: %s Revoke it with stepca_revoke."
        % (path, error)
    )

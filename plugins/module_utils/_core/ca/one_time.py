# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What is asked of the CA for a token or a proof, each of which is sent once: sign, renew, revoke.

The controller and a host that asks by itself use the same. next_one(spent) -> a token that was never sent, or None
where there is none left; spent tells whether an earlier one may have reached the CA.
"""

from __future__ import annotations

from .. import durations
from ..errors import ApiError, CertificateError
from ..x509 import certificates
from . import api, diagnosis, revocation


def sign(authority, wanted, csr_pem: str, next_token, source: str = "") -> tuple:
    """(chain as PEM, the CA's clock or None) for a request; with max_lifetime asked for again where the answer is too long.

    authority: client.StepCA; source: where the provisioner's name came from. ApiError, TransportError, CertificateError.
    """
    limits = [durations.format_limit(wanted.not_before), durations.format_limit(wanted.not_after)]
    chain_pem, date = _sign(authority, wanted, csr_pem, limits, next_token, source)
    if wanted.max_lifetime and certificates.lives_longer(load(chain_pem), wanted.max_lifetime, date or durations.now()):
        # What the CA gives by itself is not published: only its answer tells that it is too much.
        limits[1] = durations.format_duration(wanted.max_lifetime)
        chain_pem, date = _sign(authority, wanted, csr_pem, limits, _further(next_token, limits[1]), source)
        if certificates.lives_longer(load(chain_pem), wanted.max_lifetime, date or durations.now()):
            raise CertificateError(
                "The CA answered with a certificate that lives longer than max_lifetime, %s, although no more was asked for."
                % limits[1]
            )
    return chain_pem, date


def _further(next_token, longest: str):
    """next_token, after a token that was used; CertificateError where there was but one."""
    first = next_token(True)
    if first is None:
        raise CertificateError(
            "The CA gives a longer life than max_lifetime, %s, by itself, and the token is used up. Ask for not_after: %s."
            % (longest, longest)
        )
    waiting = [first]
    return lambda spent: waiting.pop() if waiting else next_token(True)


def issued_at(date) -> str:
    """When the CA answered, RFC 3339: by its own clock (an aware datetime) where it tells, else by this one."""
    return durations.format_time((date or durations.now()).replace(microsecond=0))


def load(chain_pem: str) -> list:
    """The chain in the CA's answer; CertificateError if it cannot be read."""
    try:
        return certificates.load(chain_pem.encode("ascii", "replace"))
    except ValueError as error:
        raise CertificateError("The CA's chain cannot be read: %s." % error) from None


def _sign(authority, wanted, csr_pem: str, limits: list, next_token, source: str) -> tuple:
    sent = []

    def make(spent):
        token = next_token(spent)
        sent.append(token)
        return token and api.sign(csr_pem, token, limits[0], limits[1], wanted.template_data)

    try:
        return authority.obtain(make)
    except ApiError as error:
        raise diagnosis.explain_signing(error, sent[-1], authority, source) from None


def renew(authority, next_proof) -> tuple:
    """(chain as PEM, the CA's clock or None) for a proof; ApiError says why the CA does not renew, as part of a sentence."""
    sent = []

    def make(spent):
        sent.append(next_proof(spent))
        return sent[-1] and api.renew(sent[-1])

    try:
        return authority.obtain(make)
    except ApiError as error:
        raise ApiError(diagnosis.explain_renewal(error, sent[-1], authority), error.status) from None


def revoke(authority, serial: str, reason: str, next_token, source: str = "") -> bool:
    """Revoke the certificate of this serial (decimal); False where the CA had done so before.

    reason: a name in revocation.REASONS.
    """
    sent = []

    def make(spent):
        sent.append(next_token(spent))
        return sent[-1] and api.revoke(serial, sent[-1], revocation.REASONS[reason], reason)

    try:
        authority.spend(make)
    except ApiError as error:
        if error.status == 400 and revocation.ALREADY in error.message:
            return False
        raise diagnosis.explain_revoking(error, sent[-1], authority, source, serial) from None
    return True

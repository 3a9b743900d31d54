# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Revocation: reasons, serials, and the CA's list of what it revoked (RFC 5280, 5)."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from .. import durations
from ..errors import ApiError, CertificateError, OptionError
from ..library import x509
from ..x509 import certificates, extensions
from . import api

#: RFC 5280, 5.3.1. 7 is not used there; step-ca would take it, and its list could not be read any more.
REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "removeFromCRL": 8,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
_GRACE = certificates.CLOCK_GRACE
#: What step-ca says of a serial that it has revoked before (authority/tls.go).
ALREADY = "already revoked"


def parse_reason(text) -> str:
    """The name in REASONS that this name (any case, with or without _) or number means; OptionError for none."""
    word = re.sub("(?<=[a-zA-Z])[_ -]", "", str(text)).lower()
    for name, number in REASONS.items():
        if word in (name.lower(), str(number)):
            return name
    hint = " 7 is not used in RFC 5280 and would make the CA's list of revoked certificates unreadable." * (word == "7")
    raise OptionError("reason: %r is no reason of RFC 5280.%s There are: %s." % (text, hint, ", ".join(REASONS)))


def parse_serial(text) -> str:
    """A serial number in decimal, out of decimal, 0x..., or hex with colons; OptionError for what is none."""
    word = str(text).strip().replace(":", "").replace(" ", "")
    if re.match(r"^[1-9][0-9]{0,49}$", word) and ":" not in str(text):
        return word
    match = re.match(r"^(?:0[xX])?([0-9a-fA-F]{1,40})$", word)
    if (
        match
        and int(match.group(1), 16)
        and (word[:2] in ("0x", "0X") or ":" in str(text) or re.search("[a-fA-F]", word))
    ):
        return str(int(match.group(1), 16))
    raise OptionError(
        "serial: %r is no serial number. Give it in decimal, or in hex with 0x before it or colons between its bytes."
        % text
    )


class Revoked:
    """A list of revoked certificates that was checked: signed by the CA, and not out of date."""

    def __init__(self, crl):
        self._crl = crl

    def sentence(self, serial: int) -> str:
        """That the certificate of this serial is revoked, since when and why; "" if it is not."""
        entry = self._crl.get_revoked_certificate_by_serial_number(serial)
        if entry is None:
            return ""
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        except (x509.ExtensionNotFound, ValueError):
            reason = "unspecified"
        return "the CA revoked it (serial %d) on %s, reason %s" % (
            serial,
            durations.format_time(_aware(entry, "revocation_date")),
            reason,
        )


def fetch(authority, now: datetime) -> Revoked:
    """The CA's list. ApiError, TransportError or CertificateError: never "not revoked" for want of one.

    authority: client.StepCA; now: the clock of whoever asks.
    """
    answer = authority.ask(api.CRL)
    if answer.status == 404:
        raise ApiError(
            "check_revocation: the CA at %s publishes no list of revoked certificates (GET %s: 404). Set crl.enabled in its "
            "ca.json, or check_revocation: false." % (authority.url, answer.url)
        )
    if answer.status not in api.CRL.good:
        raise api.refusal(api.CRL, answer)
    try:
        crl = x509.load_der_x509_crl(answer.body)
        crl.signature_hash_algorithm, len(crl), crl.issuer
    except extensions.unreadable() as error:
        raise CertificateError(
            "check_revocation: the CA's list of revoked certificates cannot be read (GET %s): %s." % (answer.url, error)
        ) from None
    _check(crl, authority, now, answer.url)
    return Revoked(crl)


def _check(crl, authority, now: datetime, url: str) -> None:
    """A list counts only if an intermediate of the CA that leads to a trusted root signed it, and not too long ago."""
    roots = authority.trust()
    intermediates = []
    listed = authority.get(api.INTERMEDIATES).get("crts")
    for pem in listed if isinstance(listed, list) else []:
        try:
            intermediates += certificates.load(str(pem).encode("ascii", "replace"))
        except ValueError:
            continue
    ways = [[one] for one in intermediates] + [[one, upper] for one in intermediates for upper in intermediates]
    trusted = [way[0] for way in ways if not certificates.chain_problem(way, roots, now)]
    if not any(_signed(crl, issuer) for issuer in trusted + list(roots)):
        raise CertificateError(
            "check_revocation: the list of revoked certificates at %s was signed by a stranger (%s), by no intermediate of this "
            "CA. It is not believed." % (url, crl.issuer.rfc4514_string())
        )
    end = _aware(crl, "next_update")
    if end is None or end <= now - _GRACE:
        raise CertificateError(
            "check_revocation: the CA's list of revoked certificates at %s is out of date since %s. Is the CA's clock right, and "
            "does it renew its list (crl in ca.json)?" % (url, durations.format_time(end) if end else "ever")
        )


def _signed(crl, issuer) -> bool:
    if crl.issuer != issuer.subject:
        return False
    try:
        return bool(crl.is_signature_valid(issuer.public_key()))
    except (TypeError, ValueError):
        return False


def _aware(thing, name: str):
    """A time of a list or entry, aware: cryptography < 42 has naive ones only."""
    value = getattr(thing, name + "_utc", None)
    if value is not None:
        return value
    naive = getattr(thing, name)
    return naive.replace(tzinfo=timezone.utc) if naive else None

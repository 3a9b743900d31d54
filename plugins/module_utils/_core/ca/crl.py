# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The CA's list of the certificates that it revoked (RFC 5280, 5): fetched, checked, and what it says of a serial."""

from __future__ import annotations

from datetime import datetime, timezone

from .. import durations
from ..errors import ApiError, CertificateError
from ..library import ExtensionOID, x509
from ..x509 import certificates, extensions, fields
from . import api

_GRACE = certificates.CLOCK_GRACE
_DELTA, _SCOPE = "2.5.29.27", "2.5.29.28"
#: authorityKeyIdentifier and cRLNumber, which decide nothing here.
_UNDERSTOOD = ("2.5.29.35", "2.5.29.20")


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
        crl.signature_hash_algorithm, len(crl), crl.issuer, crl.extensions
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
    signers = [issuer for issuer in trusted + list(roots) if _signed(crl, issuer)]
    if not signers:
        raise CertificateError(
            "check_revocation: the list of revoked certificates at %s was signed by a stranger (%s), by no intermediate of this "
            "CA. It is not believed." % (url, crl.issuer.rfc4514_string())
        )
    if not any(_may_sign_lists(issuer) for issuer in signers):
        raise CertificateError(
            "check_revocation: the list of revoked certificates at %s was signed by %s, whose keyUsage is without cRLSign: it is for "
            "other things. Give the intermediate cRLSign." % (url, crl.issuer.rfc4514_string())
        )
    partial = _partial(crl.extensions)
    if partial:
        raise CertificateError(
            "check_revocation: the list of revoked certificates at %s is %s, so a certificate that is not in it may be revoked "
            "all the same. The whole list is needed." % (url, partial)
        )
    _check_times(crl, now, url)


def _check_times(crl, now: datetime, url: str) -> None:
    begin = _aware(crl, "last_update")
    if begin > now + _GRACE:
        raise CertificateError(
            "check_revocation: the CA's list of revoked certificates at %s is from the future: it begins on %s; here it is %s. Set "
            "the clocks of the CA and of this machine."
            % (url, durations.format_time(begin), durations.format_time(now))
        )
    end = _aware(crl, "next_update")
    if end is None:
        raise CertificateError(
            "check_revocation: the CA's list of revoked certificates at %s has no nextUpdate, so it cannot be trusted."
            % url
        )
    if end <= now - _GRACE:
        raise CertificateError(
            "check_revocation: the CA's list of revoked certificates at %s is out of date since %s. Is the CA's clock right, and "
            "does it renew its list (crl in ca.json)?" % (url, durations.format_time(end))
        )


def _partial(extensions_found) -> str:
    """Why a list is not all that its issuer revoked (RFC 5280, 5.2), for people; "" if it is."""
    for extension in extensions_found:
        oid, value = extension.oid.dotted_string, extension.value
        if oid == _DELTA:
            return "a delta (deltaCRLIndicator), which lists changes alone"
        if oid == _SCOPE:
            scope = _scope(value)
            if scope:
                return scope
        elif extension.critical and oid not in _UNDERSTOOD:
            return "under a critical extension that is not understood (%s)" % extensions.name_of(extension.oid)
    return ""


def _scope(value) -> str:
    """Of an issuingDistributionPoint. step-ca writes one: the URL of this very list, and that it is of user certificates."""
    if value.indirect_crl:
        return "indirect (issuingDistributionPoint: indirectCRL), of several issuers"
    if value.only_contains_ca_certs or value.only_contains_attribute_certs:
        return "limited to other certificates than those of hosts (issuingDistributionPoint)"
    if value.only_some_reasons:
        return "limited to some reasons (issuingDistributionPoint: onlySomeReasons)"
    if value.relative_name:
        return "limited to one distribution point of several (issuingDistributionPoint: nameRelativeToCRLIssuer)"
    return ""


def _may_sign_lists(issuer) -> bool:
    usage = fields.extension(issuer, ExtensionOID.KEY_USAGE)
    return usage is None or usage.crl_sign


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

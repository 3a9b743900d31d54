# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Ways from a certificate to a trusted root, judged as `openssl verify` judges them.

One judge of our own on all versions of the library. Its verifier (cryptography.x509.verification, since 42; policies of
one's own since 45) is made for the web's PKI: whatever policy it is given, it forbids Ed25519 and name constraints on
directory names, and wants basicConstraints of roots of version 1. Where step, which is Go, and OpenSSL differ, OpenSSL's
word counts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Optional

from .. import durations
from ..library import ExtensionOID, x509
from . import constraints, fields, keys, signatures
from .fields import fingerprint, not_after, not_before, title

#: What OpenSSL understands where it is critical (X509_supported_extension).
_KNOWN = {
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.32": "certificatePolicies",
    "2.5.29.33": "policyMappings",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.36": "policyConstraints",
    "2.5.29.37": "extendedKeyUsage",
    "2.5.29.54": "inhibitAnyPolicy",
    "1.3.6.1.5.5.7.1.7": "ipAddrBlocks",
    "1.3.6.1.5.5.7.1.8": "autonomousSysIds",
    "1.3.6.1.5.5.7.1.14": "proxyCertInfo",
    "2.16.840.1.113730.1.1": "netscapeCertType",
}
#: What Go, and so step-ca, refuses all the same.
_NOT_KNOWN_TO_GO = {
    "2.5.29.14",
    "2.5.29.35",
    "2.5.29.36",
    "1.3.6.1.5.5.7.1.7",
    "1.3.6.1.5.5.7.1.8",
    "1.3.6.1.5.5.7.1.14",
    "2.16.840.1.113730.1.1",
}
_GO_NAMES = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier) if x509 else ()


def ways(chain, roots) -> list:
    """Each way from the first certificate by way of others to one of these roots, which ends it; the shortest first.

    Only what is self-issued is a root, whoever trusts it: OpenSSL does not stop at others either.
    """
    found = []
    _climb([chain[0]], chain[1:], [root for root in roots if is_root(root)], found)
    return sorted(found, key=len)


def line(chain) -> list:
    """The first certificate and those above it in the chain, as far as they issued one another."""
    climbed = [chain[0]]
    while True:
        above = [one for one in chain[1:] if not _meets(climbed, one) and is_issued_by(climbed[-1], one)]
        if not above:
            return climbed
        climbed.append(above[0])


def is_issued_by(certificate, issuer) -> bool:
    """Whether the issuer's name and key made this certificate, as far as anybody here can tell."""
    try:
        return _names_issuer(certificate, issuer) and signatures.is_made_by(certificate, issuer.public_key())
    except signatures.Unverifiable:
        return False


def is_root(certificate) -> bool:
    """Whether it is self-issued, and nobody else's key can be shown to have signed it."""
    try:
        return _names_issuer(certificate, certificate) and signatures.is_made_by(certificate, certificate.public_key())
    except signatures.Unverifiable:
        return True


def problem(chain, roots, now: Optional[datetime]) -> str:
    """Why no way leads from the first of these certificates to one of these roots; "" if one does.

    now: when; None for whether one ever did. When the first certificate itself ends is not asked here.
    """
    found = [_problem_of(way, now) for way in ways(chain, roots)]
    if found:
        return "" if "" in found else found[0]
    return _no_way(chain, roots)


def unknown_extensions(certificate, to_go: bool = False) -> list:
    """Its critical extensions that OpenSSL, or Go, does not know and therefore has to refuse (RFC 5280, 4.2)."""
    critical = [one for one in certificate.extensions if one.critical]
    return [
        one.oid.dotted_string for one in critical if not (_go_knows(one) if to_go else one.oid.dotted_string in _KNOWN)
    ]


def _go_knows(extension) -> bool:
    """As crypto/x509 of Go does, which step-ca is made with: not all that OpenSSL knows, and not every kind of name."""
    if extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME:
        return any(isinstance(one, _GO_NAMES) for one in extension.value)
    if extension.oid == ExtensionOID.NAME_CONSTRAINTS:
        limits = [*(extension.value.permitted_subtrees or []), *(extension.value.excluded_subtrees or [])]
        return all(isinstance(one, _GO_NAMES) for one in limits)
    return extension.oid.dotted_string in set(_KNOWN) - _NOT_KNOWN_TO_GO


def _climb(way: list, above, roots, found: list) -> None:
    if any(fingerprint(way[-1]) == fingerprint(root) for root in roots):
        found.append(way)
        return
    found += [way + [root] for root in roots if is_issued_by(way[-1], root)]
    for one in above:
        if not _meets(way, one) and is_issued_by(way[-1], one):
            _climb(way + [one], above, roots, found)


def _meets(way: list, certificate) -> bool:
    """Whether this name and key are on the way already: it would lead round in a ring."""
    return any(
        one.subject == certificate.subject and keys.spki(one.public_key()) == keys.spki(certificate.public_key())
        for one in way
    )


def _names_issuer(certificate, issuer) -> bool:
    """Whether the names fit, and the identifiers where both have one (RFC 5280, 4.2.1.1)."""
    if certificate.issuer != issuer.subject:
        return False
    named = fields.extension(certificate, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    if named is None:
        return True
    own = fields.extension(issuer, ExtensionOID.SUBJECT_KEY_IDENTIFIER)
    if named.key_identifier is not None and own is not None and named.key_identifier != own.digest:
        return False
    if named.authority_cert_serial_number is None:
        return True
    names = [one.value for one in named.authority_cert_issuer or [] if isinstance(one, x509.DirectoryName)]
    return named.authority_cert_serial_number == issuer.serial_number and (not names or issuer.issuer in names[:1])


def _no_way(chain, roots) -> str:
    climbed = line(chain)
    top = climbed[-1]
    for issuer in list(chain[1:]) + list(roots):
        try:
            if _names_issuer(top, issuer) and not _meets(climbed, issuer):
                signatures.is_made_by(top, issuer.public_key())
        except signatures.Unverifiable as error:
            return str(error)
    trusted = ", ".join("%s, SHA-256 %s..." % (title(root), fingerprint(root)[:16]) for root in roots)
    after = chain[len(climbed) : len(climbed) + 1] if climbed == list(chain[: len(climbed)]) else []
    if after:
        words = "%s was not issued by the next certificate, %s, but by %s, which is none of the trusted roots (%s)"
        return words % (title(top), title(after[0]), top.issuer.rfc4514_string(), trusted)
    words = "%s was issued by %s, which is none of the trusted roots (%s)"
    return words % (title(top), top.issuer.rfc4514_string(), trusted)


def _problem_of(way: list, now: Optional[datetime]) -> str:
    """What is wrong with a way whose signatures are good."""
    for certificate in way:
        unknown = unknown_extensions(certificate)
        if unknown:
            return "%s has the critical extension %s, which nobody knows, so everybody has to refuse it" % (
                title(certificate),
                ", ".join(unknown),
            )
    below = 0
    for upper in way[1:]:
        kind = "root" if upper is way[-1] else "intermediate"
        found = _authority_problem(upper, kind, below) or (_time_problem(upper, kind, now) if now else "")
        if found:
            return found
        below += upper.subject != upper.issuer
    return constraints.problem(way)


def _authority_problem(upper, kind: str, below: int) -> str:
    """Whether it may have issued what is below it. below: how many CAs that are not self-issued."""
    basic = fields.extension(upper, ExtensionOID.BASIC_CONSTRAINTS)
    usage = fields.extension(upper, ExtensionOID.KEY_USAGE)
    of_old = kind == "root" and (usage is not None or upper.version == x509.Version.v1)
    if not (basic.ca if basic is not None else of_old):
        return "%s is not a CA certificate" % title(upper)
    if usage is not None and not usage.key_cert_sign:
        return "%s may not issue certificates (its keyUsage lacks keyCertSign)" % title(upper)
    if basic is not None and basic.path_length is not None and below > basic.path_length:
        return "%s allows %d further CAs below it (pathlen), and there are %d" % (
            title(upper),
            basic.path_length,
            below,
        )
    return ""


def _time_problem(upper, kind: str, now: datetime) -> str:
    if not_after(upper) <= now:
        return "the %s %s expired on %s" % (kind, title(upper), durations.format_time(not_after(upper)))
    if not_before(upper) > now:
        return "the %s %s is not valid before %s; here it is %s" % (
            kind,
            title(upper),
            durations.format_time(not_before(upper)),
            durations.format_time(now),
        )
    return ""

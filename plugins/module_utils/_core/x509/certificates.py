# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Certificates and chains: their facts, whether they lead to a trusted root, whether they are what was asked for."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta, timezone

from .. import durations
from ..errors import CertificateError
from ..files import reading
from ..library import (
    ExtendedKeyUsageOID,
    ExtensionOID,
    InvalidSignature,
    NameOID,
    UnsupportedAlgorithm,
    serialization,
    x509,
)
from . import extensions, keys, names

#: The extension in which step-ca names the provisioner (certificates: authority/provisioner/extension.go).
PROVISIONER_OID = "1.3.6.1.4.1.37476.9000.64.1"
#: The CA backdates certificates for hosts whose clock is behind; ours may be behind by as much.
CLOCK_GRACE = timedelta(minutes=10)
#: The CA adds its backdate (ten minutes at most in practice) to the life asked for.
BACKDATE = timedelta(minutes=11)
LONGEST_CHAIN = 10
_ANY_USAGE = x509.ObjectIdentifier("2.5.29.37.0") if x509 else None
_PEM = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def load(pem: bytes) -> list:
    """All certificates in a PEM text, in order; ValueError if there is none or one cannot be read."""
    blocks = _PEM.findall(pem)
    if not blocks:
        raise ValueError("it holds no PEM certificate")
    if len(blocks) > LONGEST_CHAIN:
        raise ValueError("it holds %d certificates; more than %d are not looked at" % (len(blocks), LONGEST_CHAIN))
    return [_readable(x509.load_pem_x509_certificate, block) for block in blocks]


def read(path: str) -> tuple:
    """(certificates, "") or ([], what is wrong with the file)."""
    content = reading.read(path)
    if content is None:
        return [], "the certificate %s is missing" % path
    try:
        return load(content), ""
    except ValueError as error:
        return [], "the certificate %s %s" % (path, "is empty" if not content.strip() else "cannot be read: %s" % error)


def count(pem: bytes) -> int:
    """How many certificates a PEM text holds."""
    return len(_PEM.findall(pem))


def load_der(der: bytes):
    """One certificate in DER; ValueError if it cannot be read."""
    return _readable(x509.load_der_x509_certificate, der)


def _readable(load_one, content: bytes):
    """A certificate all of which can be read; whatever the library says of another is a ValueError."""
    try:
        certificate = load_one(content)
        certificate.extensions, certificate.public_key()
    except extensions.unreadable() as error:
        raise ValueError(str(error)) from None
    return certificate


def to_pem(chain) -> bytes:
    """PEM of certificates in this order."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)


def fingerprint(certificate) -> str:
    """SHA-256 of the certificate's DER, hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def not_before(certificate) -> datetime:
    """Start of validity, aware."""
    if hasattr(certificate, "not_valid_before_utc"):  # cryptography >= 42
        return certificate.not_valid_before_utc
    return certificate.not_valid_before.replace(tzinfo=timezone.utc)


def not_after(certificate) -> datetime:
    """End of validity, aware."""
    if hasattr(certificate, "not_valid_after_utc"):  # cryptography >= 42
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=timezone.utc)


def sans(certificate) -> list:
    """Its subject alternative names as names.SAN, in normal form where they have one."""
    return [names.from_certificate(kind, text) for kind, text in extensions.spellings(certificate.extensions)]


def common_name(certificate) -> str:
    """Its first commonName, or ""."""
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(attribute.value)
    return ""


def provisioner(certificate) -> tuple:
    """(name, key id) out of step-ca's extension; (None, None) where there is none that can be read."""
    try:
        der = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(PROVISIONER_OID)).value.value
        fields = _der_fields(_der_fields(der)[0][1])
        return fields[1][1].decode("utf-8"), fields[2][1].decode("utf-8")
    except (x509.ExtensionNotFound, IndexError, UnicodeDecodeError):
        return None, None


def end_of_life(chain) -> datetime:
    """When the chain stops working: the earliest end in it."""
    return min(not_after(certificate) for certificate in chain)


def renew_at(chain, renew_before) -> datetime:
    """When the certificate is due: its end less a share of its life, or less a duration."""
    end = end_of_life(chain)
    return end - durations.threshold_of(renew_before, end - not_before(chain[0]))


def facts(chain, renew_before, path: str) -> dict:
    """What tasks return about a certificate (interface: `certificate`)."""
    leaf = chain[0]
    name, key_id = provisioner(leaf)
    return {
        "serial": str(leaf.serial_number),
        "common_name": common_name(leaf),
        "sans": [str(san) for san in sans(leaf)],
        "not_before": durations.format_time(not_before(leaf)),
        "not_after": durations.format_time(not_after(leaf)),
        "renew_at": durations.format_time(renew_at(chain, renew_before).replace(microsecond=0)),
        "fingerprint": fingerprint(leaf),
        "issuer": leaf.issuer.rfc4514_string(),
        "provisioner": name,
        "provisioner_key_id": key_id,
        "key_type": keys.type_of(leaf.public_key()),
        "path": path,
    }


def chain_problem(chain, roots, now: datetime) -> str:
    """Why this chain does not lead from its leaf to one of these roots at this instant; "" if it does."""
    for lower, upper in zip(chain, chain[1:]):
        if not is_issued_by(lower, upper):
            return "%s was not issued by the next certificate, %s" % (_subject(lower), _subject(upper))
    for upper in chain[1:]:
        if not _may_issue(upper):
            return "%s is not a CA certificate" % _subject(upper)
        if not_after(upper) <= now:
            return "the intermediate %s expired on %s" % (_subject(upper), durations.format_time(not_after(upper)))
    last = chain[-1]
    if any(fingerprint(last) == fingerprint(root) for root in roots) and len(chain) > 1:
        return ""
    issuers = [root for root in roots if is_issued_by(last, root)]
    if not issuers:
        return "%s was issued by %s, which is none of the trusted roots (%s)" % (
            _subject(last),
            last.issuer.rfc4514_string(),
            ", ".join("%s, SHA-256 %s..." % (_subject(root), fingerprint(root)[:16]) for root in roots),
        )
    if all(not_after(root) <= now for root in issuers):
        return "the root %s expired on %s" % (_subject(issuers[0]), durations.format_time(not_after(issuers[0])))
    return ""


def is_issued_by(certificate, issuer) -> bool:
    """Whether the issuer's name and key made this certificate."""
    if certificate.issuer != issuer.subject:
        return False
    try:
        if hasattr(certificate, "verify_directly_issued_by"):  # cryptography >= 40
            certificate.verify_directly_issued_by(issuer)
        else:
            signed, digest = certificate.tbs_certificate_bytes, certificate.signature_hash_algorithm
            keys.verify(issuer.public_key(), certificate.signature, signed, digest)
        return True
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False


def check_issued(chain, wanted, public_key_sha256: str, roots, now: datetime) -> list:
    """Whether the CA's answer may be installed: key, names, life, not a CA, chain to a root.

    Returns the names that the CA added (a template may). CertificateError says what is wrong.
    """
    leaf = chain[0]
    if keys.fingerprint(leaf.public_key()) != public_key_sha256:
        raise CertificateError("The CA answered with a certificate for another key than the one in the request.")
    if extensions.asks_to_be_ca(leaf.extensions):
        raise CertificateError(
            "The CA answered with a CA certificate, which no host may hold. A template of the provisioner makes it so."
        )
    problem = chain_problem(chain, roots, now)
    if problem:
        raise CertificateError("The chain that the CA answered with does not lead to a trusted root: %s." % problem)
    found = sans(leaf)
    missing = [san for san in wanted.sans if san not in found]
    if missing:
        raise CertificateError(
            "The CA left out %s of the names asked for; the certificate has %s. A template of the provisioner rewrites names."
            % (", ".join(map(str, missing)), ", ".join(map(str, found)) or "none")
        )
    _check_life(chain, wanted, now)
    return [san for san in found if san not in wanted.sans]


def names_added(added: list, where: str) -> list:
    """What a user is told of names that check_issued returned, as a list of sentences. where: the certificate."""
    sentence = "The CA added %s to the names of %s, as a template of the provisioner may."
    return [sentence % (", ".join(map(str, added)), where)] if added else []


def check_renewed(chain, former, wanted, public_key_sha256: str, roots, now: datetime) -> None:
    """Whether a renewal may be installed: this key, the former names, a later end. CertificateError says what is wrong.

    former: the chain that it renews.
    """
    leaf = chain[0]
    if keys.fingerprint(leaf.public_key()) != public_key_sha256:
        raise CertificateError("The CA answered with a certificate for another key.")
    if extensions.asks_to_be_ca(leaf.extensions) or set(sans(leaf)) != set(sans(former[0])):
        raise CertificateError("The CA answered with another certificate than the one that was to be renewed.")
    problem = chain_problem(chain, roots, now)
    if problem:
        raise CertificateError("The chain that the CA answered with does not lead to a trusted root: %s." % problem)
    if end_of_life(chain) <= end_of_life(former):
        raise CertificateError(
            "A renewal would end on %s, not later than now (%s)."
            % (durations.format_time(end_of_life(chain)), durations.format_time(end_of_life(former)))
        )
    span = not_after(leaf) - not_before(leaf)
    if wanted.max_lifetime and span > wanted.max_lifetime + BACKDATE:
        raise CertificateError(
            "A renewal would live for %s, longer than max_lifetime, %s."
            % (durations.format_duration(span), durations.format_duration(wanted.max_lifetime))
        )
    _check_life(chain, wanted, now)


def renewal_problem(leaf, by_proof: bool) -> str:
    """Why step-ca would not renew this certificate, whatever its state; "" if it may.

    by_proof: with a proof (step crypto jose/parse.go), which needs more than a client certificate does.
    """
    usages = _extension(leaf, ExtensionOID.EXTENDED_KEY_USAGE)
    if usages is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, _ANY_USAGE} & set(usages):
        return "it is not for clients (extended key usage without clientAuth), and step-ca renews only what is"
    usage = _extension(leaf, ExtensionOID.KEY_USAGE)
    if by_proof and usage is not None and not usage.digital_signature:
        return "its key is not for signatures (key usage without digitalSignature), which the proof needs"
    return ""


def lives_longer(chain, longest: timedelta, now: datetime) -> bool:
    """Whether a certificate that was just issued lives longer than max_lifetime allows, with a minute's grace."""
    return not_after(chain[0]) > now + longest + timedelta(minutes=1)


def is_foreign(chain, roots) -> bool:
    """Whether a certificate never led to one of these roots: expiry does not make it foreign."""
    return bool(chain_problem(chain, roots, max(not_before(one) for one in chain)))


def _extension(certificate, oid):
    try:
        return certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None


def _check_life(chain, wanted, now: datetime) -> None:
    end = end_of_life(chain)
    if end <= now:
        raise CertificateError(
            "The CA answered with a chain that ended on %s; here it is %s."
            % (durations.format_time(end), durations.format_time(now))
        )
    begin = not_before(chain[0])
    if begin > now + CLOCK_GRACE and wanted.not_before is None:
        raise CertificateError(
            "The certificate that came is not valid before %s; here it is %s. Set the clocks of the CA and of this machine."
            % (durations.format_time(begin), durations.format_time(now))
        )
    due = renew_at(chain, wanted.renew_before)
    if due <= now and not isinstance(wanted.not_after, datetime):
        life = end - not_before(chain[0])
        raise CertificateError(
            "The certificate that came would be due at once: it ends in %s (on %s), its whole life is %s, and renew_before makes "
            "it due when %s are left. Lower renew_before, or ask for a longer life (not_after)."
            % (
                durations.format_duration(_whole(end - now)),
                durations.format_time(end),
                durations.format_duration(life),
                durations.format_duration(_whole(durations.threshold_of(wanted.renew_before, life))),
            )
        )


def _whole(span: timedelta) -> timedelta:
    return timedelta(seconds=int(span.total_seconds()))


def _may_issue(certificate) -> bool:
    constraints = _extension(certificate, ExtensionOID.BASIC_CONSTRAINTS)
    return constraints is not None and constraints.ca


def _subject(certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a subject"


def _der_fields(der: bytes) -> list:
    """(tag, content) of the DER values that follow each other here; IndexError for what is no DER."""
    fields, at = [], 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        if at + length > len(der):
            raise IndexError("cut short")
        fields.append((tag, der[at : at + length]))
        at += length
    return fields

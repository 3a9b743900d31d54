# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Certificates and chains: their facts, whether they lead to a trusted root, whether they are what was asked for."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from .. import durations, library
from ..errors import CertificateError
from ..files import reading
from ..library import ExtendedKeyUsageOID, ExtensionOID, NameOID, UnsupportedAlgorithm, serialization, x509
from . import chains, der, extensions, fields, keys, names
from .fields import extension, fingerprint, not_after, not_before

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
    blocks = _PEM.findall(pem) or _PEM.findall(_forms().plain(pem))
    if not blocks:
        name = _forms().name_of(pem)
        raise ValueError("it holds no PEM certificate%s" % (", but %s" % name if name else ""))
    if len(blocks) > LONGEST_CHAIN:
        raise ValueError("it holds %d certificates; more than %d are not looked at" % (len(blocks), LONGEST_CHAIN))
    return [_readable(x509.load_pem_x509_certificate, block) for block in blocks]


def _forms():
    """Imported only for what is no PEM certificate."""
    from . import forms

    return forms


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


def load_der(content: bytes):
    """One certificate in DER; ValueError if it cannot be read."""
    return _readable(x509.load_der_x509_certificate, content)


def reload(certificate):
    """A certificate that came by another way, all of which can be read; ValueError if not."""
    return load_der(certificate.public_bytes(serialization.Encoding.DER))


def _readable(load_one, content: bytes):
    """A certificate all of which can be read; whatever the library says of another is a ValueError."""
    try:
        certificate = load_one(content)
        certificate.extensions, certificate.public_key()
        certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        fields.not_before(certificate), fields.not_after(certificate)
    except UnsupportedAlgorithm as error:
        raise ValueError(
            "cryptography %s on this machine does not know what is in it: %s" % (library.VERSION, error)
        ) from None
    except extensions.unreadable() as error:
        raise ValueError(extensions.words(error)) from None
    return certificate


def to_pem(chain) -> bytes:
    """PEM of certificates in this order."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)


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
        content = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(PROVISIONER_OID)).value.value
        members = der.fields(der.fields(content)[0][1])
        return members[1][1].decode("utf-8"), members[2][1].decode("utf-8")
    except (x509.ExtensionNotFound, IndexError, ValueError):
        return None, None


def end_of_life(chain, roots=()) -> datetime:
    """When the chain stops working: the earliest end on its way to a trusted root, that of the root itself included.

    Of several ways the one that lasts counts. roots: those trusted; where none is known, the chain alone tells.
    """
    return max(min(map(not_after, way)) for way in chains.ways(chain, roots or ()) or [chains.line(chain)])


def renew_at(chain, renew_before, roots=()) -> datetime:
    """When the certificate is due: its end less a share of its life, or less a duration."""
    end = end_of_life(chain, roots)
    return end - durations.threshold_of(renew_before, end - not_before(chain[0]))


def facts(chain, renew_before, path: str, roots=()) -> dict:
    """What tasks return about a certificate (interface: `certificate`). roots: those trusted, as far as they are known."""
    leaf = chain[0]
    name, key_id = provisioner(leaf)
    return {
        "serial": str(leaf.serial_number),
        "common_name": common_name(leaf),
        "sans": [str(san) for san in sans(leaf)],
        "not_before": durations.format_time(not_before(leaf)),
        "not_after": durations.format_time(not_after(leaf)),
        "renew_at": durations.format_time(renew_at(chain, renew_before, roots).replace(microsecond=0)),
        "fingerprint": fingerprint(leaf),
        "issuer": leaf.issuer.rfc4514_string(),
        "provisioner": name,
        "provisioner_key_id": key_id,
        "key_type": keys.type_of(leaf.public_key()),
        "path": path,
    }


def chain_problem(chain, roots, now: datetime) -> str:
    """Why this chain does not lead from its leaf to one of these roots at this instant; "" if it does.

    It is good as soon as a trusted root issued one of its members: what follows that one neither helps nor hurts.
    """
    return chains.problem(chain, roots, now)


def is_issued_by(certificate, issuer) -> bool:
    """Whether the issuer's name and key made this certificate."""
    return chains.is_issued_by(certificate, issuer)


def only_roots(trusted) -> tuple:
    """(the roots among these certificates, what is said of each other one): whoever is trusted must be self-issued."""
    roots, others = [], []
    for one in trusted:
        (roots if chains.is_root(one) else others).append(one)
    words = "%s (SHA-256 %s) is no root: %s issued it. It is left out; give the root instead."
    return roots, [words % (fields.title(one), fingerprint(one), one.issuer.rfc4514_string()) for one in others]


def check_issued(chain, wanted, public_key_sha256: str, roots, now: datetime, asked_usages=()) -> list:
    """Whether the CA's answer may be installed: key, names, life, usages, not a CA, chain to a root.

    asked_usages: the extended key usages that the request asks for.
    Returns the names that the CA added (a template may). CertificateError says what is wrong.
    """
    leaf = chain[0]
    if keys.fingerprint(leaf.public_key()) != public_key_sha256:
        raise CertificateError("The CA answered with a certificate for another key than the one in the request.")
    if extensions.asks_to_be_ca(leaf.extensions):
        raise CertificateError(
            "The CA answered with a CA certificate, which no host may hold. A template of the provisioner makes it so."
        )
    unasked = extensions.unasked_usages(leaf.extensions, asked_usages, wanted.sans)
    if unasked:
        raise CertificateError(
            "The CA answered with a certificate for %s (extended key usage), which nobody asked for. A template of the "
            "provisioner makes it so." % ", ".join(unasked)
        )
    unknown = chains.unknown_extensions(leaf)
    if unknown:
        raise CertificateError(
            "The CA answered with a certificate whose extension %s is critical, and nobody knows it: whoever is shown the "
            "certificate refuses it, the CA included. A template of the provisioner makes it so." % ", ".join(unknown)
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
    _check_life(chain, wanted, roots, now)
    return [san for san in found if san not in wanted.sans]


def names_added(added: list, where: str) -> list:
    """What a user is told of names that check_issued returned, as a list of sentences. where: the certificate."""
    sentence = "The CA added %s to the names of %s, as a template of the provisioner may."
    return [sentence % (", ".join(map(str, added)), where)] if added else []


def not_given(missing: list, where: str) -> list:
    """What a user is told of what a request asks for and the CA did not give, as a list of sentences."""
    sentence = "The CA did not give all that the request for %s asks for: %s. A template of the provisioner decides."
    return [sentence % (where, ", ".join(missing))] if missing else []


def check_renewed(chain, former, wanted, public_key_sha256: str, roots, now: datetime, signed_at: datetime) -> None:
    """Whether a renewal may be installed: this key, the former names, a later end. CertificateError says what is wrong.

    former: the chain that it renews; signed_at: when that was, by the CA's clock.
    """
    leaf = chain[0]
    if keys.fingerprint(leaf.public_key()) != public_key_sha256:
        raise CertificateError("The CA answered with a certificate for another key.")
    more = set(extensions.usages(leaf.extensions)) - set(extensions.usages(former[0].extensions))
    if extensions.asks_to_be_ca(leaf.extensions) or more or set(sans(leaf)) != set(sans(former[0])):
        raise CertificateError("The CA answered with another certificate than the one that was to be renewed.")
    problem = chain_problem(chain, roots, now)
    if problem:
        raise CertificateError("The chain that the CA answered with does not lead to a trusted root: %s." % problem)
    end, before = end_of_life(chain, roots), end_of_life(former, roots)
    if end <= before:
        raise CertificateError(
            "A renewal would end on %s, not later than now (%s)."
            % (durations.format_time(end), durations.format_time(before))
        )
    if wanted.max_lifetime and lives_longer(chain, wanted.max_lifetime, signed_at):
        raise CertificateError(
            "A renewal would live for %s, longer than max_lifetime, %s."
            % (durations.format_duration(not_after(leaf) - signed_at), durations.format_duration(wanted.max_lifetime))
        )
    _check_life(chain, wanted, roots, now)


def renewal_problem(leaf, by_proof: bool) -> str:
    """Why step-ca would not renew this certificate, whatever its state; "" if it may.

    by_proof: with a proof (step crypto jose/parse.go), which needs more than a client certificate does.
    """
    unknown = chains.unknown_extensions(leaf, to_go=True)
    if unknown:
        return "it has the critical extension %s, which step-ca does not know" % ", ".join(unknown)
    usages = extension(leaf, ExtensionOID.EXTENDED_KEY_USAGE)
    if usages is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, _ANY_USAGE} & set(usages):
        return "it is not for clients (extended key usage without clientAuth), and step-ca renews only what is"
    usage = extension(leaf, ExtensionOID.KEY_USAGE)
    if by_proof and usage is not None and not usage.digital_signature:
        return "its key is not for signatures (key usage without digitalSignature), which the proof needs"
    return ""


def lives_longer(chain, longest: timedelta, now: datetime) -> bool:
    """Whether a certificate that was just issued lives longer than max_lifetime allows, with a minute's grace."""
    return not_after(chain[0]) > now + longest + timedelta(minutes=1)


def is_foreign(chain, roots) -> bool:
    """Whether a certificate never led to one of these roots: expiry does not make it foreign."""
    return bool(chains.problem(chain, roots, None))


def _check_life(chain, wanted, roots, now: datetime) -> None:
    end = end_of_life(chain, roots)
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
    due = renew_at(chain, wanted.renew_before, roots)
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

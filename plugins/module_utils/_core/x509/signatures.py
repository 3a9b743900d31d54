# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Signatures of certificates (RFC 5280, 4.1.1.2): verified by the algorithm that the DER names.

`cryptography` learnt of RSASSA-PSS in certificates with 41, and its `verify_directly_issued_by` came with 40; before that,
what it does not know looks like a signature of somebody else. Read from the DER, all versions verify the same.
"""

from __future__ import annotations

from .. import library
from ..library import InvalidSignature, UnsupportedAlgorithm, ec, hashes, padding, rsa, serialization
from . import der, fields

_PSS = "1.2.840.113549.1.1.10"
#: Algorithm -> (kind of the key that makes it, digest); Ed25519 and Ed448 name no digest.
_ALGORITHMS = {
    "1.2.840.113549.1.1.5": ("rsa", "SHA1"),
    "1.2.840.113549.1.1.14": ("rsa", "SHA224"),
    "1.2.840.113549.1.1.11": ("rsa", "SHA256"),
    "1.2.840.113549.1.1.12": ("rsa", "SHA384"),
    "1.2.840.113549.1.1.13": ("rsa", "SHA512"),
    "1.2.840.10045.4.1": ("ec", "SHA1"),
    "1.2.840.10045.4.3.1": ("ec", "SHA224"),
    "1.2.840.10045.4.3.2": ("ec", "SHA256"),
    "1.2.840.10045.4.3.3": ("ec", "SHA384"),
    "1.2.840.10045.4.3.4": ("ec", "SHA512"),
    "1.3.101.112": ("ed", None),
    "1.3.101.113": ("ed", None),
}
_DIGESTS = {
    b"\x2b\x0e\x03\x02\x1a": "SHA1",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x04": "SHA224",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x01": "SHA256",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x02": "SHA384",
    b"\x60\x86\x48\x01\x65\x03\x04\x02\x03": "SHA512",
}


class Unverifiable(Exception):
    """Nobody here can tell whose signature it is. Says why, for people."""


def is_made_by(certificate, key) -> bool:
    """Whether the private half of this public key signed this certificate; Unverifiable."""
    oid = certificate.signature_algorithm_oid.dotted_string
    signed, signature = certificate.tbs_certificate_bytes, certificate.signature
    try:
        kind, arguments = _how(certificate, oid)
        if kind != _kind_of(key):
            return False
        key.verify(signature, signed, *arguments)
    except InvalidSignature:
        return False
    except (UnsupportedAlgorithm, ValueError, TypeError, LookupError):
        raise Unverifiable(
            "the signature of %s cannot be verified by cryptography %s on this machine (algorithm %s): a newer version may know it"
            % (fields.title(certificate), library.VERSION, _NAMES.get(oid, oid))
        ) from None
    return True


_NAMES = {_PSS: "RSASSA-PSS"}


def _how(certificate, oid: str) -> tuple:
    """(kind of key, further arguments of its verify)."""
    if oid == _PSS:
        return "rsa", _salted(certificate)
    kind, name = _ALGORITHMS[oid]
    digest = getattr(hashes, name)() if name else None
    if kind == "rsa":
        return kind, (padding.PKCS1v15(), digest)
    return kind, (ec.ECDSA(digest),) if digest else ()


def _salted(certificate) -> tuple:
    """The arguments for RSASSA-PSS-params (RFC 4055, 3.1); what they leave out is SHA-1 and 20."""
    whole = der.fields(certificate.public_bytes(serialization.Encoding.DER))[0][1]
    algorithm = der.fields(der.fields(whole)[1][1])
    given = dict(der.fields(algorithm[1][1])) if len(algorithm) > 1 else {}
    digest = _digest(der.fields(given[0xA0])[0][1]) if 0xA0 in given else hashes.SHA1()
    mask = hashes.SHA1()
    if 0xA1 in given:
        mask = _digest(der.fields(der.fields(given[0xA1])[0][1])[1][1])
    salt = int.from_bytes(der.fields(given[0xA2])[0][1], "big") if 0xA2 in given else 20
    return padding.PSS(padding.MGF1(mask), salt), digest


def _digest(algorithm: bytes):
    """The digest that the content of an AlgorithmIdentifier names; LookupError for an unknown one."""
    return getattr(hashes, _DIGESTS[der.fields(algorithm)[0][1]])()


def _kind_of(key) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    return "ec" if isinstance(key, ec.EllipticCurvePublicKey) else "ed"

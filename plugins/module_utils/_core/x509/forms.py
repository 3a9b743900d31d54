# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""In which form something lies in a file, by its bytes alone: text of other systems, and what is no PEM certificate.

Editors of Windows put a byte order mark (BOM) before a text, or write UTF-16. To DER nothing is written but the bytes
themselves, so it is known by the object identifiers that only one kind of file begins with.
"""

from __future__ import annotations

import re
import warnings

from .. import library
from . import extensions

#: BOM of each encoding; that of UTF-32 begins like one of UTF-16.
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9][A-Z0-9 #]{0,40})-----")
#: id-signedData (RFC 5652, 5.1) and id-data beside the version of a PFX (RFC 7292, 4), DER.
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_PFX = re.compile(rb"^\x30(?:\x80|[\x00-\x7f]|[\x81-\x84].{1,4}?)\x02\x01\x03\x30", re.DOTALL)
#: What DER of a certificate, request or list of revoked certificates begins with: SEQUENCE, SEQUENCE.
_SEQUENCES = re.compile(rb"^\x30(?:[\x00-\x7f]|[\x81-\x84].{1,4}?)\x30", re.DOTALL)

_PEM = {
    "CERTIFICATE": "a certificate in PEM",
    "TRUSTED CERTIFICATE": "a certificate in OpenSSL's own form (TRUSTED CERTIFICATE): `openssl x509` writes PEM",
    "PKCS7": "PKCS#7 (p7b): `openssl pkcs7 -print_certs` writes PEM",
    "CERTIFICATE REQUEST": "a certificate request, which no CA has signed",
    "NEW CERTIFICATE REQUEST": "a certificate request, which no CA has signed",
    "X509 CRL": "a list of revoked certificates",
    "PUBLIC KEY": "a public key",
}


def plain(content: bytes) -> bytes:
    """A text as UTF-8 without a BOM; what has none, or is no text of the encoding that its BOM names, as it stands."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding).encode("utf-8")
            except ValueError:
                return content
    return content


def is_pkcs7(content: bytes) -> bool:
    """Whether this is PKCS#7 in DER or PEM."""
    return _label(content) == "PKCS7" or (content[:1] == b"\x30" and _SIGNED_DATA in content[:24])


def load_pkcs7(content: bytes) -> list:
    """The certificates in PKCS#7, as they come; ValueError where it cannot be read."""
    pkcs7 = library.pkcs7()
    load = pkcs7.load_der_pkcs7_certificates if content[:1] == b"\x30" else pkcs7.load_pem_pkcs7_certificates
    try:
        with warnings.catch_warnings():  # of BER, which others write and RFC 5652 allows
            warnings.simplefilter("ignore")
            return list(load(content))
    except extensions.unreadable() as error:
        raise ValueError(str(error)) from None


def ordered(certificates: list) -> list:
    """Leaf first, then who issued it: PKCS#7 keeps no order (RFC 5652, 5.1)."""
    issuers = [one.issuer for one in certificates if one.issuer != one.subject]
    leaves = [one for one in certificates if one.subject not in issuers]
    chain, left = [], list(certificates)
    following = (leaves or certificates)[:1]
    while following:
        chain += following
        left.remove(following[0])
        following = [one for one in left if one.subject == chain[-1].issuer][:1]
    return chain


def is_der(content: bytes) -> bool:
    """Whether this may be a certificate in DER."""
    return bool(_SEQUENCES.match(content[:8]))


def name_of(content: bytes) -> str:
    """What a file holds that is no PEM certificate, for people; "" where nobody can tell."""
    label = _label(plain(content))
    if label:
        name = "a private key" if label.endswith("PRIVATE KEY") else _PEM.get(label, "PEM of another kind (%s)" % label)
        return name if _label(content) else "%s, in UTF-16: write it as UTF-8" % name
    if is_pkcs7(content):
        return "PKCS#7 (p7b) in DER: `openssl pkcs7 -inform DER -print_certs` writes PEM"
    if _PFX.match(content[:12]):
        return "PKCS#12 (p12, pfx): `openssl pkcs12 -nokeys` writes PEM"
    if content.startswith(b"\xfe\xed\xfe\xed"):
        return "a Java keystore: `keytool -exportcert -rfc` writes PEM"
    if is_der(content):
        return "DER, not PEM: `openssl x509 -inform DER` writes PEM, if it is a certificate"
    return ""


def _label(content: bytes) -> str:
    found = _LABEL.search(content)
    return found.group(1).decode("ascii") if found else ""

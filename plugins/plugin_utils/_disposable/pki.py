# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A root and intermediates for a throw-away authority."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from ...module_utils._core.library import NameOID, hashes, x509
from ...module_utils._core.x509 import certificates, keys

# Long before now, so that no clock of a test host finds them not yet valid.
_BEFORE = datetime.timedelta(days=2)

# The builder wants a word on each.
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Issuer:
    """A CA certificate and its key."""

    certificate: x509.Certificate
    key: object

    @property
    def pem(self) -> str:
        return certificates.to_pem([self.certificate]).decode("ascii")

    @property
    def key_pem(self) -> str:
        return keys.to_pem(self.key).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form, lower-case hex."""
        return certificates.fingerprint(self.certificate)


def make_root(name: str = "privatepki.stepca test root", days: float = 3650, path_length: int = 1) -> Issuer:
    """Make a self-signed root on P-256."""
    return _make(name, None, path_length, datetime.timedelta(days=days))


def make_intermediate(
    root: Issuer, name: str = "privatepki.stepca test intermediate", lifetime: datetime.timedelta | None = None
) -> Issuer:
    """Make an intermediate on P-256 under a root; `lifetime` counts from now."""
    return _make(name, root, 0, lifetime or datetime.timedelta(days=1825))


def _make(name: str, issuer: Issuer | None, path_length: int, lifetime: datetime.timedelta) -> Issuer:
    key = keys.generate("ec-p256")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    usage = dict.fromkeys(_USAGES, False)
    usage.update(digital_signature=True, key_cert_sign=True, crl_sign=True)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Issuer(certificate, key)

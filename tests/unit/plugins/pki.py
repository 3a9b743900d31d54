# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A small authority for tests: a root, an intermediate, and a signature under whatever is asked for."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.now(timezone.utc).replace(microsecond=0)
DAY = timedelta(days=1)
NOTHING_BUT_SIGNATURES = (True, False, False, False, False, False, False, False, False)


def new_key():
    """A private key that is quick to make."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(*certificates) -> str:
    """These certificates as PEM text."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode("ascii") for one in certificates)


def key_pem(key, password=None) -> bytes:
    """PKCS#8 PEM of a private key, encrypted if there is a password."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def fingerprint(certificate) -> str:
    """SHA-256 of its DER, hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def general_names(texts) -> x509.SubjectAlternativeName:
    """Names by their form: an IP address or a DNS name; an extension that is one already stays as it is."""
    if isinstance(texts, x509.SubjectAlternativeName):
        return texts
    names = []
    for text in texts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            names.append(x509.DNSName(text))
    return x509.SubjectAlternativeName(names)


def request_pem(key, names, common_name=None) -> str:
    """A certificate request as a user would bring it."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0])]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    request = builder.add_extension(general_names(names), critical=False).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode("ascii")


class Authority:
    """A root and one intermediate, which signs."""

    def __init__(self, name: str = "Test", **life):
        """life: begin and end of the root, where they matter."""
        self.root_key, self.key = new_key(), new_key()
        public = self.root_key.public_key()
        self.root = _certificate(name + " Root", public, name + " Root", self.root_key, ca=True, **life)
        self.intermediate = _certificate(name + " CA", self.key.public_key(), name + " Root", self.root_key, ca=True)
        self._name = name + " CA"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root."""
        return fingerprint(self.root)

    @property
    def root_pem(self) -> str:
        """The root as PEM text."""
        return pem_of(self.root)

    def leaf(self, public_key, names, **more):
        """A certificate for this key and these names; more: begin, end, subject (the commonName), extensions."""
        subject = more.pop("subject", None) or names[0]
        return _certificate(subject, public_key, self._name, self.key, names=names, **more)

    def sign(self, request: str, **life) -> str:
        """The chain for a request, leaf and intermediate, as PEM text."""
        asked = x509.load_pem_x509_csr(request.encode("ascii"))
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        texts = [str(name.value) for name in names]
        return pem_of(self.leaf(asked.public_key(), texts, **life), self.intermediate)


def _certificate(subject, public_key, issuer, issuer_key, ca=False, names=(), begin=None, end=None, extensions=()):
    # An authority is older than what it signs, also where a test sets its clock back.
    begin, end = begin or NOW - (30 * DAY if ca else timedelta(minutes=1)), end or NOW + (3650 * DAY if ca else DAY)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    powers = (False, False, False, False, False, True, True, False, False) if ca else NOTHING_BUT_SIGNATURES
    builder = builder.add_extension(x509.KeyUsage(*powers), critical=True)
    if names:
        builder = builder.add_extension(general_names(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def snapshot(folder) -> dict:
    """All that lies in a folder: {path: (kind and mode, inode, change of content, content)}."""
    found = {}
    for place, folders, names in os.walk(str(folder)):
        for name in folders + names:
            path = os.path.join(place, name)
            status = os.lstat(path)
            content = None
            if os.path.isfile(path):
                with open(path, "rb") as stream:
                    content = stream.read()
            found[path] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found


def dot_files(folder) -> list:
    """Names of hidden files in a folder, records of certificates left out."""
    return sorted(
        name for name in os.listdir(str(folder)) if name.startswith(".") and not name.endswith(".stepca.json")
    )

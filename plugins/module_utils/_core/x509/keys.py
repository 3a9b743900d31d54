# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Private keys of certificates: make, load, write, compare."""

from __future__ import annotations

import hashlib

from ..errors import HostFileError
from ..files import reading
from ..library import VERSION, ec, ed25519, padding, rsa, serialization
from . import extensions

KEY_TYPES = ("ec-p256", "ec-p384", "ec-p521", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")
_CURVES = {"p256": "SECP256R1", "p384": "SECP384R1", "p521": "SECP521R1"}


def generate(key_type: str):
    """A new private key of one of KEY_TYPES."""
    family, _dash, size = key_type.partition("-")
    if family == "ec":
        return ec.generate_private_key(getattr(ec, _CURVES[size])())
    if family == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    return ed25519.Ed25519PrivateKey.generate()


def type_of(key) -> str:
    """The type of a private or public key, in the words of KEY_TYPES where it is one of them."""
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        names = {curve.lower(): "ec-%s" % short for short, curve in _CURVES.items()}
        return names.get(key.curve.name, "ec-%s" % key.curve.name)
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return "rsa-%d" % key.key_size
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return "ed25519"
    return type(key).__name__.strip("_")


def verify(key, signature: bytes, content: bytes, digest, pss: bool = False) -> None:
    """InvalidSignature unless the private half of this public key signed this with this digest (None for Ed25519)."""
    if isinstance(key, rsa.RSAPublicKey):
        salted = padding.PSS(padding.MGF1(digest), digest.digest_size) if pss else padding.PKCS1v15()
        key.verify(signature, content, salted, digest)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, content, ec.ECDSA(digest))
    else:
        key.verify(signature, content)


def to_pem(key) -> bytes:
    """PKCS#8 PEM, not encrypted (RFC 5958)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load(pem: bytes, path: str):
    """A private key out of a file's content; None when it is no key at all.

    HostFileError for a key that a password protects: it is somebody's, and not ours to replace.
    """
    pem = pem[3:] if pem.startswith(b"\xef\xbb\xbf") else pem  # a BOM, over which some libraries stumble
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise HostFileError(
            "The private key %s is encrypted with a password. Services could not read it at boot and this module does "
            "not replace it: move it away, or name another key_path." % path
        ) from None
    except extensions.unreadable():
        return None


def read(path: str) -> tuple:
    """(private key, "") or (None, what is wrong with the file)."""
    return understand(reading.read(path), path)


def understand(content, path: str) -> tuple:
    """The same for what was read there already; None where there is no file."""
    if content is None:
        return None, "the private key %s is missing" % path
    key = load(content, path)
    if key is not None:
        return key, ""
    from . import forms  # what a steady run has no use for

    name = forms.name_of(content)
    if name == "a private key":
        name = "one of a kind that cryptography %s does not read, or that is damaged" % VERSION
    why = "cannot be read as one%s" % (": it holds %s" % name if name else "") if content.strip() else "is empty"
    return None, "the private key %s %s" % (path, why)


def spki(key) -> bytes:
    """SubjectPublicKeyInfo of a private or public key, DER (RFC 5280, 4.1.2.7)."""
    public = key.public_key() if hasattr(key, "public_key") else key
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex: equal for a private key and all certificates made for it."""
    return hashlib.sha256(spki(key)).hexdigest()

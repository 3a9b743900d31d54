# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The one import guard for `cryptography`, the only library that a host needs.

Without it everything here can still be imported, so that the caller can say what is missing; nothing can be used.
"""

from __future__ import annotations

__all__ = [
    "FILE",
    "PROBLEM",
    "VERSION",
    "ExtendedKeyUsageOID",
    "ExtensionOID",
    "InternalError",
    "InvalidSignature",
    "NameOID",
    "UnsupportedAlgorithm",
    "ec",
    "ed25519",
    "hashes",
    "padding",
    "pkcs12",
    "rsa",
    "serialization",
    "utils",
    "x509",
]

#: What Debian 11 ships.
MINIMUM = (3, 3)
#: Traceback of the failed import, or None.
PROBLEM = None
VERSION = None
FILE = None

try:
    import cryptography
    from cryptography import x509
    from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
    from cryptography.hazmat.primitives.serialization import pkcs12
    from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

    VERSION = cryptography.__version__
    FILE = cryptography.__file__
except ImportError:
    import traceback

    PROBLEM = traceback.format_exc()
    x509 = hashes = serialization = pkcs12 = ec = ed25519 = padding = rsa = utils = None
    ExtendedKeyUsageOID = ExtensionOID = NameOID = InternalError = InvalidSignature = UnsupportedAlgorithm = None


def pkcs7():
    """What the library has for PKCS#7, which few need."""
    from cryptography.hazmat.primitives.serialization import pkcs7 as found

    return found


def is_new_enough() -> bool:
    """Whether the library is there, and not older than MINIMUM."""
    return VERSION is not None and tuple(int(part) for part in VERSION.split(".")[:2] if part.isdigit()) >= MINIMUM

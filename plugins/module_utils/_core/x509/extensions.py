# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What requests and certificates have in common: their extensions, and what the library says when it cannot read one."""

from __future__ import annotations

from ..library import ExtensionOID, InvalidSignature, UnsupportedAlgorithm, x509

#: The library's class of each kind of name.
CLASSES = {"dns": "DNSName", "ip": "IPAddress", "email": "RFC822Name", "uri": "UniformResourceIdentifier"}


def spellings(extensions) -> list:
    """(kind, text as it stands) of each subject alternative name; other kinds are ("other", text)."""
    try:
        extension = extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        return []
    kinds = {name: kind for kind, name in CLASSES.items()}
    return [(kinds.get(type(name).__name__, "other"), str(name.value)) for name in extension.value]


def asks_to_be_ca(extensions) -> bool:
    """Whether a request or a certificate claims the powers of a CA."""
    for extension in extensions:
        if extension.oid == ExtensionOID.BASIC_CONSTRAINTS and extension.value.ca:
            return True
        if extension.oid == ExtensionOID.KEY_USAGE and (extension.value.key_cert_sign or extension.value.crl_sign):
            return True
    return False


def unreadable() -> tuple:
    """What `cryptography` raises for a request or certificate that it cannot read."""
    own = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
    return (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) + own

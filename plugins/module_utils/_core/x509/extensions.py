# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What requests and certificates have in common: their extensions, and what the library says when it cannot read one."""

from __future__ import annotations

from ..library import ExtensionOID, InvalidSignature, UnsupportedAlgorithm, x509

#: The library's class of each kind of name.
CLASSES = {"dns": "DNSName", "ip": "IPAddress", "email": "RFC822Name", "uri": "UniformResourceIdentifier"}

#: anyExtendedKeyUsage (RFC 5280, 4.2.1.12), and the same of Microsoft.
_ANY_USAGE = {"2.5.29.37.0": "anyExtendedKeyUsage", "1.3.6.1.4.1.311.10.12.1": "anyApplicationPolicy"}
#: serverAuth, clientAuth, and those of IPsec (RFC 4945, 5.1.3.12): a host proves its names by them, and no more.
_USAGES_OF_HOSTS = tuple("1.3.6.1.5.5.7.3.%d" % number for number in (1, 2, 5, 6, 7, 17))
_EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"


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


def name_of(oid) -> str:
    """An object identifier for people."""
    name = _ANY_USAGE.get(oid.dotted_string) or getattr(oid, "_name", "")
    return "%s (%s)" % (name, oid.dotted_string) if name and name != "Unknown OID" else oid.dotted_string


def usages(extensions) -> list:
    """The extended key usages (object identifiers) that a request asks for, or a certificate has."""
    try:
        return list(extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value)
    except x509.ExtensionNotFound:
        return []


def serves_all(usage) -> bool:
    """Whether this extended key usage means whatever a key can be used for."""
    return usage.dotted_string in _ANY_USAGE


def unasked_usages(extensions, asked: list, sans) -> list:
    """The extended key usages of a certificate that nobody asked for, for people.

    asked: those in the request; sans: the names asked for: who names a mailbox asks for a certificate that serves mail.
    """
    expected = _USAGES_OF_HOSTS + ((_EMAIL_PROTECTION,) if any(san.kind == "email" for san in sans) else ())
    return [
        name_of(usage)
        for usage in usages(extensions)
        if serves_all(usage) or (usage.dotted_string not in expected and usage not in asked)
    ]


def unreadable() -> tuple:
    """What `cryptography` raises for a request or certificate that it cannot read."""
    own = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
    return (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) + own

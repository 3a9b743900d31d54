# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What requests and certificates have in common: their extensions, and what the library says when it cannot read one."""

from __future__ import annotations

from .. import library
from ..library import ExtensionOID, InternalError, InvalidSignature, UnsupportedAlgorithm, x509

#: The library's class of each kind of name.
CLASSES = {"dns": "DNSName", "ip": "IPAddress", "email": "RFC822Name", "uri": "UniformResourceIdentifier"}
#: Types of otherName that are met in practice (RFC 4556, 4985, 6120, 9598; Microsoft), by what OpenSSL calls them.
_OTHER_NAMES = {
    "1.3.6.1.4.1.311.20.2.3": "UPN",
    "1.3.6.1.5.2.2": "KRB5PrincipalName",
    "1.3.6.1.5.5.7.8.3": "permanentIdentifier",
    "1.3.6.1.5.5.7.8.4": "hardwareModuleName",
    "1.3.6.1.5.5.7.8.5": "XmppAddr",
    "1.3.6.1.5.5.7.8.7": "SRVName",
    "1.3.6.1.5.5.7.8.9": "SmtpUTF8Mailbox",
}
#: DER tags of strings.
_STRINGS = {b"\x0c": "utf-8", b"\x13": "ascii", b"\x16": "ascii", b"\x1a": "ascii", b"\x1e": "utf-16-be"}

#: anyExtendedKeyUsage (RFC 5280, 4.2.1.12), and the same of Microsoft.
_ANY_USAGE = {"2.5.29.37.0": "anyExtendedKeyUsage", "1.3.6.1.4.1.311.10.12.1": "anyApplicationPolicy"}
#: What a host proves with its names is harmless, as are usages that only its own programs know. These speak for others: they
#: sign code, times and lists, log people in, or ask for certificates in the name of others.
_SPEAKS_FOR_OTHERS = {
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "1.3.6.1.5.5.7.3.36": "documentSigning",
    "1.3.6.1.5.2.3.4": "PKINIT client authentication",
    "1.3.6.1.4.1.311.2.1.21": "individual code signing",
    "1.3.6.1.4.1.311.2.1.22": "commercial code signing",
    "1.3.6.1.4.1.311.10.3.1": "trust list signing",
    "1.3.6.1.4.1.311.10.3.6": "system component verification",
    "1.3.6.1.4.1.311.10.3.12": "document signing",
    "1.3.6.1.4.1.311.20.2.1": "certificate request agent",
    "1.3.6.1.4.1.311.20.2.2": "smart card logon",
    "1.3.6.1.4.1.311.61.1.1": "kernel mode code signing",
}
_EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"


def spellings(extensions) -> list:
    """(kind, text as it stands) of each subject alternative name; other kinds are ("other", text)."""
    try:
        extension = extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        return []
    kinds = {name: kind for kind, name in CLASSES.items()}
    return [
        (kinds[type(name).__name__], str(name.value)) if type(name).__name__ in kinds else ("other", _other(name))
        for name in extension.value
    ]


def _other(name) -> str:
    """A name of a kind that is never asked for, readable: its type, a colon, its value."""
    if isinstance(name, x509.OtherName):
        oid = name.type_id.dotted_string
        return "%s:%s" % (_OTHER_NAMES.get(oid, oid), _text_in(name.value))
    if isinstance(name, x509.RegisteredID):
        return "registeredID:%s" % name.value.dotted_string
    if isinstance(name, x509.DirectoryName):
        return "directoryName:%s" % name.value.rfc4514_string()
    return "%s:%s" % (type(name).__name__, name.value)


def _text_in(der: bytes) -> str:
    """The text in a DER string of a single type, as far as it can be printed; hex of anything else."""
    encoding = _STRINGS.get(der[:1])
    body = der[2:] if len(der) > 1 and der[1] == len(der) - 2 else der[3:] if der[1:2] == b"\x81" else b""
    try:
        text = body.decode(encoding) if encoding and body else ""
    except ValueError:
        text = ""
    return text if text and text.isprintable() else der.hex()


def texts(extensions) -> list:
    """The same without their kinds."""
    return [text for _kind, text in spellings(extensions)]


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
    name = _ANY_USAGE.get(oid.dotted_string) or _SPEAKS_FOR_OTHERS.get(oid.dotted_string) or getattr(oid, "_name", "")
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
    """The dangerous extended key usages of a certificate that nobody asked for, for people.

    asked: those in the request; sans: the names asked for: who names a mailbox asks for a certificate that serves mail.
    """
    serves_mail = any(san.kind == "email" for san in sans)
    return [
        name_of(usage)
        for usage in usages(extensions)
        if serves_all(usage)
        or (usage.dotted_string in _SPEAKS_FOR_OTHERS and usage not in asked)
        or (usage.dotted_string == _EMAIL_PROTECTION and not serves_mail and usage not in asked)
    ]


def words(error: Exception) -> str:
    """What such an error says, for people."""
    if isinstance(error, LookupError):
        return "cryptography %s on this machine does not know the type of a name in it (%s)" % (library.VERSION, error)
    if isinstance(error, InternalError):  # whose words are pages about OpenSSL
        return "OpenSSL on this machine cannot read it: %s" % str(error)[:100]
    return str(error) or type(error).__name__


def unreadable() -> tuple:
    """What `cryptography` raises for a request, certificate or key that it cannot read.

    Older versions: KeyError for a name of a type that they do not know, NotImplementedError for a curve in numbers,
    InternalError for what surprises OpenSSL.
    """
    own = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
    older = (LookupError, NotImplementedError, InternalError)
    return (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) + own + older

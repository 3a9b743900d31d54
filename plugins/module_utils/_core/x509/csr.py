# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Certificate requests (PKCS#10, RFC 2986): build one, hash one, and see whether one is what the task asked for.

The host makes the request and the controller judges it, before any token exists. A provisioner's template may copy
whatever a request holds into the certificate, so a request of ours must be, byte for byte, what `build` makes of the
task's names; only the key is the host's to choose.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re

from ..errors import CsrError
from ..library import ExtensionOID, NameOID, ed25519, hashes, serialization, x509
from . import extensions, keys, names

#: More than any honest request needs; what is larger is not looked at.
LARGEST = 64 * 1024
_PEM = re.compile(
    r"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----.*?-----END (?:NEW )?CERTIFICATE REQUEST-----", re.DOTALL
)


def build(key, common_name: str, sans) -> bytes:
    """A PEM request for these names (names.SAN), signed by this key."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    builder = builder.add_extension(x509.SubjectAlternativeName([general_name(san) for san in sans]), critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


def general_name(san):
    """The X.509 form of a names.SAN."""
    value = ipaddress.ip_address(san.value) if san.kind == "ip" else san.value
    return getattr(x509, extensions.CLASSES[san.kind])(value)


def load(pem):
    """One request out of text that a host sent; CsrError unless it is one PEM block, small, and signed by its own key."""
    if not isinstance(pem, str):
        raise CsrError("The host answered with no certificate request.")
    if len(pem) > LARGEST:
        raise CsrError("The certificate request has %d bytes; more than %d are not looked at." % (len(pem), LARGEST))
    blocks = _PEM.findall(pem)
    if len(blocks) != 1 or pem.count("-----BEGIN ") != 1:
        raise CsrError("The certificate request must be one PEM block; %d blocks came." % pem.count("-----BEGIN "))
    try:
        request = x509.load_pem_x509_csr(blocks[0].encode("ascii"))
        request.public_key(), request.extensions, request.subject
        genuine = request.is_signature_valid
    except extensions.unreadable() as error:
        raise CsrError("The certificate request cannot be read: %s." % (str(error) or type(error).__name__)) from None
    if not genuine:
        raise CsrError("The signature of the certificate request is wrong: it was not made by the key that it names.")
    return request


def to_pem(request) -> bytes:
    """The request as PEM."""
    return request.public_bytes(serialization.Encoding.PEM)


def binding(request) -> str:
    """What binds a token to this request: unpadded base64url of the SHA-256 of its DER (step-ca claim cnf, x5rt#S256)."""
    digest = hashlib.sha256(request.public_bytes(serialization.Encoding.DER)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def check_made(request, wanted) -> None:
    """CsrError unless our own builder would have made this request for these names and this type of key."""
    found_type = keys.type_of(request.public_key())
    if found_type != wanted.key_type:
        raise CsrError(
            "The host's certificate request has a key of type %s; the task asks for %s." % (found_type, wanted.key_type)
        )
    _check_names(request, wanted)
    extra = [ext.oid for ext in request.extensions if ext.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME]
    if extra:
        raise CsrError(
            "The host's certificate request asks for extensions that the task does not: %s. A template of the provisioner "
            "could copy them into the certificate." % ", ".join(_oid_name(oid) for oid in extra)
        )
    if _content_without_key(request) != _content_without_key(_twin(wanted)):
        raise CsrError(
            "The host's certificate request is not what this collection makes for these names: "
            "its subject, attributes or encoding differ."
        )


def check_brought(request, wanted) -> None:
    """CsrError unless a request that a user brings has exactly the task's names and does not ask to be a CA."""
    _check_names(request, wanted)
    common_names = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    allowed = (
        [wanted.common_name] if wanted.common_name_given else [wanted.common_name] + [san.value for san in wanted.sans]
    )
    for common_name in common_names:
        if common_name not in allowed:
            raise CsrError(
                "The certificate request has the commonName %r; the task asks for %r."
                % (common_name, wanted.common_name)
            )
    if extensions.asks_to_be_ca(request.extensions):
        raise CsrError("The certificate request asks to be a CA (basicConstraints or keyUsage). Make it without.")


def _check_names(request, wanted) -> None:
    found = [names.from_certificate(kind, text) for kind, text in extensions.spellings(request.extensions)]
    if set(found) != set(wanted.sans):
        raise CsrError(
            "The certificate request names %s; the task asks for %s."
            % (", ".join(map(str, found)) or "nothing", ", ".join(map(str, wanted.sans)))
        )


def _twin(wanted):
    """The request that we would make, of another key."""
    pem = build(keys.generate("ec-p256"), wanted.common_name, wanted.sans)
    return x509.load_pem_x509_csr(pem)


def _content_without_key(request) -> tuple:
    """The bytes before and after the key in the signed part: version and subject; attributes.

    The signed part is a DER SEQUENCE; its header tells the length of all, which differs with the key, so it is cut off.
    """
    der = request.tbs_certrequest_bytes
    header = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    before, _key, after = der[header:].partition(keys.spki(request.public_key()))
    return before, after


def _oid_name(oid) -> str:
    name = getattr(oid, "_name", "")
    return "%s (%s)" % (name, oid.dotted_string) if name and name != "Unknown OID" else oid.dotted_string

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
from ..library import VERSION, ExtensionOID, NameOID, UnsupportedAlgorithm, ed25519, hashes, serialization, x509
from . import der, extensions, fields, forms, keys, names

#: More than any honest request needs; what is larger is not looked at.
LARGEST = 128 * 1024
_DIGESTS = {"md5": "MD5", "sha1": "SHA-1"}
_PEM = re.compile(
    r"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----.*?-----END (?:NEW )?CERTIFICATE REQUEST-----", re.DOTALL
)

#: The attribute for extensions (RFC 2985, 5.4.2), its content in DER.
_EXTENSION_REQUEST = bytes.fromhex("2a864886f70d01090e")
#: What some read as the same: Microsoft's, and extended certificates (RFC 2985, B).
_OTHER_REQUESTS = (bytes.fromhex("2b06010401823702010e"), bytes.fromhex("2a864886f70d010909"))
_ATTRIBUTES = 0xA0
_DEEPEST = 20
_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "encipher_only",
    "decipher_only",
)
#: What people write of a subject (RFC 4514, 3).
_SHORT = {"2.5.4.3": "CN", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST"}


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
        raise CsrError(_not_one_block(pem))
    try:
        request = x509.load_pem_x509_csr(blocks[0].encode("ascii"))
        request.public_key(), request.extensions, request.subject
        genuine = request.is_signature_valid
    except extensions.unreadable() as error:
        raise CsrError("The certificate request cannot be read: %s." % extensions.words(error)) from None
    if not genuine:
        raise CsrError(_not_genuine(request))
    return request


def _not_one_block(pem: str) -> str:
    """What text is that should have been one request in PEM, as a sentence."""
    count = pem.count("-----BEGIN ")
    if count == 1 and re.search("-----BEGIN (NEW )?CERTIFICATE REQUEST-----", pem):
        return (
            "The certificate request is cut: its PEM block begins and has no end (-----END CERTIFICATE REQUEST-----)."
        )
    content = pem.encode("latin-1", "replace")
    name = "DER: `openssl req -inform DER` writes PEM" if forms.is_der(content) else forms.name_of(content)
    what = "; what came is %s" % name if name and count < 2 else "; %d blocks came" % count
    return "The certificate request must be one PEM block%s." % what


def _not_genuine(request) -> str:
    """Why the library says that the signature of a request is wrong, as a sentence."""
    try:
        digest = request.signature_hash_algorithm
        name = digest.name if digest else ""
    except UnsupportedAlgorithm:
        name = "the algorithm %s" % request.signature_algorithm_oid.dotted_string
    if name in ("", "sha224", "sha256", "sha384", "sha512"):
        return "The signature of the certificate request is wrong: it was not made by the key that it names."
    return (
        "The certificate request is signed with %s, which cryptography %s does not accept. Make it with SHA-256 (%s)."
        % (
            _DIGESTS.get(name, name),
            VERSION,
            "openssl req -new -sha256",
        )
    )


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
            "could copy them into the certificate." % ", ".join(extensions.name_of(oid) for oid in extra)
        )
    if _content_without_key(request) != _content_without_key(_twin(wanted)):
        raise CsrError(
            "The host's certificate request is not what this collection makes for these names: "
            "its subject, attributes or encoding differ."
        )


def check_brought(request, wanted) -> None:
    """CsrError unless a request that a user brings has exactly the task's names, and asks for nothing dangerous.

    What an authority may make of it decides: templates copy extensions and subjects, and which attribute they read the
    extensions from is theirs to choose.
    """
    _refuse_hidden_extensions(request)
    common_names = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not _is_named_by_common_name(request, wanted):
        _check_names(request, wanted)
        _check_common_names(common_names, wanted)
    if extensions.asks_to_be_ca(request.extensions):
        raise CsrError("The certificate request asks to be a CA (basicConstraints or keyUsage). Make it without.")
    dangerous = [extensions.name_of(one.oid) for one in request.extensions if not _is_harmless(one)]
    if dangerous:
        raise CsrError(
            "The certificate request asks for what no request may bring: %s. Make it without: a template of the provisioner "
            "could copy it into the certificate." % ", ".join(dangerous)
        )


def asked_names(request) -> list:
    """The names that a token for this request must have, in the request's own spelling."""
    listed = [text for _kind, text in extensions.spellings(request.extensions)]
    return listed or [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)][:1]


def not_given(request, leaf) -> list:
    """What a request asks for, beside its names and its key, that the certificate does not have; for people."""
    missing = [
        "%s=%s" % (_SHORT.get(one.oid.dotted_string) or extensions.name_of(one.oid), one.value)
        for one in request.subject
        if not any(has.value == one.value for has in leaf.subject.get_attributes_for_oid(one.oid))
    ]
    has_usages = extensions.usages(leaf.extensions)
    missing += [
        "the extended key usage %s" % extensions.name_of(usage)
        for usage in extensions.usages(request.extensions)
        if usage not in has_usages
    ]
    return missing + _bits_not_given(request, leaf) + _extensions_not_given(request, leaf)


def _is_named_by_common_name(request, wanted) -> bool:
    """Whether it has no names but a commonName, which is the task's only name. `step` signs such a request, too."""
    common_names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if extensions.spellings(request.extensions) or len(common_names) != 1 or len(wanted.sans) != 1:
        return False
    return names.from_certificate(wanted.sans[0].kind, str(common_names[0].value)) == wanted.sans[0]


def _check_common_names(found: list, wanted) -> None:
    allowed = [wanted.common_name]
    if not wanted.common_name_given:
        allowed += [san.value for san in wanted.sans]
    for common_name in found:
        if common_name not in allowed:
            raise CsrError(
                "The certificate request has the commonName %r; the task asks for %r."
                % (common_name, wanted.common_name)
            )


def _is_harmless(extension) -> bool:
    oid, value = extension.oid, extension.value
    if oid == ExtensionOID.BASIC_CONSTRAINTS:
        return not value.ca and value.path_length is None
    if oid == ExtensionOID.EXTENDED_KEY_USAGE:
        return not any(extensions.serves_all(usage) for usage in value)
    return oid in (
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.TLS_FEATURE,
    )


def _refuse_hidden_extensions(request) -> None:
    """CsrError for extensions in any place but the one that all read: the library reads one, and a CA may read another."""
    try:
        requests = 0
        for attribute in _attributes(request):
            oid, values = attribute
            if oid == _EXTENSION_REQUEST:
                requests += len(values) or 1
            elif oid in _OTHER_REQUESTS or any(_holds_extensions(value) for value in values):
                raise CsrError(
                    "The certificate request asks for extensions in the attribute %s, which not all read alike. Make it with "
                    "extensions in extensionRequest (1.2.840.113549.1.9.14) alone." % der.oid_in_words(oid)
                )
    except ValueError as error:
        raise CsrError("The attributes of the certificate request cannot be read: %s." % error) from None
    if requests > 1:
        raise CsrError(
            "The certificate request asks for extensions %d times (extensionRequest). Make it with one request for all."
            % requests
        )


def _attributes(request) -> list:
    """(object identifier, [values]) of each attribute (RFC 2986, 4.1); ValueError where it is not DER."""
    signed = der.fields(request.tbs_certrequest_bytes)
    parts = der.members(signed[0], der.SEQUENCE) if len(signed) == 1 else []
    if len(parts) not in (3, 4):
        raise ValueError("%d parts instead of version, subject, key and attributes" % len(parts))
    found = []
    for attribute in der.members(parts[3], _ATTRIBUTES) if len(parts) == 4 else []:
        members = der.members(attribute, der.SEQUENCE)
        if len(members) != 2 or members[0][0] != der.OBJECT_IDENTIFIER:
            raise ValueError("an attribute that is no name with values")
        found.append((members[0][1], der.members(members[1], der.SET)))
    return found


def _holds_extensions(value: tuple, depth: int = 0) -> bool:
    """Whether there is an X.509 extension (RFC 5280, 4.1) anywhere in this value; ValueError where it is not DER."""
    tag, content = value
    if not tag & der.CONSTRUCTED:
        return False
    if depth > _DEEPEST:
        raise ValueError("values in values in values")
    members = der.fields(content)
    tags = [one[0] for one in members]
    if tag == der.SEQUENCE and tags[:1] == [der.OBJECT_IDENTIFIER] and tags[-1] == der.OCTET_STRING and len(tags) < 4:
        return True
    return any(_holds_extensions(one, depth + 1) for one in members)


def _bits_not_given(request, leaf) -> list:
    asked, has = (fields.extension(one, ExtensionOID.KEY_USAGE) for one in (request, leaf))
    return ["the key usage %s" % _camel(bit) for bit in _KEY_USAGES if _has_bit(asked, bit) and not _has_bit(has, bit)]


def _has_bit(usage, bit: str) -> bool:
    if usage is None or (bit in ("encipher_only", "decipher_only") and not usage.key_agreement):
        return False
    return bool(getattr(usage, bit))


def _camel(bit: str) -> str:
    first, *rest = bit.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _extensions_not_given(request, leaf) -> list:
    """Those whose content was asked for. A CA makes its own key identifier, and whatever is no CA has no constraints."""
    has = {one.oid: one.value for one in leaf.extensions}
    return [
        extensions.name_of(one.oid)
        for one in request.extensions
        if one.oid == ExtensionOID.TLS_FEATURE and has.get(one.oid) != one.value
    ]


def _check_names(request, wanted) -> None:
    found = [names.from_certificate(kind, text) for kind, text in extensions.spellings(request.extensions)]
    if set(found) != set(wanted.sans):
        raise CsrError(
            "The certificate request names %s; the task asks for %s."
            % (names.listed(found) or "nothing", names.listed(wanted.sans))
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

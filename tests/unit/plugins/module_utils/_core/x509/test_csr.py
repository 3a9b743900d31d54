# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Requests: ours is accepted, and whatever a host could slip into one is refused before any token exists."""

from __future__ import annotations

import base64
import hashlib
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CsrError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import csr, extensions, keys
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import request, request_pem, tlv

NAMES = ["web.example.com", "10.0.0.1", "2001:db8::1", "ops@example.com", "spiffe://example.com/web", "*.example.com"]
CA = x509.BasicConstraints(True, None)
BEGIN, END = "-----BEGIN CERTIFICATE REQUEST-----\n", "-----END CERTIFICATE REQUEST-----\n"


def refusal(check, *arguments):
    with pytest.raises(CsrError) as caught:
        check(*arguments)
    return str(caught.value)


def in_pem(der):
    return BEGIN + base64.encodebytes(der).decode("ascii") + END


def handmade(version=0, sans=b"", attributes=b""):
    """A request made of bytes, signed by its key, for what `cryptography` would not write."""
    private = making.key()
    extension = tlv(0x30, tlv(6, bytes.fromhex("551d11")) + tlv(4, tlv(0x30, sans)))
    attribute = tlv(0x30, tlv(6, bytes.fromhex("2a864886f70d01090e")) + tlv(0x31, tlv(0x30, extension)))
    inner = (
        tlv(2, bytes([version])) + tlv(0x30, b"") + keys.spki(private) + tlv(0xA0, attribute if sans else attributes)
    )
    signed = tlv(0x30, inner)
    algorithm = tlv(0x30, tlv(6, bytes.fromhex("2a8648ce3d040302")))
    signature = private.sign(signed, ec.ECDSA(hashes.SHA256()))
    return in_pem(tlv(0x30, signed + algorithm + tlv(3, b"\0" + signature)))


def usage(*oids):
    return x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in oids])


def encoded(*members):
    """The extensions of a request, DER: each (object identifier in hex, content)."""
    return tlv(0x30, b"".join(tlv(0x30, tlv(6, bytes.fromhex(oid)) + tlv(4, content)) for oid, content in members))


#: Object identifiers in hex: extensionRequest, and Microsoft's.
REQUEST, MICROSOFT = "2a864886f70d01090e", "2b06010401823702010e"
VALUE = encoded(("551d11", tlv(0x30, tlv(0x82, b"web.example.com"))))
CA_VALUE = encoded(("551d13", bytes.fromhex("30030101ff")))
ASKS, ASKS_TO_BE_CA = (REQUEST, VALUE), (REQUEST, CA_VALUE)


def nested(depth):
    """Values in values."""
    return tlv(0x30, nested(depth - 1)) if depth else b""


def with_attributes(*attributes):
    """A request whose attributes are made of bytes: each (object identifier in hex, values)."""
    made = [tlv(0x30, tlv(6, bytes.fromhex(oid)) + tlv(0x31, b"".join(sorted(values)))) for oid, *values in attributes]
    return handmade(attributes=b"".join(sorted(made)))


def check_brought(made, wanted):
    csr.check_brought(csr.load(made) if isinstance(made, str) else made, wanted)


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_our_own_request_is_accepted_for_every_type_of_key(key_type):
    wanted = making.wanted(sans=NAMES, key_type=key_type)
    pem = csr.build(making.key(key_type), wanted.common_name, wanted.sans).decode("ascii")
    found = csr.load(pem)
    csr.check_made(found, wanted)
    csr.check_brought(found, wanted)
    assert found.subject.rfc4514_string() == "CN=web.example.com"


@pytest.mark.parametrize("common_name", ["web.example.com", "Web Server No. 1", "B\u00fccher", "a" * 64])
def test_our_own_request_is_accepted_for_every_common_name(common_name):
    wanted = making.wanted(common_name=common_name)
    csr.check_made(csr.load(csr.build(making.key(), common_name, wanted.sans).decode("ascii")), wanted)


def test_a_request_without_a_common_name_has_an_empty_subject():
    found = csr.load(csr.build(making.key(), "", making.wanted().sans).decode("ascii"))
    assert list(found.subject) == []


def test_what_another_tool_made_just_so_is_accepted():
    csr.check_made(request(), making.wanted())


@making.table(
    "made, words",
    {
        "other name": (
            request(["evil.example.com"]),
            "names dns:evil.example.com; the task asks for dns:web.example.com",
        ),
        "no name": (request([]), "names nothing; the task asks for dns:web.example.com"),
        "additional name": (
            request(["web.example.com", "evil.example"]),
            "names dns:web.example.com, dns:evil.example; the task asks",
        ),
        "additional uri": (
            request(["web.example.com", "uri:urn:x"]),
            "names dns:web.example.com, uri:urn:x; the task asks",
        ),
        "basicConstraints": (
            request(extensions=[CA]),
            "asks for extensions that the task does not: basicConstraints (2.5.29.19)",
        ),
        "keyUsage": (request(extensions=[making.key_usage("digital_signature")]), "keyUsage (2.5.29.15)"),
        "provisioner extension": (
            request(extensions=[making.step_extension()]),
            "does not: 1.3.6.1.4.1.37476.9000.64.1.",
        ),
        "larger key": (request(private=making.key("ec-p384")), "has a key of type ec-p384; the task asks for ec-p256"),
        "other kind of key": (
            request(private=making.key("ed25519")),
            "has a key of type ed25519; the task asks for ec-p256",
        ),
        "organization": (request(organization="Evil"), "its subject, attributes or encoding differ"),
        "other common name": (request(common_name="evil"), "its subject, attributes or encoding differ"),
        "no common name": (request(common_name=""), "its subject, attributes or encoding differ"),
        "other case": (request(["WEB.example.com"]), "its subject, attributes or encoding differ"),
        "name twice": (request(["web.example.com", "web.example.com"]), "its subject, attributes or encoding differ"),
        "critical": (request(critical=True), "its subject, attributes or encoding differ"),
        "challengePassword": (
            request(attributes=[(AttributeOID.CHALLENGE_PASSWORD, b"please")]),
            "its subject, attributes or encoding differ",
        ),
    },
)
def test_a_lying_request_is_refused(made, words):
    assert words in refusal(csr.check_made, made, making.wanted())


def test_names_in_another_order_are_not_what_we_would_have_made():
    wanted = making.wanted(sans=["a.example", "b.example"])
    made = request(["b.example", "a.example"], "a.example")
    assert "is not what this collection makes" in refusal(csr.check_made, made, wanted)


def test_a_request_made_of_bytes_is_read_like_any_other():
    found = csr.load(handmade(sans=tlv(0x82, b"web.example.com")))
    assert extensions.spellings(found.extensions) == [("dns", "web.example.com")]


def test_an_unknown_name_in_a_request_is_named_in_the_refusal():
    other = csr.load(handmade(sans=tlv(0x88, b"\x2a\x03")))
    assert "names other:" in refusal(csr.check_made, other, making.wanted())


def damaged():
    der = bytearray(request().public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return in_pem(bytes(der))


@making.table(
    "text, words",
    {
        "None": (None, "The host answered with no certificate request."),
        "bytes": (b"bytes", "answered with no certificate request"),
        "dict": ({"csr": 1}, "answered with no certificate request"),
        "empty": ("", "must be one PEM block; 0 blocks came"),
        "no PEM": ("hello", "must be one PEM block; 0 blocks came"),
        "two blocks": (request_pem() * 2, "must be one PEM block; 2 blocks came"),
        "a key behind it": (
            request_pem() + making.key_pem(making.key()).decode(),
            "must be one PEM block; 2 blocks came",
        ),
        "a certificate": (making.pem(making.lab().root).decode(), "one PEM block; what came is a certificate in PEM"),
        "a key": (making.key_pem(making.key()).decode(), "must be one PEM block; what came is a private key"),
        "cut": (request_pem()[:-40], "is cut: its PEM block begins and has no end"),
        "cut in the middle": (request_pem()[:200], "is cut: its PEM block begins and has no end"),
        "cut, older label": (request_pem().replace("CERT", "NEW CERT")[:200], "is cut: its PEM block begins"),
        "DER": (request().public_bytes(serialization.Encoding.DER).decode("latin-1"), "what came is DER: `openssl req"),
        "empty block": (BEGIN + END, "cannot be read"),
        "not ASN.1": (BEGIN + "AAAA\n" + END, "cannot be read"),
        "not ASCII": (BEGIN + "\u00fc\n" + END, "cannot be read"),
        "address of three bytes": (handmade(sans=tlv(0x87, b"abc")), "cannot be read: "),
        "broken signature": (damaged(), "signature of the certificate request is wrong"),
        "more than 128 KiB": (request_pem() + "\n" * csr.LARGEST, "bytes; more than 131072 are not looked at"),
    },
)
def test_what_is_no_request_is_refused_with_its_sentence(text, words):
    assert words in refusal(csr.load, text)


@pytest.mark.parametrize(
    "text",
    [handmade(version=2), handmade(sans=tlv(0xA3, tlv(0x30, b""))), handmade(sans=tlv(0xA5, tlv(0xA1, tlv(12, b"a"))))],
    ids=["version", "x400Address", "ediPartyName"],
)
def test_what_the_library_does_not_know_is_refused_with_a_sentence(text):
    assert "cannot be read" in refusal(csr.load, text)


OLD = {"MD5": "2a864886f70d010104", "SHA-1": "2a864886f70d010105"}


def signed_by(algorithm):
    """A request whose signature says that it is of this algorithm (an OID, hex DER), and is not."""
    der = request(private=making.key("rsa-2048")).public_bytes(serialization.Encoding.DER)
    right = bytes.fromhex("06092a864886f70d01010b")
    assert der.count(right) == 1
    return in_pem(der.replace(right, b"\x06\x09" + bytes.fromhex(algorithm)))


@pytest.mark.parametrize("name", OLD)
def test_a_signature_of_old_is_named(name):
    """Whether it is right nobody says: the library takes none of its kind."""
    found = refusal(csr.load, signed_by(OLD[name]))
    assert found.startswith("The certificate request is signed with %s, which cryptography " % name)
    assert found.endswith("does not accept. Make it with SHA-256 (openssl req -new -sha256).") and "key" not in found


@pytest.mark.parametrize("algorithm", ["2a864886f70d010110", "2a864886f70d010149"])
def test_a_signature_that_the_library_does_not_know_is_named(algorithm):
    assert "signed with the algorithm 1.2.840.113549.1.1." in refusal(csr.load, signed_by(algorithm))


def test_what_openssl_signs_with_sha_1_is_named(tmp_path):
    command = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-sha1", "-subj", "/CN=a"]
    made = subprocess.run([*command, "-keyout", tmp_path / "key"], check=True, capture_output=True, text=True).stdout
    assert "is signed with SHA-1" in refusal(csr.load, made)


def test_128_kib_are_looked_at():
    pem = request_pem()
    assert csr.load(pem + "\n" * (csr.LARGEST - len(pem))).is_signature_valid


def test_the_older_label_of_a_request_is_read():
    assert csr.load(request_pem().replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")).is_signature_valid


def test_the_binding_is_the_unpadded_base64url_of_the_sha256_of_the_der():
    pem = request_pem()
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    binding = csr.binding(csr.load(pem))
    assert len(binding) == 43
    assert base64.urlsafe_b64decode(binding + "=") == hashlib.sha256(der).digest()


def test_other_requests_have_other_bindings():
    assert csr.binding(request()) != csr.binding(request(private=making.key(number=1)))


@making.table(
    "made, options",
    {
        "other case": (request(["WEB.example.com"]), {}),
        "no common name": (request(common_name=""), {}),
        "another key type": (request(private=making.key("rsa-2048")), {}),
        "organization": (request(organization="Example Ltd"), {}),
        "other order, CN another of the names": (
            request(["b.example", "a.example"], "b.example"),
            {"sans": ["a.example", "b.example"]},
        ),
        "a name twice": (request(["a.example", "A.example"], "a.example"), {"sans": ["a.example"]}),
        "another spelling of an address": (request(["ip:2001:db8::1"], ""), {"sans": ["2001:DB8:0:0:0:0:0:1"]}),
        "the task's common name": (request(common_name="Web Server"), {"common_name": "Web Server"}),
        "no CA": (request(extensions=[x509.BasicConstraints(False, None)]), {}),
        "harmless keyUsage": (request(extensions=[making.key_usage("digital_signature")]), {}),
        "extendedKeyUsage": (request(extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]), {}),
        "must-staple": (request(extensions=[x509.TLSFeature([x509.TLSFeatureType.status_request])]), {}),
        "a key identifier": (request(extensions=[x509.SubjectKeyIdentifier(b"x" * 20)]), {}),
        "a common name alone": (request([]), {}),
        "a common name alone, in other case": (request([], "WEB.example.com"), {}),
        "an address as common name alone": (request([], "10.0.0.1"), {"sans": ["10.0.0.1"]}),
        "a password": (request(attributes=[(AttributeOID.CHALLENGE_PASSWORD, b"x")]), {}),
        "what Windows tells of itself": (
            with_attributes(ASKS, ("2b060104018237150e", tlv(0x30, tlv(12, b"x") * 4))),
            {},
        ),
    },
)
def test_a_request_that_a_user_brings_is_accepted(made, options):
    check_brought(made, making.wanted(csr_path="/etc/pki/web.csr", **options))


@making.table(
    "made, options, words",
    {
        "other name": (request(["evil.example"]), {}, "names dns:evil.example; the task asks for dns:web.example.com"),
        "no name": (request([], ""), {}, "names nothing"),
        "no name, one of two as common name": (
            request([]),
            {"sans": ["web.example.com", "b.example"]},
            "names nothing",
        ),
        "no name, another as common name": (request([], "b.example"), {}, "names nothing"),
        "anything as usage": (
            request(extensions=[usage("2.5.29.37.0")]),
            {},
            "what no request may bring: extendedKeyUsage",
        ),
        "anything as usage, in Microsoft's words": (
            request(extensions=[usage("1.3.6.1.5.5.7.3.1", "1.3.6.1.4.1.311.10.12.1")]),
            {},
            "what no request may bring: extendedKeyUsage",
        ),
        "nameConstraints": (
            request(extensions=[x509.NameConstraints([x509.DNSName("example.com")], None)]),
            {},
            "what no request may bring: nameConstraints (2.5.29.30)",
        ),
        "policies": (
            request(
                extensions=[
                    x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)])
                ]
            ),
            {},
            "what no request may bring: certificatePolicies",
        ),
        "a length of path": (
            request_pem(extensions=[making.unknown("2.5.29.19", "3003020100")]),
            {},
            "The certificate request ",
        ),
        "what nobody knows": (
            request(extensions=[making.unknown("1.2.3.4")]),
            {},
            "what no request may bring: 1.2.3.4",
        ),
        "step's own": (
            request(extensions=[making.step_extension()]),
            {},
            "what no request may bring: 1.3.6.1.4.1.37476",
        ),
        "a second request": (with_attributes(ASKS, ASKS_TO_BE_CA), {}, "asks for extensions 2 times"),
        "a second value": (with_attributes((REQUEST, VALUE, CA_VALUE)), {}, "The certificate request "),
        "no value": (with_attributes(ASKS, (REQUEST,)), {}, "The certificate request "),
        "Microsoft's": (with_attributes(ASKS, (MICROSOFT, CA_VALUE)), {}, "in the attribute 1.3.6.1.4.1.311.2.1.14"),
        "Microsoft's alone": (with_attributes((MICROSOFT, VALUE)), {"common_name": ""}, "1.3.6.1.4.1.311.2.1.14"),
        "in an attribute of another name": (
            with_attributes(ASKS, ("2a0304", CA_VALUE)),
            {},
            "in the attribute 1.2.3.4, which not all read alike",
        ),
        "deep in an attribute": (
            with_attributes(ASKS, ("2a0304", tlv(0x30, tlv(0x31, CA_VALUE)))),
            {},
            "in the attribute 1.2.3.4, which not all read alike",
        ),
        "deeper than anybody looks": (
            with_attributes(ASKS, ("2a0304", nested(30))),
            {},
            "cannot be read: values in values",
        ),
        "additional name": (request(["web.example.com", "b.example"]), {}, "names dns:web.example.com, dns:b.example"),
        "missing name": (
            request(),
            {"sans": ["web.example.com", "b.example"]},
            "the task asks for dns:web.example.com, dns:b.example",
        ),
        "other common name": (
            request(common_name="evil"),
            {},
            "has the commonName 'evil'; the task asks for 'web.example.com'",
        ),
        "not the task's common name": (
            request(),
            {"common_name": "Web"},
            "has the commonName 'web.example.com'; the task asks for 'Web'",
        ),
        "basicConstraints": (request(extensions=[CA]), {}, "asks to be a CA"),
        "keyCertSign": (request(extensions=[making.key_usage("key_cert_sign")]), {}, "asks to be a CA"),
        "cRLSign": (request(extensions=[making.key_usage("crl_sign")]), {}, "asks to be a CA"),
    },
)
def test_a_request_that_a_user_brings_is_refused(made, options, words):
    wanted = making.wanted(csr_path="/etc/pki/web.csr", **options)
    assert words in refusal(check_brought, made, wanted)


def test_the_names_that_a_token_must_have():
    assert csr.asked_names(request(["WEB.example.com", "b.example"])) == ["WEB.example.com", "b.example"]
    assert csr.asked_names(request([], "WEB.example.com")) == ["WEB.example.com"]


def test_what_was_asked_and_not_given_is_named():
    asked = request(
        organization="Example Ltd",
        extensions=[
            usage("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.3", "1.2.3.4"),
            making.key_usage("digital_signature", "content_commitment", "key_encipherment"),
            x509.TLSFeature([x509.TLSFeatureType.status_request]),
            x509.BasicConstraints(False, None),
            x509.SubjectKeyIdentifier(b"x" * 20),
        ],
    )
    given = making.lab().leaf(
        extensions=[usage("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"), making.key_usage("digital_signature")]
    )
    assert csr.not_given(asked, given) == [
        "O=Example Ltd",
        "the extended key usage codeSigning (1.3.6.1.5.5.7.3.3)",
        "the extended key usage 1.2.3.4",
        "the key usage contentCommitment",
        "the key usage keyEncipherment",
        "TLSFeature (1.3.6.1.5.5.7.1.24)",
    ]
    assert csr.not_given(request(), given) == []
    assert csr.not_given(request(common_name="Web"), given) == ["CN=Web"]

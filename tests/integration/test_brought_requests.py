# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Requests that users bring, and templates that copy from them: what may be asked for, what is told, what is refused."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.integration import lies
from tests.integration.judging import traffic
from tests.integration.pairs import CERTIFICATE, GROUP, TLS, pair
from tests.integration.rows import HOST
from tests.integration.support import enrolment
from tools.authority import Provisioner

pytestmark = pytest.mark.one_core

SIGN = "privatepki.stepca.stepca_sign"
#: Copies all that the request asks for.
COPYING = """{
  "subject": {{ toJson .Insecure.CR.Subject }},
  "sans": {{ toJson .SANs }},
  "extensions": {{ toJson .Insecure.CR.Extensions }}
}"""
#: Gives what nobody asks for.
GIVING = """{
  "subject": {{ toJson .Subject }},
  "sans": {{ toJson .SANs }},
  "keyUsage": ["digitalSignature"],
  "extKeyUsage": ["serverAuth", %s]
}"""
PROVISIONERS = {"copying": COPYING, "any": GIVING % '"any"', "code": GIVING % '"codeSigning"'}
SUBJECT = ((NameOID.COMMON_NAME, HOST), (NameOID.ORGANIZATION_NAME, "Example Ltd"))
USAGES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING])


@pytest.fixture(scope="module", name="brought_authority")
def fixture_brought_authority(lab):
    """Provisioners whose templates go beyond what a task asks for."""
    templated = [Provisioner(name, rounds=100_000, template=text) for name, text in PROVISIONERS.items()]
    return lab.authority(Provisioner("ansible", rounds=100_000), *templated)


def a_request(**asked):
    return lies.request(ec.generate_private_key(ec.SECP256R1()), **asked)


def tlv(tag, content):
    """One DER value of up to 64 KiB."""
    size = len(content)
    return bytes([tag, size] if size < 128 else [tag, 0x82, size >> 8, size & 255]) + content


def extensions(oid, content):
    """Extensions as a request asks for them: one."""
    return tlv(0x30, tlv(0x30, tlv(6, bytes.fromhex(oid)) + tlv(4, content)))


def names():
    """The names of the task."""
    return extensions("551d11", tlv(0x30, tlv(0x82, HOST.encode("ascii"))))


#: Object identifiers: extensionRequest, and Microsoft's; and what makes a CA.
ASKS, MICROSOFT = "2a864886f70d01090e", "2b06010401823702010e"
CA = extensions("551d13", bytes.fromhex("30030101ff"))


def attributes(*made):
    """The attributes of a request: each (object identifier, values)."""
    each = [tlv(0x30, tlv(6, bytes.fromhex(oid)) + tlv(0x31, b"".join(values))) for oid, values in made]
    return tlv(0xA0, b"".join(each))


def with_attributes(made):
    """A request of bytes, genuinely signed, as no library would write it."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.DER, form)
    signed = tlv(0x30, tlv(2, b"\0") + tlv(0x30, b"") + public + made)
    algorithm = tlv(0x30, tlv(6, bytes.fromhex("2a8648ce3d040302")))
    der = tlv(0x30, signed + algorithm + tlv(3, b"\0" + key.sign(signed, ec.ECDSA(hashes.SHA256()))))
    encoded = base64.encodebytes(der).decode("ascii")
    return "-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n" % encoded


def sign(pem, authority, provisioner="ansible", **options):
    return {SIGN: {"csr": pem, "sans": [HOST], **enrolment(authority, provisioner), **options}}


def test_what_is_asked_for_is_given_or_named(play, host, brought_authority, tmp_path):
    """By a template that copies; the CA's own gives usages, subject and bits as it likes, and says nothing of it."""
    pem = a_request(subject=SUBJECT, others=[USAGES])
    alone = a_request(names=())
    content = [
        {"name": "copied", **sign(pem, brought_authority, "copying")},
        {"name": "dropped", **sign(pem, brought_authority)},
        {"name": "alone", **sign(alone, brought_authority)},
    ]
    run = play(content).expect_ok()
    leaf = x509.load_pem_x509_certificate(run["copied"]["certificate_pem"].encode("ascii"))
    assert leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == USAGES
    assert "O=Example Ltd" in leaf.subject.rfc4514_string() and not run["copied"].result.get("warnings")
    (warning,) = run["dropped"]["warnings"]
    assert "O=Example Ltd, the extended key usage codeSigning (1.3.6.1.5.5.7.3.3)" in warning
    assert run["alone"]["certificate"]["sans"] == ["dns:" + HOST] and not run["alone"].result.get("warnings")


def test_what_readers_could_read_differently_is_not_sent(play, host, brought_authority):
    """With this template the CA would have made a CA of the second attribute, or of the first."""
    requests = {
        "second": attributes((ASKS, [names()]), (ASKS, [CA])),
        "first": attributes((ASKS, [CA]), (ASKS, [names()])),
        "values": attributes((ASKS, [names(), CA])),
        "microsoft": attributes((ASKS, [names()]), (MICROSOFT, [CA])),
        "another": attributes((ASKS, [names()]), ("2a0304", [CA])),
    }
    content = [
        {"name": name, **sign(with_attributes(made), brought_authority, "copying"), "ignore_errors": True}
        for name, made in requests.items()
    ]
    with traffic(brought_authority) as asked:
        run = play(content).expect_ok()
    for name in requests:
        assert run[name].failed and "csr: The certificate request" in run[name].msg, name
    assert asked.posts == []


@pytest.mark.parametrize("by", ["controller", "host"])
def test_usages_that_nobody_asked_for_are_refused(play, host, brought_authority, by):
    """By whoever asks the CA; a request that asks for one gets it."""
    tls = host.path("/etc/tls")
    tls.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    (tls / "asked.csr").write_text(lies.request(key, others=[USAGES]), encoding="ascii")
    (tls / "plain.csr").write_text(lies.request(key), encoding="ascii")

    def brought(name, **options):
        return {"certificate_path": TLS + name + ".crt", "csr_path": TLS + name + ".csr", "sans": [HOST], **options}

    content = [
        {"name": "any", CERTIFICATE: pair("any", **enrolment(brought_authority, "any"))},
        {"name": "code", CERTIFICATE: pair("code", **enrolment(brought_authority, "code"))},
        {"name": "plain", CERTIFICATE: brought("plain", **enrolment(brought_authority, "code"))},
        {"name": "asked", CERTIFICATE: brought("asked", **enrolment(brought_authority, "code"))},
        {"name": "dropped", CERTIFICATE: brought("asked", force=True, **enrolment(brought_authority))},
    ]
    defaults = {GROUP: {"request_from": by}}
    run = play([{**task, "ignore_errors": True} for task in content], module_defaults=defaults).expect_ok()
    run.expect_failure("anyExtendedKeyUsage", "nobody asked for", name="any")
    run.expect_failure("codeSigning", "nobody asked for", name="code")
    run.expect_failure("codeSigning", "nobody asked for", name="plain")
    assert run["asked"]["outcome"] == "issued" and not run["asked"].result.get("warnings")
    assert "did not give all" in " ".join(run["dropped"]["warnings"])
    assert sorted(path.name for path in tls.iterdir() if path.suffix in (".crt", ".key")) == ["asked.crt"]

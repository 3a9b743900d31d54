# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Certificates: their facts, whether the chain leads to a trusted root, and what of a CA's answer is refused."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import CertificateError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import FOREIGN, HOUR, NOW, lab

SHARE = durations.Share(0.33)
NAMESAKE = making.Authority("Lab", number=20)
SHORT = making.Authority("Short", number=30, intermediate_end=HOUR)
AGED = making.Authority("Aged", number=40, root_end=timedelta(0))
OUTLIVED = making.Authority("Outlived", number=50, intermediate_end=timedelta(0))
KEY = making.key_sha256(making.key())


def self_signed(powers=()):
    name = making.subject("web.example.com")
    return making.certificate(
        name,
        making.key().public_key(),
        name,
        making.key(),
        NOW - making.MINUTE,
        NOW + making.DAY,
        [making.general_names(["web"])] + list(powers),
    )


def no_ca_in_between():
    """A leaf that another leaf has signed."""
    upper = lab().leaf(["upper.example"], "upper", making.key(number=1))
    leaf = making.certificate(
        making.subject("web"), making.key().public_key(), upper.subject, making.key(number=1), NOW, NOW + making.DAY
    )
    return [leaf, upper, lab().intermediate]


def test_a_chain_in_pem_is_read_in_its_order():
    chain = lab().chain()
    text = b"# a comment\n" + making.pem(chain[0]) + b"\nsubject: whatever\n" + making.pem(chain[1])
    assert [making.sha256(found) for found in certificates.load(text)] == [making.sha256(one) for one in chain]
    assert certificates.to_pem(chain) == making.pem(*chain)
    assert certificates.fingerprint(chain[0]) == making.sha256(chain[0])


def test_ten_certificates_are_looked_at():
    assert len(certificates.load(making.pem(lab().root) * 10)) == 10


def test_a_certificate_in_der_is_read():
    root = lab().root
    assert certificates.load_der(root.public_bytes(serialization.Encoding.DER)) == root


@making.table(
    "text, words",
    {
        "empty": (b"", "it holds no PEM certificate"),
        "text": (b"hello", "it holds no PEM certificate"),
        "key": (making.key_pem(making.key()), "it holds no PEM certificate"),
        "cut short": (making.pem(lab().root)[:-10], "it holds no PEM certificate"),
        "eleven": (making.pem(lab().root) * 11, "it holds 11 certificates; more than 10 are not looked at"),
        "not ASN.1": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None),
        "binary": (b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n", None),
    },
)
def test_what_is_no_chain_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        certificates.load(text)


def of_unknown_version():
    """A certificate that claims to be of version 2, in PEM."""
    der = lab().leaf().public_bytes(serialization.Encoding.DER)
    assert der.count(b"\xa0\x03\x02\x01\x02") == 1
    second = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(second) + b"-----END CERTIFICATE-----\n"


def with_unknown_name():
    """A certificate with a name of a kind that the library does not know (x400Address), in PEM."""
    names = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.17"), making.tlv(0x30, making.tlv(0xA3, b"\x30\x00"))
    )
    return making.pem(lab().leaf([], extensions=[names]))


@pytest.mark.parametrize("make", [of_unknown_version, with_unknown_name], ids=["version", "x400Address"])
def test_what_the_library_does_not_know_is_refused_too(make):
    with pytest.raises(ValueError):
        certificates.load(make())


def test_the_facts_of_a_certificate_are_complete():
    chain = lab().chain(["web.example.com", "ip:10.0.0.1", "email:a@b", "uri:urn:x"], begin=NOW, end=NOW + 100 * HOUR)
    assert certificates.facts(chain, SHARE, "/etc/pki/web.crt") == {
        "serial": str(chain[0].serial_number),
        "common_name": "web.example.com",
        "sans": ["dns:web.example.com", "ip:10.0.0.1", "email:a@b", "uri:urn:x"],
        "not_before": "2026-07-01T12:00:00Z",
        "not_after": "2026-07-05T16:00:00Z",
        "renew_at": "2026-07-04T07:00:00Z",
        "fingerprint": making.sha256(chain[0]),
        "issuer": "CN=Lab Intermediate",
        "provisioner": "ansible",
        "provisioner_key_id": "kid-1",
        "key_type": "ec-p256",
        "path": "/etc/pki/web.crt",
    }


def test_the_facts_of_a_certificate_with_little_in_it():
    chain = [lab().leaf([], "", making.key("ed25519"), provisioner=None)]
    found = certificates.facts(chain, SHARE, "/c")
    assert (found["common_name"], found["sans"], found["key_type"]) == ("", [], "ed25519")
    assert (found["provisioner"], found["provisioner_key_id"]) == (None, None)


@pytest.mark.parametrize(
    "name", ["ansible", "B\u00fccher & Co", "", "x" * 200], ids=["plain", "not ASCII", "empty", "long"]
)
def test_the_provisioner_is_read_from_the_extension_of_step_ca(name):
    leaf = lab().leaf(provisioner=None, extensions=[making.step_extension(name, "kid-2", kind=6)])
    assert certificates.provisioner(leaf) == (name, "kid-2")


def test_the_provisioner_of_a_real_certificate_is_read():
    # From a certificate of step-ca 0.30.2: type 1, name "ops", key id of 43 bytes.
    key_id = "4UELJx8e0aS9m0CH3fZ0EB7D5aUPICb759zALHFejvc"
    der = bytes.fromhex("30350201010403" + "6f7073" + "042b") + key_id.encode()
    leaf = lab().leaf(provisioner=None, extensions=[x509.UnrecognizedExtension(making.PROVISIONER_EXTENSION, der)])
    assert certificates.provisioner(leaf) == ("ops", key_id)


@making.steady
@given(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda content: making.tlv(0x30, content))))
def test_garbage_in_the_extension_is_no_reason_to_fail(der):
    leaf = extended(der)
    assert all(part is None or isinstance(part, str) for part in certificates.provisioner(leaf))


def extended(der):
    extension = x509.UnrecognizedExtension(making.PROVISIONER_EXTENSION, der)
    return lab().leaf(provisioner=None, extensions=[extension])


@making.table(
    "der",
    {
        "empty": b"",
        "a byte": b"\x30",
        "cut short": b"\x30\x05\x02\x01\x01",
        "no name": b"\x30\x03\x02\x01\x01",
        "huge length": b"\x30\x85\xff",
        "not UTF-8": making.tlv(0x30, b"\x02\x01\x01\x04\x01\xff\x04\x01a"),
    },
)
def test_an_extension_that_cannot_be_read_names_no_provisioner(der):
    assert certificates.provisioner(extended(der)) == (None, None)


@making.table(
    "chain, begin, end, renew_before, when",
    {
        "share": (lab(), NOW, NOW + 100 * HOUR, SHARE, NOW + 67 * HOUR),
        "never": (lab(), NOW, NOW + 100 * HOUR, durations.Share(0.0), NOW + 100 * HOUR),
        "duration": (lab(), NOW, NOW + 100 * HOUR, timedelta(hours=10), NOW + 90 * HOUR),
        "more than its life": (lab(), NOW, NOW + 100 * HOUR, timedelta(hours=200), NOW - 100 * HOUR),
        "intermediate ends earlier": (SHORT, NOW - HOUR, NOW + 100 * HOUR, durations.Share(0.5), NOW),
        "the same as a duration": (
            SHORT,
            NOW - HOUR,
            NOW + 100 * HOUR,
            timedelta(minutes=10),
            NOW + 50 * making.MINUTE,
        ),
    },
)
def test_when_a_certificate_is_due(chain, begin, end, renew_before, when):
    found = certificates.renew_at(chain.chain(begin=begin, end=end), renew_before)
    assert abs(found - when) < timedelta(seconds=1)


def test_the_end_of_a_chain_is_its_earliest():
    assert certificates.end_of_life(SHORT.chain()) == NOW + HOUR
    assert certificates.end_of_life(lab().chain()) == NOW + making.DAY


@making.table(
    "chain, roots",
    {
        "good": (lab().chain(), [lab().root]),
        "one root of two": (lab().chain(), [FOREIGN.root, lab().root]),
        "root at the end": (lab().chain() + [lab().root], [lab().root]),
        "root at the end, one of two": (lab().chain() + [lab().root], [FOREIGN.root, lab().root]),
        "another root of that name": (lab().chain(), [NAMESAKE.root, lab().root]),
        "alone under the root": ([lab().intermediate], [lab().root]),
        "an expired leaf is not the chain's business": (lab().chain(end=NOW - HOUR), [lab().root]),
        "intermediate ends soon": (SHORT.chain(), [SHORT.root]),
    },
)
def test_a_chain_that_leads_to_a_trusted_root(chain, roots):
    assert certificates.chain_problem(chain, roots, NOW) == ""


@pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048", "ed25519"])
def test_every_kind_of_authority_key_is_verified(key_type):
    authority = making.Authority("Other", number=60, key_type=key_type)
    assert certificates.chain_problem(authority.chain(), [authority.root], NOW) == ""


@making.table(
    "chain, roots, words",
    {
        "incomplete": (
            lab().chain()[:1],
            [lab().root],
            "CN=web.example.com was issued by CN=Lab Intermediate, which is none of the trusted",
        ),
        "foreign root": (
            lab().chain(),
            [FOREIGN.root],
            "CN=Lab Intermediate was issued by CN=Lab Root, which is none of the trusted roots (CN=Foreign",
        ),
        "root of the same name, another key": (
            lab().chain(),
            [NAMESAKE.root],
            "which is none of the trusted roots (CN=Lab Root, SHA-256 ",
        ),
        "no roots": (lab().chain(), [], "which is none of the trusted roots"),
        "foreign root at the end": (
            lab().chain() + [lab().root],
            [FOREIGN.root],
            "CN=Lab Root was issued by CN=Lab Root, which is none of the trusted",
        ),
        "foreign intermediate": (
            [lab().leaf(), FOREIGN.intermediate],
            [lab().root, FOREIGN.root],
            "was not issued by the next certificate, CN=Foreign",
        ),
        "intermediate of the same name, another key": (
            [lab().leaf(), NAMESAKE.intermediate],
            [lab().root],
            "CN=web.example.com was not issued by the next certificate, CN=Lab I",
        ),
        "not a CA": (no_ca_in_between(), [lab().root], "CN=upper is not a CA certificate"),
        "expired intermediate": (
            OUTLIVED.chain(),
            [OUTLIVED.root],
            "the intermediate CN=Outlived Intermediate expired on 2026-07-01T12:00:00Z",
        ),
        "expired root": (AGED.chain(), [AGED.root], "the root CN=Aged Root expired on 2026-07-01T12:00:00Z"),
        "expired root at the end": (
            AGED.chain() + [AGED.root],
            [AGED.root],
            "CN=Aged Root expired on 2026-07-01T12:00:00Z",
        ),
        "no subject": ([lab().leaf([], "")], [lab().root], "a certificate without a subject was issued by"),
        "self-signed": ([self_signed()], [lab().root], "which is none of the trusted roots"),
    },
)
def test_a_chain_that_does_not(chain, roots, words):
    assert words in certificates.chain_problem(chain, roots, NOW)


def test_a_chain_without_basic_constraints_above_is_no_chain():
    upper = making.certificate(
        making.subject("Old"),
        making.key(number=2).public_key(),
        lab().root.subject,
        lab().root_key,
        NOW,
        NOW + making.DAY,
    )
    leaf = making.certificate(
        making.subject("web"), making.key().public_key(), upper.subject, making.key(number=2), NOW, NOW + making.DAY
    )
    assert certificates.chain_problem([leaf, upper], [lab().root], NOW) == "CN=Old is not a CA certificate"


def test_what_was_asked_for_may_be_installed():
    assert certificates.check_issued(lab().chain(), making.wanted(), KEY, [lab().root], NOW) == []


def test_names_that_the_ca_added_are_reported():
    chain = lab().chain(["web.example.com", "ip:10.0.0.1", "extra.example"])
    added = certificates.check_issued(chain, making.wanted(), KEY, [lab().root], NOW)
    assert [str(san) for san in added] == ["ip:10.0.0.1", "dns:extra.example"]


@pytest.mark.parametrize(
    "options",
    [{"renew_before": "0%"}, {"renew_before": "90d", "not_after": "2026-07-02T12:00:00Z"}],
    ids=["never due", "an end that is a time"],
)
def test_what_is_never_due_by_time_is_not_due_at_once(options):
    assert certificates.check_issued(lab().chain(), making.wanted(**options), KEY, [lab().root], NOW) == []


def for_usages(*oids, **more):
    """A chain whose leaf has these extended key usages."""
    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in oids])
    return lab().chain(extensions=[usage], **more)


def test_usages_that_were_asked_for_may_be_installed():
    # Servers, clients, IPsec; domain controllers, remote desktops, and what only a company's own programs know.
    own = ("1.3.6.1.5.2.3.5", "1.3.6.1.4.1.311.54.1.2", "1.3.6.1.4.1.37476.9000.1")
    hosts = for_usages("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.17", *own)
    assert certificates.check_issued(hosts, making.wanted(), KEY, [lab().root], NOW) == []
    code = for_usages("1.3.6.1.5.5.7.3.3")
    asked = [x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")]
    assert certificates.check_issued(code, making.wanted(), KEY, [lab().root], NOW, asked) == []
    mail = for_usages("1.3.6.1.5.5.7.3.4", names=["email:a@b.example"])
    assert certificates.check_issued(mail, making.wanted(sans=["a@b.example"]), KEY, [lab().root], NOW) == []
    anything = for_usages("2.5.29.37.0")
    with pytest.raises(CertificateError, match="anyExtendedKeyUsage"):
        certificates.check_issued(
            anything, making.wanted(), KEY, [lab().root], NOW, [x509.ObjectIdentifier("2.5.29.37.0")]
        )


AS_CA = [x509.BasicConstraints(True, None)]


@making.table(
    "chain, options, words",
    {
        "another key": (
            lab().chain(private=making.key(number=1)),
            {},
            "a certificate for another key than the one in the request",
        ),
        "basicConstraints": (lab().chain(extensions=AS_CA), {}, "a CA certificate, which no host may hold"),
        "keyCertSign": (
            lab().chain(extensions=[making.key_usage("key_cert_sign")]),
            {},
            "a CA certificate, which no host may hold",
        ),
        "anything": (
            for_usages("2.5.29.37.0"),
            {},
            "a certificate for anyExtendedKeyUsage (2.5.29.37.0) (extended key",
        ),
        "code": (
            for_usages("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.3"),
            {},
            "a certificate for codeSigning (1.3.6.1.5.5.7.3.3) (extended key usage), which nobody asked for",
        ),
        "mail": (for_usages("1.3.6.1.5.5.7.3.4"), {}, "which nobody asked for"),
        "logons of people": (for_usages("1.3.6.1.4.1.311.20.2.2"), {}, "smart card logon"),
        "times": (for_usages("1.3.6.1.5.5.7.3.8"), {}, "which nobody asked for"),
        "incomplete chain": (
            lab().chain()[:1],
            {},
            "does not lead to a trusted root: CN=web.example.com was issued by",
        ),
        "foreign chain": (
            FOREIGN.chain(),
            {},
            "does not lead to a trusted root: CN=Foreign Intermediate was issued by",
        ),
        "other names": (
            lab().chain(["b.example"]),
            {},
            "left out dns:web.example.com of the names asked for; the certificate has dns:b.example",
        ),
        "no names": (
            lab().chain([]),
            {},
            "left out dns:web.example.com of the names asked for; the certificate has none",
        ),
        "names left out": (
            lab().chain(),
            {"sans": ["web.example.com", "10.0.0.1", "a@b"]},
            "left out ip:10.0.0.1, email:a@b of the names",
        ),
        "ended": (
            lab().chain(end=NOW),
            {},
            "a chain that ended on 2026-07-01T12:00:00Z; here it is 2026-07-01T12:00:00Z",
        ),
        "due at once by share": (
            lab().chain(begin=NOW - 10 * HOUR, end=NOW + HOUR),
            {},
            "due at once: it ends in 1h (on 2026-07-01T13:00:00Z), its whole life is 11h, and renew_before makes it due when 3h37m",
        ),
        "due at once by duration": (
            lab().chain(),
            {"renew_before": "30d"},
            "makes it due when 720h are left. Lower renew_before, or ask for a longer life",
        ),
        "due at once for the intermediate": (
            SHORT.chain(end=NOW + 90 * making.DAY),
            {"renew_before": "2h"},
            "due at once: it ends in 1h (on 2026-07-01T13:00:00Z)",
        ),
    },
)
def test_an_answer_of_the_ca_is_refused(chain, options, words):
    roots = [SHORT.root, lab().root]
    with pytest.raises(CertificateError) as caught:
        certificates.check_issued(chain, making.wanted(**options), KEY, roots, NOW)
    assert words in str(caught.value)


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa-2048", "ed25519"])
def test_an_older_library_verifies_the_same(key_type):
    authority = making.Authority("Old Library", number=70, key_type=key_type)
    impostor = making.Authority("Old Library", number=80, key_type=key_type)
    leaf, intermediate = [making.Older(certificate) for certificate in authority.chain()]
    assert (certificates.not_before(leaf), certificates.not_after(leaf)) == (NOW - making.MINUTE, NOW + making.DAY)
    assert certificates.chain_problem([leaf, intermediate], [authority.root], NOW) == ""
    assert "none of the trusted roots" in certificates.chain_problem([leaf, intermediate], [impostor.root], NOW)
    assert not certificates.is_issued_by(leaf, impostor.intermediate)

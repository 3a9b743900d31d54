# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Names: one kind and one spelling for each, and a sentence for whatever step-ca would issue although it is nonsense."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import csr, extensions, names
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import steady

LONG = "a" * 63


@pytest.mark.parametrize(
    "text, normal",
    [
        ("web.example.com", "dns:web.example.com"),
        ("WEB.Example.COM.", "dns:web.example.com"),
        ("dns:web", "dns:web"),
        ("DNS:Web", "dns:web"),
        ("localhost", "dns:localhost"),
        ("*.example.com", "dns:*.example.com"),
        ("_sip.example.com", "dns:_sip.example.com"),
        ("my_host", "dns:my_host"),
        ("1.example.com", "dns:1.example.com"),
        ("xn--strae-oqa.example", "dns:xn--strae-oqa.example"),
        (LONG + ".com", "dns:" + LONG + ".com"),
        (".".join([LONG, LONG, LONG, "a" * 61]), "dns:" + ".".join([LONG, LONG, LONG, "a" * 61])),
        ("10.0.0.1", "ip:10.0.0.1"),
        ("ip:10.0.0.1", "ip:10.0.0.1"),
        ("2001:DB8:0:0:0:0:0:1", "ip:2001:db8::1"),
        ("IP:::1", "ip:::1"),
        ("::ffff:10.0.0.1", "ip:10.0.0.1"),
        ("Ops@Example.COM.", "email:Ops@example.com"),
        ("email:a+b@example.com", "email:a+b@example.com"),
        ("SPIFFE://Domain.Example/Path", "uri:spiffe://domain.example/Path"),
        ("https://User@Host:8443/A?B#C", "uri:https://User@host:8443/A?B#C"),
        ("uri:urn:UUID:1234", "uri:urn:UUID:1234"),
        ("URI:mailto:a@b", "uri:mailto:a@b"),
        ("https://[2001:DB8::1]:8443/", "uri:https://[2001:db8::1]:8443/"),
        ("spiffe://d/\u00fc", "uri:spiffe://d/%C3%BC"),
        ("file:///etc/passwd", "uri:file:///etc/passwd"),
    ],
)
def test_a_name_in_normal_form(text, normal):
    assert str(names.parse_san(text)) == normal


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "is empty"),
        ("dns:", "is empty"),
        (" ", "spaces or control characters"),
        ("a b.example", "spaces or control characters. One list entry is one name"),
        (" web.example", "spaces or control characters"),
        ("web.example\n", "spaces or control characters"),
        ("a\x00.example", "spaces or control characters"),
        ("a\x7f", "spaces or control characters"),
        ("uri:urn:a\tb", "spaces or control characters"),
        ("host:8443", "names hosts, not ports; leave out :8443"),
        ("10.0.0.1:443", "names hosts, not ports; leave out :443"),
        ("host:http", "a colon belongs to a URI (write uri:...)"),
        ("urn:uuid:1", "a colon belongs to a URI (write uri:...)"),
        ("10.0.0.0/24", "names hosts, not networks or paths"),
        ("ip:10.0.0.0/24", "names hosts, not networks: leave out the /24"),
        ("host/path", "names hosts, not networks or paths"),
        ("a..b", "empty label"),
        (".a", "empty label"),
        (".", "empty label"),
        ("a..", "empty label"),
        ("dns:1.2.3.4", "is not a DNS name"),
        ("010.0.0.1", "all numbers, yet no IP address"),
        ("1.2.3", "all numbers, yet no IP address"),
        ("256.0.0.1", "all numbers, yet no IP address"),
        ("[::1]", "without brackets"),
        ("ip:[::1]", "without brackets"),
        ("fe80::1%eth0", "a zone (%) has no meaning outside its host"),
        ("ip:fe80::1%eth0", "a zone has no meaning outside its host"),
        ("dns:::1", "a colon belongs to"),
        ("ip:web", "is not an IP address."),
        ("@c.d", "it needs user@domain"),
        ("a@", "is not a DNS name"),
        ("a@b@c.d", "it needs user@domain"),
        ("a..b@c.d", "it needs user@domain"),
        (".a@c.d", "it needs user@domain"),
        ("\u00fc@c.d", "it needs user@domain in ASCII"),
        ("email:web", "it needs user@domain"),
        ("a@b..c", "empty label"),
        ("*", "a wildcard needs a domain"),
        ("a.*.b", "* stands alone as the first label"),
        ("f*.example", "* stands alone as the first label"),
        ("*.*.example", "* stands alone as the first label"),
        ("stra\u00dfe.example", "characters beyond ASCII; write its A-labels (xn--...)"),
        (LONG + "a.com", "a label may have 63 characters and a name 253"),
        (".".join([LONG, LONG, LONG, "a" * 62]), "a label may have 63 characters and a name 253"),
        ("-a.example", "letters, digits, - and _ only, and no - at its ends"),
        ("a-.example", "the label 'a-' may have"),
        ("a,b", "the label 'a,b' may have"),
        ("a@b.example,c", "the label 'example,c' may have"),
        ("uri:web", "it has no scheme"),
        ("://web", "it has no scheme"),
        ("https://", "nothing follows the scheme"),
        ("https://h:port/", "is not a URI"),
        ("https://[::1/", "is not a URI"),
        ("spiffe://d/%zz", "a % must be followed by two hex digits"),
        ("uri:a::1", "step-ca would read 'a::1' as an IP address, not as a URI"),
    ],
)
def test_nonsense_is_refused_with_its_reason(text, words):
    with pytest.raises(OptionError) as caught:
        names.parse_san(text)
    assert str(caught.value).startswith("sans: ")
    assert words in str(caught.value)


def test_an_address_called_a_dns_name_is_not_said_to_be_no_address():
    with pytest.raises(OptionError) as caught:
        names.parse_san("dns:1.2.3.4")
    assert "yet no IP address" not in str(caught.value)


@pytest.mark.parametrize("text", ["\u212aube.example", "a@\u212aube.example", "spiffe://\u212aube.example/"])
def test_a_letter_that_only_looks_like_ascii_is_not_taken_for_it(text):
    with suppress(OptionError):
        assert names.parse_san(text).value != text.replace("\u212a", "k")


@pytest.mark.parametrize("text", ["dn\u017f:web.example", "\u0131p:10.0.0.1"], ids=["long s", "dotless i"])
def test_a_letter_that_only_looks_like_a_prefix_is_refused(text):
    with pytest.raises(OptionError):
        names.parse_san(text)


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(OptionError):
        names.parse_san("uri:urn:\udcff")


@pytest.mark.parametrize("host", ["b\u00fccher", "b%c3%bccher", "b%C3%BCcher"])
def test_escapes_in_the_host_of_a_uri_have_one_spelling(host):
    san = names.parse_san("spiffe://%s/x" % host)
    assert san.value == "spiffe://b%C3%BCcher/x"
    assert names.parse_san(str(san)) == san
    assert names.from_certificate("uri", "spiffe://b%C3%BCcher/x") == san


@pytest.mark.parametrize("text", ["spiffe://a%20b/", "spiffe://a{b/", "spiffe://a|b/", "x://u@a%40b/"])
def test_a_uri_that_step_ca_takes_for_another_kind_is_refused(text):
    with pytest.raises(OptionError):
        names.parse_san(text)


@pytest.mark.parametrize("text", ["spiffe://a!b@host/", "uri:urn:x#", "https://host/#a#b", "uri:spiffe://?x"])
def test_a_uri_that_step_ca_would_write_otherwise_is_refused(text):
    with pytest.raises(OptionError):
        names.parse_san(text)


def test_many_names_keep_their_order_and_lose_their_duplicates():
    texts = ["b.example", "10.0.0.1", "B.Example.", "a.example", "ip:10.0.0.1", "::ffff:10.0.0.1", "dns:a.example"]
    assert [str(san) for san in names.parse_sans(texts)] == ["dns:b.example", "ip:10.0.0.1", "dns:a.example"]


# What Go's net.ParseIP and url.Parse make of a text, as go.step.sm/crypto x509util.SplitSANs asks them.
@pytest.mark.parametrize(
    "text, kind",
    [
        ("web.example.com", "dns"),
        ("10.0.0.0/24", "dns"),
        ("010.0.0.1", "dns"),
        ("1:80", "dns"),
        ("10.0.0.1", "ip"),
        ("::1", "ip"),
        ("a::1", "ip"),
        ("fe80::1%eth0", "uri"),
        ("host:8443", "uri"),
        ("urn:x", "uri"),
        ("mailto:a@b", "uri"),
        ("a@b", "email"),
        ("1:a@b", "email"),
    ],
)
def test_what_step_ca_makes_of_a_text(text, kind):
    assert names.stepca_reads(text) == kind


@pytest.mark.parametrize(
    "kind, value, normal",
    [
        ("dns", "WEB.example.", "dns:web.example"),
        ("dns", "a..b", "dns:a..b"),
        ("dns", "host:8443", "dns:host:8443"),
        ("ip", "2001:db8:0:0::1", "ip:2001:db8::1"),
        ("uri", "SPIFFE://D/x", "uri:spiffe://d/x"),
        ("uri", "no scheme", "uri:no scheme"),
        ("email", "A@B.example", "email:A@b.example"),
        ("other", "<whatever>", "other:<whatever>"),
    ],
)
def test_a_name_found_in_a_certificate_is_taken_as_it_stands_where_it_has_no_normal_form(kind, value, normal):
    assert str(names.from_certificate(kind, value)) == normal


LABEL = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,8}[A-Za-z0-9_])?", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: not name.replace(".", "").isdigit())
DNS = st.builds("{}{}{}".format, st.sampled_from(["", "*."]), DOMAIN, st.sampled_from(["", "."]))
ADDRESS = st.ip_addresses().map(str)
LOCAL = st.from_regex(r"[A-Za-z0-9!#$&'*+/=?^_`{|}~-]{1,8}(\.[A-Za-z0-9_-]{1,8})?", fullmatch=True)
EMAIL = st.builds("{}@{}".format, LOCAL, DOMAIN)
PATH = st.text(alphabet="aZ09-._~!$&'()*+,;=:@/<>\"{}\u00fc\u20ac", max_size=10)
URI = st.one_of(
    st.builds("{}://{}/{}".format, st.sampled_from(["spiffe", "HTTPS", "a+b"]), DOMAIN, PATH),
    st.builds("uri:urn:x{}".format, PATH),
)
NAME = st.one_of(DNS, ADDRESS, EMAIL, URI)


@steady
@given(NAME)
def test_the_normal_form_is_its_own_normal_form(text):
    san = names.parse_san(text)
    assert names.parse_san(str(san)) == san
    assert names.from_certificate(san.kind, san.value) == san


@steady
@given(NAME)
def test_step_ca_reads_the_kind_that_we_mean(text):
    san = names.parse_san(text)
    assert names.stepca_reads(san.value) == san.kind


@steady
@given(NAME)
def test_what_is_accepted_can_be_asked_for_and_comes_back_the_same(text):
    san = names.parse_san(text)
    request = csr.build(making.key(), "web", [san]).decode("ascii")
    spelled = extensions.spellings(csr.load(request).extensions)
    assert spelled == [(san.kind, san.value)]


@steady
@given(DNS)
def test_case_and_a_trailing_dot_make_no_other_name(text):
    spellings = [text, text.upper(), text.lower(), text.rstrip(".") + ".", "dns:" + text, "DNS:" + text.swapcase()]
    assert len(names.parse_sans(spellings)) == 1


@steady
@given(st.ip_addresses())
def test_every_spelling_of_an_address_is_one_name(address):
    spellings = [str(address), address.compressed, "ip:" + address.compressed]
    if address.version == 6:
        spellings += [address.exploded, address.exploded.upper(), "IP:" + address.compressed.upper()]
    else:
        spellings.append("::ffff:%s" % address)
    (san,) = names.parse_sans(spellings)
    assert san.kind == "ip"
    mapped = getattr(address, "ipv4_mapped", None)
    assert ipaddress.ip_address(san.value) == (mapped or address)


@steady
@given(st.text(max_size=30))
def test_any_text_is_a_name_or_refused_with_a_sentence(text):
    try:
        assert names.parse_san(text).kind in names.KINDS
    except OptionError as error:
        assert str(error).startswith("sans: ")


@steady
@given(st.sampled_from(["dns", "ip", "email", "uri", "other"]), st.text(max_size=30))
def test_whatever_a_certificate_holds_is_no_reason_to_fail(kind, value):
    assert names.from_certificate(kind, value).kind == kind


def test_names_of_a_request_are_read_in_their_order_and_spelling():
    request = making.request(["Web.Example", "ip:10.0.0.1", "email:a@b", "uri:urn:x"])
    assert extensions.spellings(request.extensions) == [
        ("dns", "Web.Example"),
        ("ip", "10.0.0.1"),
        ("email", "a@b"),
        ("uri", "urn:x"),
    ]
    der = request.public_bytes(serialization.Encoding.DER)
    assert x509.load_der_x509_csr(der).is_signature_valid


def general(der):
    """The names of a request with this one GeneralName, as results write them."""
    return [str(names.from_certificate(kind, text)) for kind, text in extensions.spellings(one_name(der))]


def one_name(der):
    """The extensions of a certificate with this one GeneralName (DER)."""
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), making.tlv(0x30, der))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(value, critical=False)
    return builder.sign(making.key(), hashes.SHA256()).extensions


def other_name(oid, value):
    """An otherName (RFC 5280, 4.2.1.6) of this type (an OID, hex DER) and DER value."""
    return making.tlv(0xA0, making.tlv(6, bytes.fromhex(oid)) + making.tlv(0xA0, value))


UPN = "2b060104018237140203"


@pytest.mark.parametrize(
    "der, text",
    [
        (other_name(UPN, making.tlv(12, b"alice@example.com")), "other:UPN:alice@example.com"),
        (other_name(UPN, making.tlv(12, "\u00e4".encode() * 90)), "other:UPN:" + "\u00e4" * 90),
        (other_name("2b06010505070807", making.tlv(22, b"_ldap.example.com")), "other:SRVName:_ldap.example.com"),
        (other_name("2a0304", making.tlv(30, "a\u00df".encode("utf-16-be"))), "other:1.2.3.4:a\u00df"),
        (other_name("2a0304", making.tlv(12, b"\x1b[31m")), "other:1.2.3.4:0c051b5b33316d"),
        (other_name("2a0304", making.tlv(12, b"\xff")), "other:1.2.3.4:0c01ff"),
        (other_name("2a0304", making.tlv(2, b"\x07")), "other:1.2.3.4:020107"),
        (other_name("2a0304", making.tlv(12, b"")), "other:1.2.3.4:0c00"),
        (making.tlv(0x88, b"\x2a\x03\x04"), "other:registeredID:1.2.3.4"),
        (
            making.tlv(0xA4, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a,b")]).public_bytes()),
            "other:directoryName:CN=a\\,b",
        ),
    ],
)
def test_names_of_other_kinds_can_be_read_by_people(der, text):
    assert general(der) == [text]


# how many


def test_1500_names_are_fine_and_each_is_one():
    texts = ["host-number-%d.example.com" % number for number in range(1500)]
    assert [san.value for san in names.parse_sans(texts * 2)] == texts


@pytest.mark.parametrize("length, count", [(63, 1300), (10, 6900)])
def test_more_than_a_certificate_can_hold_is_refused_before_anything(length, count):
    texts = ["%0*d" % (length - 1, number) + "x" for number in range(count)]
    with pytest.raises(OptionError, match="^sans: %d names make a certificate of more than 80 KiB" % count):
        names.parse_sans(texts)


def test_many_names_are_told_in_part():
    sans = names.parse_sans(["a%d.example" % number for number in range(100)])
    assert names.listed(sans[:40]) == ", ".join(map(str, sans[:40]))
    assert names.listed(sans).endswith("dns:a39.example and 60 more") and names.listed([]) == ""

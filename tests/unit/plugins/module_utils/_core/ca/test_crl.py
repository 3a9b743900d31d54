# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The list of revoked certificates, which is believed only from the CA."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import client, crl
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    ApiError,
    CertificateError,
    TransportError,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import CA, FOREIGN
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.stand_in import StandIn

MINUTE = timedelta(minutes=1)
CRL = "/1.0/crl"


@pytest.fixture(name="stand_in")
def fixture_stand_in():
    return StandIn(CA)


def fetch(stand_in, now=pki.NOW, **more):
    authority = client.StepCA(stand_in.connection(**more), stand_in.transport, sleep=lambda _seconds: None)
    return crl.fetch(authority, now)


def refused(stand_in, error=CertificateError, now=pki.NOW):
    """Why the list is not believed."""
    with pytest.raises(error) as caught:
        fetch(stand_in, now)
    text = str(caught.value)
    assert CRL in text
    return text


def test_who_is_in_the_list_is_revoked_and_nobody_else(stand_in):
    assert fetch(stand_in).sentence(7) == ""
    stand_in.revoked = [(7, None), (2**158, x509.ReasonFlags.key_compromise)]
    found = fetch(stand_in)
    when = pki.NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert found.sentence(7) == "the CA revoked it (serial 7) on %s, reason unspecified" % when
    assert found.sentence(2**158) == "the CA revoked it (serial %d) on %s, reason keyCompromise" % (2**158, when)
    assert found.sentence(8) == ""


def test_the_list_is_asked_for_once_with_what_proves_it(stand_in):
    fetch(stand_in)
    assert stand_in.paths == [("crl", ""), ("intermediates", "")]


def test_a_list_that_the_root_signed_is_believed(stand_in):
    stand_in.say[CRL] = [(200, stand_in.crl(key=CA.root_key, issuer=CA.root.subject))]
    assert fetch(stand_in).sentence(7) == ""


def test_a_list_of_an_intermediate_beneath_another_is_believed(stand_in):
    lower = pki.new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Lower")])
    powers = [x509.BasicConstraints(True, None)]
    between = making.certificate(
        name, lower.public_key(), CA.intermediate.subject, CA.key, pki.NOW, pki.NOW + pki.DAY, powers
    )
    crts = {"crts": [pki.pem_of(between), pki.pem_of(CA.intermediate)]}
    stand_in.say = {CRL: [(200, stand_in.crl(key=lower, issuer=name))], "/1.0/intermediates": [(200, crts)]}
    assert fetch(stand_in).sentence(7) == ""


def test_an_authority_without_a_list(stand_in):
    stand_in.say[CRL] = [(404, {"message": "no CRL available"})]
    text = refused(stand_in, ApiError)
    assert "publishes no list of revoked certificates" in text and "Set crl.enabled in its ca.json" in text


def test_an_authority_that_fails_is_not_one_that_revoked_nothing(stand_in):
    stand_in.say[CRL] = [(500, {"message": "the disk is full"})]
    assert "500 Internal Server Error: the disk is full" in refused(stand_in, ApiError)
    stand_in.say[CRL] = [TransportError("connection refused", sent=False)]
    with pytest.raises(TransportError, match="connection refused"):
        fetch(stand_in)


@pytest.mark.parametrize("body", [b"", b"-----BEGIN X509 CRL-----\n", b"<html>", b"\x30\x03\x02\x01\x00", b"{}"])
def test_what_is_no_list_is_said(stand_in, body):
    stand_in.say[CRL] = [(200, body)]
    assert "the CA's list of revoked certificates cannot be read" in refused(stand_in)


@making.table(
    "more",
    {
        "another key under the right name": {"key": FOREIGN.key},
        "somebody else": {"key": FOREIGN.key, "issuer": FOREIGN.intermediate.subject},
        "another name with the right key": {"issuer": FOREIGN.intermediate.subject},
    },
)
def test_a_list_of_a_stranger_is_not_believed(stand_in, more):
    stand_in.say[CRL] = [(200, stand_in.crl(**more))]
    assert "was signed by a stranger (CN=" in refused(stand_in)


def test_an_intermediate_of_a_stranger_vouches_for_nothing(stand_in):
    stand_in.say[CRL] = [(200, stand_in.crl(key=FOREIGN.key, issuer=FOREIGN.intermediate.subject))]
    stand_in.say["/1.0/intermediates"] = [(200, {"crts": [pki.pem_of(FOREIGN.intermediate)]})]
    assert "was signed by a stranger" in refused(stand_in)


@pytest.mark.parametrize(
    "crts",
    [None, [], {}, 7, "text", [7, None, "rubbish"]],
    ids=["null", "none", "mapping", "number", "text", "rubbish"],
)
def test_without_intermediates_no_list_is_believed(stand_in, crts):
    stand_in.say["/1.0/intermediates"] = [(200, {"crts": crts})]
    assert "was signed by a stranger" in refused(stand_in)


def test_an_intermediate_that_cannot_sign_signed_nothing(stand_in):
    x25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.x25519")
    public = x25519.X25519PrivateKey.generate().public_key()
    odd = making.certificate(
        CA.intermediate.subject, public, CA.root.subject, CA.root_key, pki.NOW, pki.NOW + pki.DAY, []
    )
    stand_in.say["/1.0/intermediates"] = [(200, {"crts": [pki.pem_of(odd)]})]
    assert "was signed by a stranger" in refused(stand_in)


@pytest.mark.parametrize("minutes, good", [(1, True), (-9, True), (-11, False), (-100000, False)])
def test_a_list_that_is_out_of_date_is_no_answer(stand_in, minutes, good):
    begin = pki.NOW - 365 * pki.DAY
    stand_in.say[CRL] = [(200, stand_in.crl(begin=begin, end=pki.NOW + minutes * MINUTE))]
    if good:
        assert fetch(stand_in).sentence(7) == ""
    else:
        end = (pki.NOW + minutes * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert "is out of date since %s" % end in refused(stand_in)


@pytest.mark.parametrize("minutes, good", [(-1, True), (9, True), (11, False), (100000, False)])
def test_a_list_of_the_future_is_no_answer(stand_in, minutes, good):
    stand_in.say[CRL] = [(200, stand_in.crl(begin=pki.NOW + minutes * MINUTE, end=pki.NOW + 365 * pki.DAY))]
    if good:
        assert fetch(stand_in).sentence(7) == ""
    else:
        assert "is from the future: it begins on " in refused(stand_in)


RELATIVE = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shard 1")])


def distribution(**more):
    """An issuingDistributionPoint."""
    url = [x509.UniformResourceIdentifier("https://ca.internal/1.0/crl")] if more.pop("named", False) else None
    names = "only_contains_user_certs only_contains_ca_certs indirect_crl only_contains_attribute_certs"
    flags = {name: more.pop(name, False) for name in names.split()}
    return x509.IssuingDistributionPoint(url, None, only_some_reasons=more.pop("reasons", None), **flags)


@making.table(
    "extension, critical, words",
    {
        "delta": (x509.DeltaCRLIndicator(3), True, "a delta (deltaCRLIndicator)"),
        "delta, not critical": (x509.DeltaCRLIndicator(3), False, "a delta (deltaCRLIndicator)"),
        "indirect": (distribution(indirect_crl=True), True, "is indirect (issuingDistributionPoint: indirectCRL)"),
        "indirect, not critical": (distribution(indirect_crl=True, named=True), False, "is indirect"),
        "of CAs": (
            distribution(only_contains_ca_certs=True),
            True,
            "limited to other certificates than those of hosts",
        ),
        "of attributes": (distribution(only_contains_attribute_certs=True), False, "limited to other certificates"),
        "of a reason": (
            distribution(reasons=frozenset([x509.ReasonFlags.key_compromise])),
            True,
            "limited to some reasons (issuingDistributionPoint: onlySomeReasons)",
        ),
        "of one place": (
            x509.IssuingDistributionPoint(None, RELATIVE, False, False, None, False, False),
            True,
            "limited to one distribution point of several",
        ),
        "what nobody knows": (making.unknown("1.2.3.4"), True, "a critical extension that is not understood (1.2.3.4)"),
        "what nobody knows to be critical": (
            x509.IssuerAlternativeName([x509.DNSName("ca.internal")]),
            True,
            "a critical extension that is not understood (issuerAltName (2.5.29.18))",
        ),
    },
)
def test_a_list_that_is_not_all_is_no_answer(stand_in, extension, critical, words):
    stand_in.say[CRL] = [(200, stand_in.crl(extensions=[(extension, critical)]))]
    assert words in refused(stand_in)


def test_what_step_ca_says_of_its_list_is_fine(stand_in):
    """Its URL and that it is for user certificates, critical; a number; the key that signed. Others say more, or less."""
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(CA.intermediate.public_key())
    usual = [(distribution(only_contains_user_certs=True, named=True), True), (x509.CRLNumber(7), False)]
    for extensions in (
        [*usual, (identifier, False)],
        [(distribution(only_contains_user_certs=True), True), (x509.CRLNumber(7), True), (identifier, True)],
        [(making.unknown("1.2.3.4"), False)],
    ):
        stand_in.say[CRL] = [(200, stand_in.crl(extensions=extensions))]
        assert fetch(stand_in).sentence(7) == ""


@pytest.mark.parametrize("usages, good", [([], True), (["crl_sign"], True), (["key_cert_sign"], False)])
def test_who_signs_lists_may_do_so(stand_in, usages, good):
    powers = [x509.BasicConstraints(True, None)] + [making.key_usage(*usages)] * bool(usages)
    key, name = pki.new_key(), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Other")])
    other = making.certificate(name, key.public_key(), CA.root.subject, CA.root_key, pki.NOW, pki.NOW + pki.DAY, powers)
    stand_in.say[CRL] = [(200, stand_in.crl(key=key, issuer=name))]
    stand_in.say["/1.0/intermediates"] = [(200, {"crts": [pki.pem_of(other)]})]
    if good:
        assert fetch(stand_in).sentence(7) == ""
    else:
        assert "was signed by CN=Other, whose keyUsage is without cRLSign" in refused(stand_in)


class Naive:
    """A list as cryptography < 42 has it."""

    def __init__(self, crl):
        self._crl = crl

    def __getattr__(self, name):
        if name.endswith("_utc"):
            raise AttributeError(name)
        value = (
            getattr(self._crl, name + "_utc")
            if name in ("last_update", "next_update", "revocation_date")
            else getattr(self._crl, name)
        )
        return value.replace(tzinfo=None) if isinstance(value, datetime) else value

    def __len__(self):
        return len(self._crl)

    def get_revoked_certificate_by_serial_number(self, serial):
        found = self._crl.get_revoked_certificate_by_serial_number(serial)
        return found and Naive(found)


def test_a_list_of_an_older_library_is_read(stand_in, monkeypatch):
    real = x509.load_der_x509_crl
    monkeypatch.setattr(x509, "load_der_x509_crl", lambda der: Naive(real(der)))
    stand_in.revoked = [(7, None)]
    assert pki.NOW.strftime("on %Y-%m-%dT%H:%M:%SZ") in fetch(stand_in).sentence(7)
    stand_in.say[CRL] = [(200, stand_in.crl(end=pki.NOW - timedelta(hours=1)))]
    assert "is out of date since" in refused(stand_in)


class Endless(Naive):
    """One that does not say when the next comes."""

    next_update = None


def test_a_list_without_an_end_cannot_be_trusted(stand_in, monkeypatch):
    real = x509.load_der_x509_crl
    monkeypatch.setattr(x509, "load_der_x509_crl", lambda der: Endless(real(der)))
    assert "/1.0/crl has no nextUpdate, so it cannot be trusted." in refused(stand_in)

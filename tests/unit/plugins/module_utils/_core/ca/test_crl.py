# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The list of revoked certificates, which is believed only from the CA."""

from __future__ import annotations

from datetime import timedelta

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


class Naive:
    """A list as cryptography < 42 has it."""

    def __init__(self, crl):
        self._crl = crl

    def __getattr__(self, name):
        if name.endswith("_utc"):
            raise AttributeError(name)
        value = (
            getattr(self._crl, name + "_utc")
            if name in ("next_update", "revocation_date")
            else getattr(self._crl, name)
        )
        return value.replace(tzinfo=None) if name in ("next_update", "revocation_date") and value else value

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

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A host shows who it is: its certificate with the intermediates, to a server that asks for one."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import api, https
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import TransportError
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.ca.test_https import (
    CA,
    OTHER,
    closed_port,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.tls_server import Server, answer


@pytest.fixture(name="identity")
def fixture_identity():
    """A certificate with its intermediate, and its key, in PEM."""
    key = pki.new_key()
    return CA.sign(pki.request_pem(key, ["host.example"])).encode("ascii"), pki.key_pem(key)


def shows(identity, server):
    """The outcome of a renewal that shows this certificate."""
    return https.Transport(CA.root_pem, None, 10.0, identity=identity).send(server.url, api.renew())


def test_a_certificate_is_shown_with_its_intermediate(identity):
    with Server(CA, [answer(201)], clients=CA) as server:
        assert shows(identity, server).status == 201
    (asked,) = server.requests
    assert (asked.method, asked.path, asked.body) == ("POST", "/1.0/renew", b"")
    assert server.shown == [subject_of(identity)]


def subject_of(identity):
    return x509.load_pem_x509_certificate(identity[0]).public_bytes(serialization.Encoding.DER)


def test_without_its_intermediate_it_is_not_accepted(identity):
    """The server knows the root alone, as after the intermediate was replaced."""
    leaf = identity[0].partition(b"-----END CERTIFICATE-----\n")
    assert_broken_off((leaf[0] + leaf[1], identity[1]), CA)


def test_a_certificate_that_the_other_side_does_not_trust_is_told_apart_from_nobody_there(identity):
    assert_broken_off(identity, OTHER)


def test_no_certificate_where_one_is_asked_for():
    assert_broken_off(None, CA)


def assert_broken_off(identity, clients):
    with Server(CA, [answer(201)], clients=clients) as server:
        with pytest.raises(TransportError) as caught:
            shows(identity, server)
        assert server.requests == []
    # Shown again, a certificate is not accepted either.
    assert (caught.value.broken_off, caught.value.retry) == (True, identity is None)


def test_nobody_there_is_not_broken_off(identity):
    transport = https.Transport(CA.root_pem, None, 10.0, identity=identity)
    with pytest.raises(TransportError, match="refused") as caught:
        transport.send("https://127.0.0.1:%d" % closed_port(), api.renew())
    assert (caught.value.sent, caught.value.broken_off) == (False, False)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda crt, key: (crt, b""),
        lambda crt, key: (crt, crt),
        lambda crt, key: (key, key),
        lambda crt, key: (b"\0" + crt[:-40], key),
    ],
    ids=["missing", "no key", "no certificate", "cut short"],
)
def test_what_cannot_be_shown_is_said_and_sends_nothing(identity, spoil):
    with pytest.raises(TransportError, match="the certificate of this host cannot be shown to the CA .") as caught:
        https.Transport(CA.root_pem, None, 10.0, identity=spoil(*identity))
    assert (caught.value.sent, caught.value.retry, caught.value.broken_off) == (False, False, False)


@pytest.mark.parametrize("key", [pki.new_key(), None], ids=["of another", "encrypted"])
def test_a_key_that_does_not_open_or_belong_is_said(identity, key):
    shown = (identity[0], pki.key_pem(key or pki.new_key(), None if key else b"password"))
    with pytest.raises(TransportError, match="cannot be shown to the CA"):
        https.Transport(CA.root_pem, None, 10.0, identity=shown)

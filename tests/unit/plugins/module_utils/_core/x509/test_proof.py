# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a host signs with its own key, judged as step-ca does it: the chain in the header, the leaf's key, the times."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, jws, proof
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import NOW, lab
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.x509.test_certificates import (
    of_unknown_version,
    with_unknown_name,
)

jwt = pytest.importorskip("jwt")

URLS = ["https://a.internal/1.0/renew", "https://b.internal/1.0/renew"]


def made(key_type="ec-p256", length=2, **more):
    """A proof of a certificate of the lab."""
    chain = [lab().leaf(private=making.key(key_type), **more), lab().intermediate, lab().root][:length]
    return proof.renewal(chain, making.key(key_type), URLS, NOW)


def der(certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")


@pytest.mark.parametrize("key_type", making.KEY_TYPES)
def test_a_proof_is_what_step_ca_asks_for(key_type):
    token = made(key_type)
    header = jwt.get_unverified_header(token)
    listed = [x509.load_der_x509_certificate(base64.b64decode(one)) for one in header["x5cInsecure"]]
    assert listed[1] == lab().intermediate and not {"x5c", "x5t", "jwk", "kid"} & set(header)
    judged = jwt.decode(
        token,
        listed[0].public_key(),
        algorithms=[header["alg"]],
        audience=URLS[1],
        issuer="step-ca-client/1.0",
        options={"verify_exp": False, "verify_nbf": False, "require": ["exp", "nbf", "jti", "sub", "aud", "iss"]},
    )
    assert (judged["sub"], judged["aud"]) == ("web.example.com", URLS)
    assert judged["nbf"] <= NOW.timestamp() - 60 and judged["exp"] == (NOW + timedelta(minutes=5)).timestamp()
    assert "iat" not in judged


def test_no_two_proofs_are_one():
    assert len({jws.claims(made())[1]["jti"] for _one in range(5)}) == 5


def test_the_subject_of_a_proof_is_that_of_the_certificate():
    assert jws.claims(made(common_name=""))[1]["sub"] == ""


def test_the_chain_of_a_proof_is_read_back():
    chain = proof.chain_of(made(length=3))
    assert chain[1:] == [lab().intermediate, lab().root]
    assert certificates.common_name(chain[0]) == "web.example.com"


def test_a_proof_of_another_key_is_none():
    stolen = proof.renewal(lab().chain(), making.key(number=1), URLS, NOW)
    with pytest.raises(ValueError, match="was not made by the key of its certificate"):
        proof.chain_of(stolen)


def unwrapped(pem: bytes) -> str:
    """A certificate in PEM as base64 of its DER."""
    return b"".join(pem.splitlines()[1:-1]).decode("ascii")


def claiming(listed, key=None):
    """A token with this in the place of the chain."""
    return jws.make(key or making.key(), {} if listed is None else {"x5cInsecure": listed}, {})


@making.table(
    "token",
    {
        "empty": "",
        "text": "hello",
        "no chain": claiming(None),
        "text for a chain": claiming(der(lab().leaf())),
        "an empty chain": claiming([]),
        "a chain without end": claiming([der(lab().leaf())] * 11),
        "numbers": claiming([7]),
        "no base64": claiming(["\u00fc"]),
        "no certificate": claiming(["AAAA"]),
        "something after the certificate": claiming([der(lab().leaf()), "AAAA"]),
        "unknown version": claiming([unwrapped(of_unknown_version())]),
        "unknown kind of name": claiming([unwrapped(with_unknown_name())]),
    },
)
def test_what_is_no_proof_is_told_and_breaks_nothing(token):
    with pytest.raises(ValueError):
        proof.chain_of(token)


def test_a_key_that_cannot_sign_proves_nothing():
    x25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.x25519")
    leaf = lab().leaf(private=x25519.X25519PrivateKey.generate())
    with pytest.raises(ValueError):
        proof.chain_of(claiming([der(leaf)]))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Signed tokens, judged by libraries that have nothing in common with ours: PyJWT and jwcrypto."""

from __future__ import annotations

import base64
import json

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import jws
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making

jwt = pytest.importorskip("jwt")
jwk = pytest.importorskip("jwcrypto.jwk")
jwcrypto_jws = pytest.importorskip("jwcrypto.jws")

ALGORITHMS = {
    "ec-p256": "ES256",
    "ec-p384": "ES384",
    "ec-p521": "ES512",
    "rsa-2048": "RS256",
    "rsa-3072": "RS256",
    "rsa-4096": "RS256",
    "ed25519": "EdDSA",
}
CLAIMS = {"iss": "ansible", "aud": ["https://ca/1.0/sign"], "sub": "b\u00fccher.example"}
each_type = pytest.mark.parametrize("key_type", making.KEY_TYPES)


def part(content) -> str:
    """A part of a token."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def public_jwk(key_type) -> dict:
    """The public half of a key as a provisioner's list has it, made by jwcrypto."""
    return json.loads(jwk.JWK.from_pyca(making.key(key_type).public_key()).export_public())


def stranger(key_type):
    """The public half of another key of this family."""
    return making.key("rsa-2048" if key_type.startswith("rsa") else key_type, number=1).public_key()


@each_type
def test_what_we_sign_others_believe(key_type):
    private = making.key(key_type)
    token = jws.make(private, {"kid": "k"}, CLAIMS)
    algorithm = ALGORITHMS[key_type]
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT", "kid": "k"}
    assert jwt.decode(token, private.public_key(), algorithms=[algorithm], audience=CLAIMS["aud"][0]) == CLAIMS
    judged = jwcrypto_jws.JWS()
    judged.deserialize(token, jwk.JWK.from_pyca(private.public_key()))
    assert json.loads(judged.payload.decode("utf-8")) == CLAIMS
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, stranger(key_type), algorithms=[algorithm], audience=CLAIMS["aud"][0])


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p521"])
def test_signatures_have_one_length_whatever_their_numbers(key_type):
    """A number with leading zeros comes once in 256 signatures."""
    private = making.key(key_type)
    size = 2 * ((private.key_size + 7) // 8)
    tokens = [jws.make(private, {}, {"turn": turn}) for turn in range(300)]
    lengths = {len(base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")) for token in tokens}
    assert lengths == {size}
    assert all(jws.is_signed_by(private.public_key(), token) for token in tokens)


@each_type
def test_who_signed_a_token_of_others_is_seen(key_type):
    token = jwt.encode(CLAIMS, making.key(key_type), algorithm=ALGORITHMS[key_type], headers={"kid": "k"})
    assert jws.claims(token) == ({"alg": ALGORITHMS[key_type], "typ": "JWT", "kid": "k"}, CLAIMS)
    assert jws.is_signed_by(making.key(key_type).public_key(), token)
    assert not jws.is_signed_by(stranger(key_type), token)
    head, _claims, signature = token.split(".")
    forged = ".".join([head, part(dict(CLAIMS, sub="other.example")), signature])
    assert not jws.is_signed_by(making.key(key_type).public_key(), forged)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_other_algorithms_of_rsa_are_understood(algorithm):
    token = jwt.encode(CLAIMS, making.key("rsa-2048"), algorithm=algorithm)
    assert jws.is_signed_by(making.key("rsa-2048").public_key(), token)


@each_type
def test_a_public_jwk_of_others_is_understood(key_type):
    found = jws.public_key(public_jwk(key_type))
    assert making.sha256_of_key(found) == making.key_sha256(making.key(key_type))


@making.table(
    "content",
    {
        "empty": {},
        "no type": {"x": "AA", "y": "AA"},
        "secret": {"kty": "oct", "k": "AA"},
        "no curve": {"kty": "EC", "x": "AA", "y": "AA"},
        "unknown curve": dict(public_jwk("ec-p256"), crv="secp256k1"),
        "no point": dict(public_jwk("ec-p256"), x="AAAA"),
        "half a point": {name: text for name, text in public_jwk("ec-p256").items() if name != "y"},
        "number": dict(public_jwk("ec-p256"), x=7),
        "curve of numbers": dict(public_jwk("ec-p256"), crv=["P-256"]),
        "another curve of Edwards": {"kty": "OKP", "crv": "X448", "x": "AAAA"},
        "small exponent": dict(public_jwk("rsa-2048"), e="AA"),
        "no base64": dict(public_jwk("rsa-2048"), n="\u00fc"),
    },
)
def test_what_is_no_public_jwk_is_said(content):
    with pytest.raises(ValueError):
        jws.public_key(content)


@making.table(
    "token",
    {
        "empty": "",
        "one part": part({}),
        "text": "hello.world.again",
        "not base64": "\u00fc.\u00fc.\u00fc",
        "header a list": part([]) + "." + part({}) + ".AA",
        "claims a list": part({}) + "." + part([]) + ".AA",
        "no UTF-8": part(b"\xff") + "." + part({}) + ".AA",
        "brackets without end": part(b"[" * 100000) + "." + part({}) + ".AA",
    },
)
def test_what_is_no_token_says_nothing(token):
    assert jws.claims(token) == ({}, {})


def signed_as(algorithm, signature="AA") -> str:
    return "%s.%s.%s" % (part({"alg": algorithm}), part({}), signature)


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa-2048"])
@pytest.mark.parametrize("algorithm", ["none", "", None, 7, "HS256x", "ES"])
def test_an_algorithm_that_is_not_known_cannot_be_told(key_type, algorithm):
    with pytest.raises(ValueError):
        jws.is_signed_by(making.key(key_type).public_key(), signed_as(algorithm))


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa-2048", "ed25519"])
@pytest.mark.parametrize("signature", ["", "AA", "AAA", "A" * 86])
def test_rubbish_is_no_signature(key_type, signature):
    token = signed_as(ALGORITHMS[key_type], signature)
    assert not jws.is_signed_by(making.key(key_type).public_key(), token)


def test_a_key_that_cannot_sign_cannot_be_told():
    x25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.x25519")
    with pytest.raises(ValueError):
        jws.is_signed_by(x25519.X25519PrivateKey.generate().public_key(), signed_as("EdDSA"))

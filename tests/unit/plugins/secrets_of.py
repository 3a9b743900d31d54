# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Keys of provisioners as step writes them, and what cannot be used as one. For tests of the controller's half only."""

from __future__ import annotations

import base64
import importlib
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

CANARY = "canary-7f3a"
PASSWORD = "correct horse \u00fc"


def jwk_of(key, **more) -> dict:
    """The private JWK of a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        names = {"n": numbers.public_numbers.n, "e": numbers.public_numbers.e, "d": numbers.d, "p": numbers.p}
        names.update({"q": numbers.q, "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp})
        return dict({name: of_number(number) for name, number in names.items()}, kty="RSA", **more)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        plain = (serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return dict(
            {"kty": "OKP", "crv": "Ed25519", "x": base64url(public), "d": base64url(key.private_bytes(*plain))}, **more
        )
    size = (key.curve.key_size + 7) // 8
    numbers = key.private_numbers()
    names = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    found = {name: of_number(number, size) for name, number in names.items()}
    return dict(found, kty="EC", crv="P-%d" % key.curve.key_size, **more)


def of_number(number: int, size: int = 0) -> str:
    """Base64urlUInt of the standard, in so many bytes."""
    return base64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def jwe_of(content_of, password=PASSWORD, algorithm="PBES2-HS256+A128KW", content="A256GCM", rounds=1000) -> str:
    """A compact JWE by jwcrypto, which has no line of code in common with ours."""
    pytest.importorskip("jwcrypto")
    jwa, jwe, jwk = [importlib.import_module("jwcrypto." + name) for name in ("jwa", "jwe", "jwk")]
    before, jwa.default_max_pbkdf2_iterations = jwa.default_max_pbkdf2_iterations, rounds
    try:
        header = {
            "alg": algorithm,
            "enc": content,
            "p2c": rounds,
            "p2s": base64url(b"0123456789abcdef"),
            "cty": "jwk+json",
        }
        text = content_of if isinstance(content_of, str) else json.dumps(content_of)
        made = jwe.JWE(text.encode("utf-8"), protected=json.dumps(header), algs=[algorithm, content])
        made.add_recipient(jwk.JWK(kty="oct", k=base64url(password.encode("utf-8"))))
        return made.serialize(compact=True)
    finally:
        jwa.default_max_pbkdf2_iterations = before


def jwe_json_of(jwk: dict, passwords, aad=None, protect=True) -> dict:
    """A JWE as JSON by jwcrypto, whose recipients open it by a password each; one alone makes it flattened.

    protect: whether it has a protected header."""
    jwe, of_jwk = pytest.importorskip("jwcrypto.jwe"), importlib.import_module("jwcrypto.jwk")
    algorithms = ["PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"]
    made = jwe.JWE(
        json.dumps(jwk).encode("utf-8"),
        protected=json.dumps({"enc": "A256GCM"}) if protect else None,
        unprotected=json.dumps({"cty": "jwk+json"} if protect else {"enc": "A256GCM"}),
        aad=aad,
        algs=[*algorithms, "A256GCM"],
    )
    for password, algorithm in zip(passwords, algorithms, strict=False):
        header = {"alg": algorithm, "p2c": 1000, "p2s": base64url(algorithm.encode("ascii"))}
        made.add_recipient(of_jwk.JWK.from_password(password), header=json.dumps(header))
    return json.loads(made.serialize())


def base64url(data: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def with_header(token: str, **changes) -> str:
    """A JWE with other values in its protected header, None to take one out."""
    first, rest = token.split(".", 1)
    header = dict(json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)).decode("utf-8")), **changes)
    kept = {name: value for name, value in header.items() if value is not None}
    return "%s.%s" % (base64url(json.dumps(kept).encode("utf-8")), rest)


def unusable(jwk: dict) -> list:
    """(label, provisioner_key) of all that must be refused; the password given is not the right one."""
    good = jwe_of(jwk)
    public = {name: value for name, value in jwk.items() if name != "d"}
    headers = [
        {"alg": "RSA-OAEP"},
        {"alg": None},
        {"enc": "A128CBC-HS256"},
        {"p2c": "many"},
        {"p2c": None},
        {"p2s": None},
        {"p2s": 7},
        {"alg": []},
    ]
    found = [("header %s" % json.dumps(one), with_header(good, **one)) for one in headers]
    found += [
        ("wrong password", good),
        ("no JSON in the header", "Y2FuYXJ5." + good.split(".", 1)[1]),
        ("header that is a list", "W10." + good.split(".", 1)[1]),
        ("five parts of nothing", "canary.canary.canary.canary.canary"),
        ("five empty parts", "...."),
        ("letters of no alphabet", "\u00fc.\u00fc.\u00fc.\u00fc.\u00fc"),
        ("another content in the right password", jwe_of("canary", password=CANARY)),
        ("a public key in the right password", jwe_of(public, password=CANARY)),
        ("text", "canary"),
        ("PEM of another kind", "-----BEGIN canary-----\ncanary\n-----END canary-----"),
        ("PEM of nothing", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----"),
        (
            "PEM of nothing, encrypted",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n-----END ENCRYPTED PRIVATE KEY-----",
        ),
        ("a JWE as JSON", jwe_json_of(jwk, [PASSWORD])),
        ("JSON that is cut", json.dumps(jwk)[:-1]),
        ("a list", [jwk]),
        ("a key of no known type", dict(jwk, kty="oct", k="canary")),
        ("a public key", public),
        ("numbers that do not fit", dict(jwk, x=jwk["y"])),
        ("numbers that are cut", dict(jwk, d=jwk["d"][:10] + "canary")),
        ("numbers that are none", dict(jwk, x=7)),
        ("a number that is missing", {name: value for name, value in jwk.items() if name != "y"}),
        ("a curve that nobody knows", dict(jwk, crv="canary")),
        ("a key for agreement", {"kty": "OKP", "crv": "X25519", "x": jwk["x"], "d": jwk["d"], "kid": "kid-1"}),
        ("an RSA key without numbers", {"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": jwk["d"], "kid": "kid-1"}),
    ]
    return found

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Signed tokens (JWT, RFC 7519; JWS compact, RFC 7515) with what every host has: make, read, see who signed."""

from __future__ import annotations

import base64
import json

from ..library import InvalidSignature, UnsupportedAlgorithm, ec, ed25519, hashes, padding, rsa, utils
from . import keys

#: RFC 7518, 3.1: what step-ca expects of each type of key.
_ALGORITHMS = {"ec-p256": "ES256", "ec-p384": "ES384", "ec-p521": "ES512", "ed25519": "EdDSA"}
_CURVES = {"P-256": "SECP256R1", "P-384": "SECP384R1", "P-521": "SECP521R1"}


def claims(token: str) -> tuple:
    """(header, claims) of a token, not verified; ({}, {}) for what is none."""
    try:
        header, payload = [json.loads(_unbase64(part).decode("utf-8")) for part in token.split(".")[:2]]
    except (ValueError, RecursionError):
        return {}, {}
    return (header, payload) if isinstance(header, dict) and isinstance(payload, dict) else ({}, {})


def make(key, header: dict, content: dict) -> str:
    """A token signed by this private key; the header gets the algorithm that fits it."""
    algorithm = _ALGORITHMS.get(keys.type_of(key), "RS256")
    parts = (dict(header, alg=algorithm, typ="JWT"), content)
    signed = ".".join(_base64(json.dumps(part).encode("utf-8")) for part in parts)
    return "%s.%s" % (signed, _base64(_sign(key, algorithm, signed.encode("ascii"))))


def is_signed_by(key, token: str) -> bool:
    """Whether the private half of this public key made the token; ValueError where that cannot be told."""
    signed, _dot, signature = token.rpartition(".")
    algorithm = str(claims(token)[0].get("alg"))
    try:
        _verify(key, algorithm, _unbase64(signature), signed.encode("ascii"))
    except InvalidSignature:
        return False
    except (AttributeError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    return True


def public_key(jwk: dict):
    """The key of a public JWK (RFC 7517); ValueError for one that is not understood."""
    try:
        numbers = {name: _unbase64(jwk[name]) for name in ("x", "y", "n", "e") if name in jwk}
        whole = {name: int.from_bytes(content, "big") for name, content in numbers.items()}
        if jwk["kty"] == "OKP":
            return ed25519.Ed25519PublicKey.from_public_bytes(numbers["x"])
        if jwk["kty"] == "EC":
            curve = getattr(ec, _CURVES[jwk["crv"]])()
            return ec.EllipticCurvePublicNumbers(whole["x"], whole["y"], curve).public_key()
        return rsa.RSAPublicNumbers(whole["e"], whole["n"]).public_key()
    except (KeyError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None


def _sign(key, algorithm: str, content: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers = utils.decode_dss_signature(key.sign(content, ec.ECDSA(_digest(algorithm))))
        size = (key.key_size + 7) // 8
        return b"".join(number.to_bytes(size, "big") for number in numbers)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, padding.PKCS1v15(), _digest(algorithm))
    return key.sign(content)


def _verify(key, algorithm: str, signature: bytes, content: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):  # of which a token has the two numbers alone (RFC 7518, 3.4)
        half = len(signature) // 2
        numbers = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        signature = utils.encode_dss_signature(*numbers)
    digest = _digest(algorithm) if isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)) else None
    keys.verify(key, signature, content, digest, pss=algorithm.startswith("PS"))


def _digest(algorithm: str):
    return getattr(hashes, "SHA" + algorithm[2:])()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

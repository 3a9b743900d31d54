# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What a host signs with its own key: the proof that it holds a certificate, with which step-ca renews it.

A JWT (RFC 7519) with the chain in the header x5cInsecure (step-ca authority/authorize.go, AuthorizeRenewToken). Whoever
steals one gains a certificate for the host's key, and nothing else.
"""

from __future__ import annotations

import base64
import json
import secrets
from datetime import datetime, timedelta

from . import certificates, diagnosis, keys
from .library import InvalidSignature, ec, hashes, padding, rsa, serialization, utils

_ISSUER = "step-ca-client/1.0"
_LIFE = timedelta(minutes=5)
#: The CA allows a minute between the clocks; ours may be ahead of it.
_BACKDATE = timedelta(seconds=60)
_CURVES = {"ec-p256": ("ES256", "SHA256"), "ec-p384": ("ES384", "SHA384"), "ec-p521": ("ES512", "SHA512")}


def renewal(chain, key, audiences: list, now: datetime) -> str:
    """A proof for POST /renew, good once.

    chain: leaf first, with its intermediates; key: the leaf's; audiences: the renewal URLs of the CA; now: a clock that
    agrees with the CA's.
    """
    algorithm, sign = _signer(key)
    header = {
        "alg": algorithm,
        "typ": "JWT",
        # Base64 of the standard alphabet, as in x5c (RFC 7515, 4.1.6).
        "x5cInsecure": [
            base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode("ascii") for one in chain
        ],
    }
    claims = {
        "iss": _ISSUER,
        "sub": certificates.common_name(chain[0]),
        "aud": audiences,
        "jti": secrets.token_hex(32),
        "nbf": int((now - _BACKDATE).timestamp()),
        "exp": int((now + _LIFE).timestamp()),
    }
    signed = ".".join(_unpadded(json.dumps(part).encode("utf-8")) for part in (header, claims))
    return "%s.%s" % (signed, _unpadded(sign(signed.encode("ascii"))))


def chain_of(token: str) -> list:
    """The chain in a proof, leaf first, whose key made the proof; ValueError for what is no proof."""
    listed = diagnosis.claims(token)[0].get("x5cInsecure")
    if not isinstance(listed, list) or not 0 < len(listed) <= certificates.LONGEST_CHAIN:
        raise ValueError("it holds no chain")
    chain = [certificates.load_der(base64.b64decode(str(one))) for one in listed]
    signed, _dot, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    try:
        _verify(chain[0].public_key(), raw, signed.encode("ascii"))
    except (InvalidSignature, KeyError, AttributeError, TypeError):
        raise ValueError("it was not made by the key of its certificate") from None
    return chain


def _verify(key, signature: bytes, content: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        digest = getattr(hashes, _CURVES[keys.type_of(key)][1])()
        half = len(signature) // 2
        numbers = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        key.verify(utils.encode_dss_signature(*numbers), content, ec.ECDSA(digest))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.verify(signature, content)


def _signer(key) -> tuple:
    """(JWS algorithm, function from bytes to signature): RFC 7518, 3; RFC 8037."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm, digest = _CURVES[keys.type_of(key)]
        size = (key.key_size + 7) // 8

        def sign(content):
            r, s = utils.decode_dss_signature(key.sign(content, ec.ECDSA(getattr(hashes, digest)())))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")

        return algorithm, sign
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256", lambda content: key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return "EdDSA", key.sign


def _unpadded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")

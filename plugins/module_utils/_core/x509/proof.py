# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What a host signs with its own key: the proof that it holds a certificate, with which step-ca renews it.

A token with the chain in the header x5cInsecure (step-ca authority/authorize.go, AuthorizeRenewToken). Whoever steals
one gains a certificate for the host's key, and nothing else.
"""

from __future__ import annotations

import base64
import secrets
from datetime import datetime, timedelta

from ..library import serialization
from . import certificates, extensions, jws

_ISSUER = "step-ca-client/1.0"
_LIFE = timedelta(minutes=5)
#: The CA allows a minute between the clocks; ours may be ahead of it.
_BACKDATE = timedelta(seconds=60)


def renewal(chain, key, audiences: list, now: datetime) -> str:
    """A proof for POST /renew, good once.

    chain: leaf first, with its intermediates; key: the leaf's; audiences: the renewal URLs of the CA; now: a clock that
    agrees with the CA's.
    """
    ders = [one.public_bytes(serialization.Encoding.DER) for one in chain]
    claims = {
        "iss": _ISSUER,
        "sub": certificates.common_name(chain[0]),
        "aud": audiences,
        "jti": secrets.token_hex(32),
        "nbf": int((now - _BACKDATE).timestamp()),
        "exp": int((now + _LIFE).timestamp()),
    }
    # Base64 of the standard alphabet, as in x5c (RFC 7515, 4.1.6).
    return jws.make(key, {"x5cInsecure": [base64.b64encode(der).decode("ascii") for der in ders]}, claims)


def chain_of(token: str) -> list:
    """The chain in a proof, leaf first, whose key made the proof; ValueError for what is no proof."""
    listed = jws.claims(token)[0].get("x5cInsecure")
    if not isinstance(listed, list) or not 0 < len(listed) <= certificates.LONGEST_CHAIN:
        raise ValueError("it holds no chain")
    try:
        chain = [certificates.load_der(base64.b64decode(str(one))) for one in listed]
        for one in chain:
            one.extensions, one.public_key()
        genuine = jws.is_signed_by(chain[0].public_key(), token)
    except extensions.unreadable() as error:
        raise ValueError(str(error)) from None
    if not genuine:
        raise ValueError("it was not made by the key of its certificate")
    return chain

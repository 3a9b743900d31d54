# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Tokens that somebody else made: not by the collection, and as wrong as a test wants them."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration import lies
from tools.authority import Authority, Provisioner


def make_token(authority: Authority, provisioner: Provisioner, key_id: str | None = None, **claims: Any) -> str:
    """A one-time token for site.example.com; claims change it, and those that are None are left out."""
    now = int(time.time())
    content = {
        "iss": provisioner.name,
        "sub": lies.HOST,
        "sans": [lies.HOST],
        "aud": authority.url + "/1.0/sign",
        "jti": secrets.token_hex(16),
        "nbf": now - 30,
        "exp": now + 300,
        **claims,
    }
    content = {name: value for name, value in content.items() if value is not None}
    key = jwt.PyJWK(provisioner.jwk).key
    return jwt.encode(content, key, algorithm=provisioner.jwk["alg"], headers={"kid": key_id or provisioner.key_id})


def spend(authority: Authority, token: str) -> None:
    """Have the CA sign something with it."""
    context = ssl.create_default_context(cadata=authority.root_pem)
    connection = http.client.HTTPSConnection("localhost", authority.port, timeout=10, context=context)
    body = json.dumps({"csr": lies.request(ec.generate_private_key(ec.SECP256R1())), "ott": token})
    connection.request("POST", "/1.0/sign", body)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()

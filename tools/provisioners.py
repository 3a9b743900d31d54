# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""JWK provisioners for a throw-away authority.

Keys are made and encrypted with `jwcrypto`, an implementation that shares no code with the collection's own:
a mistake in both would have to be made twice. Needs the environment workbench or demo.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from jwcrypto import jwa, jwe, jwk
from jwcrypto.common import base64url_encode

# jwcrypto's own limit is below what step has used since its first versions (100,000 rounds, later 600,000).
jwa.default_max_pbkdf2_iterations = 1_000_000

_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


class Provisioner:
    """A JWK provisioner: its key, the password that encrypts it, and its entry in ca.json."""

    def __init__(
        self,
        name: str,
        kind: str = "EC",
        curve: str = "P-256",
        password: str | None = None,
        claims: Mapping[str, Any] | None = None,
        template: str | None = None,
        rounds: int = 600_000,
        enc: str = "A256GCM",
        publish_encrypted_key: bool = True,
        key_id: str | None = None,
        bits: int = 2048,
    ) -> None:
        """`kind` is EC (with `curve`), RSA (with `bits`) or OKP (Ed25519); without `key_id`, the thumbprint."""
        self.name = name
        self.password = password if password is not None else secrets.token_urlsafe(24)
        self.claims = dict(claims or {})
        self.template = template
        self.rounds = rounds
        self.enc = enc
        self.publish_encrypted_key = publish_encrypted_key
        self.jwk = _make_key(kind, "Ed25519" if kind == "OKP" else curve, bits)
        self.jwk["kid"] = key_id or jwk.JWK(**self.jwk).thumbprint()

    @property
    def key_id(self) -> str:
        return self.jwk["kid"]

    @property
    def public_jwk(self) -> dict[str, str]:
        """The key without its private half."""
        return {**jwk.JWK(**self.jwk).export_public(as_dict=True)}

    @property
    def pem(self) -> str:
        """The private key as PEM, PKCS#8, not encrypted."""
        return jwk.JWK(**self.jwk).export_to_pem(private_key=True, password=None).decode("ascii")

    def jwe_for(self, *passwords: str) -> str:
        """The private key as a JWE in JSON that each of these passwords opens, in the general form if there are two."""
        message = jwe.JWE(json.dumps(self.jwk).encode(), json.dumps({"cty": "jwk+json", "enc": self.enc}))
        message.allowed_algs = ["PBES2-HS256+A128KW", self.enc]
        for password in passwords:
            salt = base64url_encode(secrets.token_bytes(16))
            header = {"alg": "PBES2-HS256+A128KW", "p2c": self.rounds, "p2s": salt}
            message.add_recipient(jwk.JWK.from_password(password), json.dumps(header))
        return message.serialize()

    @cached_property
    def jwe(self) -> str:
        """The private key, encrypted with the password as `step` does, in compact form."""
        protected = {
            "alg": "PBES2-HS256+A128KW",
            "cty": "jwk+json",
            "enc": self.enc,
            # Both given here: what jwcrypto adds itself lands outside the header that the compact form has.
            "p2c": self.rounds,
            "p2s": base64url_encode(secrets.token_bytes(16)),
        }
        message = jwe.JWE(json.dumps(self.jwk).encode(), json.dumps(protected))
        message.allowed_algs = [protected["alg"], self.enc]
        message.add_recipient(jwk.JWK.from_password(self.password))
        return message.serialize(compact=True)

    def ca_entry(self) -> dict[str, Any]:
        """What ca.json says about it."""
        entry: dict[str, Any] = {"type": "JWK", "name": self.name, "key": self.public_jwk, "claims": self.claims}
        if self.publish_encrypted_key:
            entry["encryptedKey"] = self.jwe
        if self.template is not None:
            entry["options"] = {"x509": {"template": self.template}}
        return entry


def _make_key(kind: str, curve: str, bits: int) -> dict[str, str]:
    if kind == "RSA":
        key, algorithm = jwk.JWK.generate(kty="RSA", size=bits), "RS256"
    else:
        key, algorithm = jwk.JWK.generate(kty=kind, crv=curve), _ALGORITHMS[curve]
    return {"use": "sig", "alg": algorithm, **key.export_private(as_dict=True)}

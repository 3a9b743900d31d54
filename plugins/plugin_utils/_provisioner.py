# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The provisioner: find its key, open it, mint tokens with it. Secrets live here and nowhere else; no text of an error
quotes a key, a password or a file's content. The only file that imports jwt.

JWE: RFC 7516 compact, PBES2 (RFC 7518, 4.8) as step writes it; JWK: RFC 7517; thumbprint: RFC 7638.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from ..module_utils._core import api, diagnosis, durations
from ..module_utils._core.errors import (
    ApiError,
    OptionError,
    ProvisionerError,
)
from ._libraries import require

try:
    import jwt
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import hashes, keywrap
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
except ImportError:
    jwt = None

#: go-jose refuses more rounds, and so do we: the number comes from the CA.
_MOST_ROUNDS = 1_000_000
_BACKDATE = timedelta(seconds=60)
_PBES2 = {
    "PBES2-HS256+A128KW": ("SHA256", 16),
    "PBES2-HS384+A192KW": ("SHA384", 24),
    "PBES2-HS512+A256KW": ("SHA512", 32),
}
_CONTENT = {"A128GCM": 16, "A192GCM": 24, "A256GCM": 32}
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_THUMBPRINT = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_PATHS = {"sign": "/1.0/sign", "renew": "/1.0/renew", "revoke": "/1.0/revoke"}


@dataclass(repr=False)
class Provisioner:
    """A provisioner with its opened key. It has no repr, so that no log can show it."""

    name: str
    key_id: str
    algorithm: str
    key: Any

    def mint(self, *, purpose: str, subject: str, sans, audiences, lifetime: timedelta, binding: str = "") -> str:
        """A one-time token (step-ca authority/provisioner/jwk.go).

        subject: the commonName; sans: as the CSR spells them; binding: csr.binding of the one CSR it serves.
        """
        now = durations.now()
        claims = {
            "iss": self.name,
            "sub": subject,
            "aud": audiences,
            "jti": secrets.token_hex(32),
            # No iat: step-ca refuses one from before its own start, without leeway.
            "nbf": int((now - _BACKDATE).timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        if purpose == "sign":
            claims["sans"] = list(dict.fromkeys(sans))
        if binding:
            claims["cnf"] = {"x5rt#S256": binding}
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers={"kid": self.key_id})


def audiences(connection, purpose: str) -> list:
    """Whom a token is for: this purpose at each URL of the CA, under the name that the CA knows."""
    hosts = [connection.name and _bracketed(connection.name) or urlsplit(url).netloc for url in connection.urls]
    return list(dict.fromkeys("https://%s%s" % (host, _PATHS[purpose]) for host in hosts))


def lifetime(settings) -> timedelta:
    """token_lifetime as a duration."""
    given = settings.find("token_lifetime")
    if given is None:
        return timedelta(minutes=5)
    span = durations.parse_duration(given.value, "token_lifetime")
    if not span:
        raise OptionError("token_lifetime: 0 leaves no time to use the token.")
    return span


def check(settings) -> None:
    """OptionError for what the provisioner's options alone show."""
    settings.refuse_two("provisioner_key", "provisioner_key_path")
    settings.refuse_two("provisioner_password", "provisioner_password_file")
    lifetime(settings)


def find(settings, authority) -> Provisioner:
    """The provisioner that the settings name, its key opened; ProvisionerError, OptionError, ApiError or TransportError.

    The CA is asked only for what the key does not tell: its provisioner's name, or the key itself.
    """
    require("PyJWT", jwt)
    name = settings.find("provisioner")
    key = settings.one_of("provisioner_key", "provisioner_key_path")
    password = settings.one_of("provisioner_password", "provisioner_password_file")
    if key is None and password is None:
        raise OptionError(
            "A certificate is due, and no option says who vouches for it. Give provisioner and provisioner_password, or "
            "provisioner_key, or a token."
        )
    if key is None:
        entry = _by_name(name, authority)
        text, where = _published_key(entry, authority), 'the CA\'s key of the provisioner "%s"' % entry["name"]
    else:
        entry = None
        text, where = (
            settings.text_of(key) if key.name.endswith("_path") else key.value,
            "%s (from %s)" % (key.name, key.where),
        )
    jwk = _open(text, settings, password, where)
    if entry is None:
        entry = _matching(jwk, name, authority)
    return Provisioner(entry["name"], entry["kid"], _algorithm(jwk, where), _private_key(jwk, where))


def _by_name(name, authority) -> dict:
    if name is None:
        raise OptionError(
            "provisioner is required where only its password is given: which of the CA's keys does it open?"
        )
    provisioners = authority.provisioners()
    for item in provisioners:
        if item.get("name") == name.value:
            return {"name": item["name"], "kid": (item.get("key") or {}).get("kid"), "type": item.get("type")}
    raise ProvisionerError(
        'The CA at %s has no provisioner "%s"; it has: %s. Check the option provisioner (from %s).'
        % (authority.url, name.value, diagnosis.list_provisioners(provisioners), name.where)
    )


def _published_key(entry: dict, authority) -> str:
    hint = "Give the key itself: provisioner_key or provisioner_key_path, beside the password if it is encrypted."
    if not entry["kid"]:
        raise ProvisionerError(
            'The provisioner "%s" is of type %s and has no JWK. %s' % (entry["name"], entry["type"], hint)
        )
    try:
        text = authority.get(api.encrypted_key(entry["kid"])).get("key")
    except ApiError as error:
        if error.status != 404:
            raise
        text = None
    if not text:
        raise ProvisionerError(
            'The CA at %s hands out no encrypted key for the provisioner "%s". %s'
            % (authority.url, entry["name"], hint)
        )
    return text


def _matching(jwk: dict, name, authority) -> dict:
    """Name and key id for a key: as the key and the options say, else as the CA lists it."""
    key_id = jwk.get("kid") or thumbprint(jwk)
    if name is not None and jwk.get("kid"):
        return {"name": name.value, "kid": key_id}
    public = thumbprint(jwk)
    provisioners = authority.provisioners()
    for item in provisioners:
        has = item.get("key") or {}
        if (name is None or item.get("name") == name.value) and (has.get("kid") == key_id or thumbprint(has) == public):
            return {"name": item["name"], "kid": has.get("kid")}
    if name is not None and not any(item.get("name") == name.value for item in provisioners):
        _by_name(name, authority)
    raise ProvisionerError(
        "The CA at %s lists no provisioner with this key%s; it has: %s. Give the key that belongs to it."
        % (
            authority.url,
            ' under the name "%s"' % name.value if name else "",
            diagnosis.list_provisioners(provisioners),
        )
    )


def _open(text, settings, password, where: str) -> dict:
    """A private JWK out of a mapping, JSON or a compact JWE."""
    if isinstance(text, str):
        stripped = text.strip()
        if stripped.count(".") == 4 and not stripped.startswith("{"):
            if password is None:
                raise OptionError(
                    "%s is encrypted: give provisioner_password or provisioner_password_file to open it." % where
                )
            secret = settings.text_of(password)
            text = decrypt(stripped, str(secret), where, "%s (from %s)" % (password.name, password.where))
        text = _json(text)
    if not isinstance(text, dict) or text.get("kty") not in _THUMBPRINT:
        raise ProvisionerError(
            "%s is no key that can be read: a JWK (JSON with kty) or a compact JWE is needed." % where
        )
    if "d" not in text:
        raise ProvisionerError("%s is a public key: it cannot sign. Give the private JWK." % where)
    return text


def decrypt(token: str, password: str, where: str, password_from: str) -> str:
    """The JWK inside a compact JWE; ProvisionerError if the password does not open it."""
    try:
        parts = [_unbase64(part) for part in token.split(".")]
        header = json.loads(parts[0].decode("utf-8"))
        digest, size = _PBES2[header["alg"]]
        content_size = _CONTENT[header["enc"]]
        rounds, salt = int(header["p2c"]), header["alg"].encode("ascii") + b"\0" + _unbase64(header["p2s"])
    except (ValueError, KeyError, TypeError, OverflowError):
        raise ProvisionerError(
            "%s is a JWE of a kind that step does not write; PBES2 with AES-GCM is understood." % where
        ) from None
    if not 0 < rounds <= _MOST_ROUNDS:
        raise ProvisionerError(
            "%s asks for %d rounds of PBKDF2; more than %d are refused." % (where, rounds, _MOST_ROUNDS)
        )
    derived = PBKDF2HMAC(getattr(hashes, digest)(), size, salt, rounds).derive(password.encode("utf-8"))
    try:
        content_key = keywrap.aes_key_unwrap(derived, parts[1])
        if len(content_key) != content_size:
            raise ValueError("size")
        plain = AESGCM(content_key).decrypt(parts[2], parts[3] + parts[4], token.split(".")[0].encode("ascii"))
    except (keywrap.InvalidUnwrap, InvalidTag, ValueError):
        raise ProvisionerError("The provisioner password, %s, does not open %s." % (password_from, where)) from None
    return plain.decode("utf-8", "replace")


def thumbprint(jwk: dict) -> str:
    """RFC 7638, SHA-256, as step names its keys; "" for what is no such key."""
    members = _THUMBPRINT.get(jwk.get("kty"), ())
    if not members or not all(isinstance(jwk.get(name), str) for name in members):
        return ""
    canonical = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode("utf-8")).digest()).rstrip(b"=").decode("ascii")


def _algorithm(jwk: dict, where: str) -> str:
    if jwk["kty"] == "RSA":
        given = str(jwk.get("alg", "RS256"))
        return given if given[:2] in ("RS", "PS") and given[2:] in ("256", "384", "512") else "RS256"
    try:
        return _CURVES[jwk["crv"]]
    except KeyError:
        raise ProvisionerError("%s is on a curve that step-ca does not sign with." % where) from None


def _private_key(jwk: dict, where: str):
    kinds = {"EC": "ECAlgorithm", "OKP": "OKPAlgorithm", "RSA": "RSAAlgorithm"}
    try:
        return getattr(jwt.algorithms, kinds[jwk["kty"]]).from_jwk(jwk)
    except (jwt.exceptions.PyJWTError, ValueError, TypeError, KeyError, binascii.Error):
        raise ProvisionerError("%s is a JWK whose numbers make no %s key." % (where, jwk["kty"])) from None


def _json(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return None


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _bracketed(host: str) -> str:
    return "[%s]" % host if ":" in host and not host.startswith("[") else host

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A provisioner's key as people keep it, opened: whatever its form, it becomes a private JWK (RFC 7517).

JWE: RFC 7516, compact (7.1) and JSON (7.2), PBES2 (RFC 7518, 4.8) as step writes it. PEM: PKCS#8, SEC1, PKCS#1, each
plain or encrypted. No text of an error quotes a key, a password or a file's content, be it only a label.
A new one is made and sealed here too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets

from ...module_utils._core.errors import OptionError, ProvisionerError
from ...module_utils._core.library import UnsupportedAlgorithm, ec, ed25519, rsa, serialization
from ...module_utils._core.x509 import keys

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import hashes, keywrap
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
except ImportError:  # said by _libraries before anything here is called
    InvalidTag = hashes = keywrap = AESGCM = PBKDF2HMAC = None

#: go-jose refuses more rounds, and so do we: the number comes from the CA.
_MOST_ROUNDS = 1_000_000
#: Each may cost that many rounds.
_MOST_RECIPIENTS = 10
#: How many seal a new key, whose password a machine made: nobody guesses it.
_ROUNDS = 10_000
_PBES2 = {
    "PBES2-HS256+A128KW": ("SHA256", 16),
    "PBES2-HS384+A192KW": ("SHA384", 24),
    "PBES2-HS512+A256KW": ("SHA512", 32),
}
_CONTENT = {"A128GCM": 16, "A192GCM": 24, "A256GCM": 32}
_COMPACT = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
_THUMBPRINT = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

_BLOCK = re.compile(r"-----BEGIN ([^-\n]+)-----.*?-----END \1-----", re.DOTALL)
_PRIVATE = ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_UNREADABLE = "%s is PEM that cannot be read: it is damaged or cut, or its line breaks were lost on the way."
_OTHER_KIND = (
    "%s is of a kind that is not understood: an EC, RSA or Ed25519 key is needed, encrypted with AES or not at all."
)
_OTHER_LABEL = "%%s is PEM, but no private key that is understood: a block of %s is needed." % ", ".join(_PRIVATE)
_IS_PUBLIC = "%s is a public key: it cannot sign. Give the private key that belongs to it."
_IS_CERTIFICATE = "%s is a certificate: it cannot sign. Give the provisioner's private key."
_OTHER_BLOCKS = {
    "OPENSSH PRIVATE KEY": "%s is a private key in OpenSSH's own form, which is not understood: PEM is needed. "
    "`step crypto key format --pem FILE` prints it so.",
    "PUBLIC KEY": _IS_PUBLIC,
    "RSA PUBLIC KEY": _IS_PUBLIC,
    "CERTIFICATE": _IS_CERTIFICATE,
    "X509 CERTIFICATE": _IS_CERTIFICATE,
    "TRUSTED CERTIFICATE": _IS_CERTIFICATE,
}


def private_jwk(value, where: str, settings, password) -> dict:
    """A private JWK out of a key in any form; ProvisionerError, OptionError.

    value: text or a mapping; where: the key for people; password: the Setting that would open it, or None.
    """
    if isinstance(value, str):
        if value.lstrip().startswith(("ssh-", "ecdsa-sha2-")):
            raise ProvisionerError(_IS_PUBLIC % where)
        if "-----BEGIN " in value and not value.lstrip().startswith("{"):
            return _from_pem(value, where, settings, password)
    return from_jose(value, where, settings, password)


def from_jose(value, where: str, settings, password) -> dict:
    """The same for JWK and JWE alone, all that a CA hands out: their cost is limited, that of PEM is not."""
    if isinstance(value, str):
        stripped = value.strip()
        is_compact = stripped.count(".") == 4 and not stripped.startswith("{")
        value = dict(zip(_COMPACT, stripped.split("."), strict=True)) if is_compact else _json(stripped)
    if isinstance(value, dict) and "ciphertext" in value:
        secret, password_from = _secret(settings, password, where)
        value = _json(_decrypt(value, secret, where, password_from))
    if not isinstance(value, dict) or str(value.get("kty")) not in _THUMBPRINT:
        raise ProvisionerError(
            "%s is no key that can be read: a JWK (JSON with kty), a JWE that a password opens, or a private key in PEM "
            "is needed." % where
        )
    if "d" not in value:
        raise ProvisionerError(_IS_PUBLIC % where)
    return value


def make(password: str) -> tuple:
    """A new key on P-256 as ca.json has it: (its public JWK, the private one as a compact JWE).

    password: opens it; one that a machine made.
    """
    private = dict(_jwk_of(keys.generate("ec-p256"), "a new key"), use="sig", alg="ES256")
    private["kid"] = thumbprint(private)
    public = {name: value for name, value in private.items() if name != "d"}
    return public, _seal(json.dumps(private).encode("utf-8"), password.encode("utf-8"))


def _seal(content: bytes, password: bytes) -> str:
    """_decrypt, the other way, as step does it: PBES2-HS256+A128KW around A256GCM."""
    algorithm, encryption = "PBES2-HS256+A128KW", "A256GCM"
    salt, iv, content_key = secrets.token_bytes(16), secrets.token_bytes(12), secrets.token_bytes(_CONTENT[encryption])
    header = {"alg": algorithm, "cty": "jwk+json", "enc": encryption, "p2c": _ROUNDS, "p2s": _base64(salt)}
    protected = _base64(json.dumps(header).encode("ascii"))
    digest, size = _PBES2[algorithm]
    whole_salt = algorithm.encode("ascii") + b"\0" + salt
    derived = PBKDF2HMAC(getattr(hashes, digest)(), size, whole_salt, _ROUNDS).derive(password)
    sealed = AESGCM(content_key).encrypt(iv, content, protected.encode("ascii"))
    wrapped = keywrap.aes_key_wrap(derived, content_key)
    return ".".join([protected, *map(_base64, (wrapped, iv, sealed[:-16], sealed[-16:]))])


def thumbprint(jwk: dict) -> str:
    """RFC 7638, SHA-256, as step names its keys; "" for what is no such key."""
    members = _THUMBPRINT.get(str(jwk.get("kty")), ())
    if not members or not all(isinstance(jwk.get(name), str) for name in members):
        return ""
    canonical = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"), sort_keys=True)
    return _base64(hashlib.sha256(canonical.encode("utf-8")).digest())


def _secret(settings, password, where: str) -> tuple:
    """(the password's bytes, its option and source); a file is read and a vault opened only here."""
    if password is None:
        raise OptionError("%s is encrypted: give provisioner_password or provisioner_password_file to open it." % where)
    # The environment may hold bytes that are no UTF-8: they come as surrogates, and leave as they were.
    secret = str(settings.text_of(password)).encode("utf-8", "surrogateescape")
    return secret, "%s (from %s)" % (password.name, password.where)


def _decrypt(jwe: dict, password: bytes, where: str, password_from: str) -> str:
    """What is inside a JWE; ProvisionerError if the password is that of none of its recipients."""
    try:
        protected = jwe.get("protected") or ""
        additional = protected + ("." + jwe["aad"] if jwe.get("aad") else "")
        iv, sealed = _unbase64(jwe["iv"]), _unbase64(jwe["ciphertext"]) + _unbase64(jwe["tag"])
        recipients = _recipients(jwe, protected)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ProvisionerError(
            "%s is a JWE of a kind that step does not write; PBES2 with AES-GCM is understood." % where
        ) from None
    _refuse_labour(recipients, where)
    for digest, size, salt, rounds, wrapped, content_size in recipients:
        derived = PBKDF2HMAC(getattr(hashes, digest)(), size, salt, rounds).derive(password)
        try:
            content_key = keywrap.aes_key_unwrap(derived, wrapped)
            if len(content_key) == content_size:
                return AESGCM(content_key).decrypt(iv, sealed, additional.encode("ascii")).decode("utf-8", "replace")
        except (keywrap.InvalidUnwrap, InvalidTag, ValueError):
            pass  # perhaps another recipient's
    raise ProvisionerError("The provisioner password, %s, does not open %s." % (password_from, where))


def _recipients(jwe: dict, protected: str) -> list:
    """(digest, size, salt, rounds, wrapped key, size of the content's key) of all whom a password serves.

    Compact and flattened have one recipient: themselves. What the protected header says, no other may change.
    """
    first = json.loads(_unbase64(protected).decode("utf-8")) if protected else {}
    found = []
    for recipient in jwe.get("recipients") or [jwe]:
        header = {**(recipient.get("header") or {}), **(jwe.get("unprotected") or {}), **first}
        if {"crit", "zip"} & set(header):
            raise ValueError("extension")
        if header["alg"] in _PBES2:
            digest, size = _PBES2[header["alg"]]
            salt = header["alg"].encode("ascii") + b"\0" + _unbase64(header["p2s"])
            wrapped = _unbase64(recipient["encrypted_key"])
            found.append((digest, size, salt, int(header["p2c"]), wrapped, _CONTENT[header["enc"]]))
    if not found:
        raise ValueError("algorithm")
    return found


def _refuse_labour(recipients: list, where: str) -> None:
    """ProvisionerError for what would keep the controller busy."""
    if len(recipients) > _MOST_RECIPIENTS:
        raise ProvisionerError(
            "%s has %d recipients; more than %d are refused." % (where, len(recipients), _MOST_RECIPIENTS)
        )
    for _digest, _size, _salt, rounds, _wrapped, _content_size in recipients:
        if not 0 < rounds <= _MOST_ROUNDS:
            raise ProvisionerError(
                "%s asks for %d rounds of PBKDF2; more than %d are refused." % (where, rounds, _MOST_ROUNDS)
            )


def _from_pem(text: str, where: str, settings, password) -> dict:
    """The private JWK, without kid, of the one private key in a PEM file; what else is in the file is passed over."""
    blocks = [(found.group(1), found.group(0)) for found in _BLOCK.finditer(text)]
    keys = [block for label, block in blocks if label in _PRIVATE]
    if len(keys) > 1:
        raise ProvisionerError("%s holds %d private keys: give the provisioner's alone." % (where, len(keys)))
    if not keys:
        known = [_OTHER_BLOCKS[label] for label, _block in blocks if label in _OTHER_BLOCKS]
        raise ProvisionerError((known or [_OTHER_LABEL if blocks else _UNREADABLE])[0] % where)
    is_encrypted = "BEGIN ENCRYPTED " in keys[0] or "Proc-Type: 4,ENCRYPTED" in keys[0]
    secret, password_from = _secret(settings, password, where) if is_encrypted else (None, None)
    try:
        return _jwk_of(serialization.load_pem_private_key(keys[0].encode("utf-8"), secret), where)
    except UnsupportedAlgorithm:
        raise ProvisionerError(_OTHER_KIND % where) from None
    except (ValueError, TypeError):
        if not is_encrypted:
            raise ProvisionerError(_UNREADABLE % where) from None
        raise ProvisionerError(
            "The provisioner password, %s, does not open %s. If it is the right one, the file is damaged, or encrypted in "
            "a way that is not understood: write a copy with `openssl pkcs8 -topk8`." % (password_from, where)
        ) from None


def _jwk_of(key, where: str) -> dict:
    """The private JWK of a key of `cryptography` (RFC 7518, 6; RFC 8037, 2)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        private, size = key.private_numbers(), (key.curve.key_size + 7) // 8
        numbers = {"x": private.public_numbers.x, "y": private.public_numbers.y, "d": private.private_value}
        found = {name: _base64(number.to_bytes(size, "big")) for name, number in numbers.items()}
        return dict(found, kty="EC", crv=_CURVES.get(key.curve.name, key.curve.name))
    if isinstance(key, rsa.RSAPrivateKey):
        private, public = key.private_numbers(), key.public_key().public_numbers()
        numbers = {"n": public.n, "e": public.e, "d": private.d, "p": private.p, "q": private.q}
        numbers.update(dp=private.dmp1, dq=private.dmq1, qi=private.iqmp)
        return dict({name: _base64(_bytes(number)) for name, number in numbers.items()}, kty="RSA")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw, secret = serialization.Encoding.Raw, serialization.PrivateFormat.Raw
        private = key.private_bytes(raw, secret, serialization.NoEncryption())
        public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64(public), "d": _base64(private)}
    raise ProvisionerError(_OTHER_KIND % where)


def _json(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

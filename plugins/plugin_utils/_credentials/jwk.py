# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A provisioner of type JWK: find its key, have it opened, mint tokens with it. No text of an error quotes a key, a
password or a file's content. The only file that imports jwt.
"""

from __future__ import annotations

import binascii
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ...module_utils._core import durations
from ...module_utils._core.ca import api, connections, diagnosis
from ...module_utils._core.errors import ApiError, OptionError, ProvisionerError
from .._libraries import require
from . import key_files
from .credential import Credential, Purpose

try:
    import jwt
except ImportError:
    jwt = None

_BACKDATE = timedelta(seconds=60)
_LONG_LIFE, _LONGEST_LIFE = timedelta(hours=1), timedelta(days=7)
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


class JWK(Credential):
    """A provisioner of type JWK: the option provisioner names it, its key signs tokens."""

    NAME = "JWK"
    OPTIONS = ("provisioner_key", "provisioner_key_path", "provisioner_password", "provisioner_password_file")
    BINDS = True

    def __init__(self, settings, connection, authority):
        super().__init__(settings, connection, authority)
        self._opened = None

    @staticmethod
    def check(settings) -> None:
        """OptionError for alternatives given together, and for a lifetime that is none."""
        settings.refuse_two("provisioner_key", "provisioner_key_path")
        settings.refuse_two("provisioner_password", "provisioner_password_file")
        lifetime(settings)

    @staticmethod
    def warnings(settings) -> list:
        """A sentence where tokens live for longer than their use takes."""
        given, span = settings.find("token_lifetime"), lifetime(settings)
        if span <= _LONG_LIFE:
            return []
        return [
            "token_lifetime (from %s) is %s: whoever finds a token in that time can use it, once. Minutes are enough."
            % (given.where, durations.format_duration(span))
        ]

    def mint(self, purpose):
        """A new token each time (step-ca authority/provisioner/jwk.go)."""
        if self._opened is None:
            self._opened = find(self.settings, self.authority())
        span = lifetime(self.settings)

        def mint(_spent):
            known = self.authority().names()
            return self._opened.mint(purpose, connections.audiences(self.connection, purpose.name, known), span)

        return mint


@dataclass(repr=False)
class Provisioner:
    """A provisioner with its opened key. It has no repr, so that no log can show it."""

    name: str
    key_id: str
    algorithm: str
    key: Any

    def mint(self, purpose: Purpose, audiences: list, span: timedelta) -> str:
        """A one-time token, good for this span."""
        now = durations.now()
        claims = {
            "iss": self.name,
            "sub": purpose.subject,
            "aud": audiences,
            "jti": secrets.token_hex(32),
            # No iat: step-ca refuses one from before its own start, without leeway.
            "nbf": int((now - _BACKDATE).timestamp()),
            "exp": int((now + span).timestamp()),
        }
        if purpose.name == "sign":
            claims["sans"] = list(dict.fromkeys(purpose.sans))
        if purpose.binding:
            claims["cnf"] = {"x5rt#S256": purpose.binding}
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers={"kid": self.key_id})


def lifetime(settings) -> timedelta:
    """token_lifetime as a duration."""
    given = settings.find("token_lifetime")
    if given is None:
        return timedelta(minutes=5)
    span = durations.parse_duration(given.value, "token_lifetime")
    if not span:
        raise OptionError("token_lifetime: 0 leaves no time to use the token.")
    if span > _LONGEST_LIFE:
        raise OptionError(
            "token_lifetime: %s is longer than seven days. Who finds such a token can use it for all that time; it serves once, and "
            "minutes are enough." % durations.format_duration(span)
        )
    return span


def find(settings, authority) -> Provisioner:
    """The provisioner that the settings name, its key opened; ProvisionerError, OptionError, ApiError or TransportError.

    The CA is asked only for what the key does not tell: its provisioner's name, or the key itself.
    """
    require("PyJWT", jwt)
    name = settings.find("provisioner")
    key = settings.one_of("provisioner_key", "provisioner_key_path")
    password = settings.one_of("provisioner_password", "provisioner_password_file")
    if key is None:
        entry = _by_name(name, authority)
        where = 'the CA\'s key of the provisioner "%s"' % entry["name"]
        jwk = key_files.from_jose(_published_key(entry, authority), where, settings, password)
    else:
        entry, where = None, "%s (from %s)" % (key.name, key.where)
        jwk = key_files.private_jwk(settings.text_of(key), where, settings, password)
    algorithm, private = _algorithm(jwk, where), _private_key(jwk, where)
    if entry is None:
        entry = _matching(jwk, name, authority)
    return Provisioner(entry["name"], entry["kid"], algorithm, private)


def _by_name(name, authority) -> dict:
    if name is None:
        raise OptionError(
            "provisioner is required where only its password is given: which of the CA's keys does it open?"
        )
    provisioners = authority.provisioners()
    for item in provisioners:
        if item.get("name") == name.value:
            return dict(item, kid=(item.get("key") or {}).get("kid"))
    raise ProvisionerError(
        'The CA at %s has no provisioner "%s"; it has: %s. Check the option provisioner (from %s).'
        % (authority.url, name.value, diagnosis.list_provisioners(provisioners), name.where)
    )


def _published_key(entry: dict, authority) -> str:
    hint = "Give the key itself: provisioner_key or provisioner_key_path, beside the password if it is encrypted."
    if not entry["kid"]:
        raise ProvisionerError(
            'The provisioner "%s" is of type %s and has no JWK. %s' % (entry["name"], entry.get("type"), hint)
        )
    # step-ca lists it with the provisioner. Asked for it by the key id, it finds none that has a / or a space in it.
    text = entry.get("encryptedKey") or _asked_for(entry, authority)
    if not isinstance(text, str) or not text:
        raise ProvisionerError(
            'The CA at %s hands out no encrypted key for the provisioner "%s". %s'
            % (authority.url, entry["name"], hint)
        )
    return text


def _asked_for(entry: dict, authority):
    """The key that the CA hands out for this provisioner by its key id, or None."""
    try:
        return authority.get(api.encrypted_key(str(entry["kid"]))).get("key")
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def _matching(jwk: dict, name, authority) -> dict:
    """Name and key id for a key: as the key and the options say, else as the CA lists it."""
    key_id = jwk.get("kid") or key_files.thumbprint(jwk)
    if name is not None and jwk.get("kid"):
        return {"name": name.value, "kid": key_id}
    public = key_files.thumbprint(jwk)
    provisioners = authority.provisioners()
    for item in provisioners:
        has = item.get("key") or {}
        if (name is None or item.get("name") == name.value) and (
            has.get("kid") == key_id or key_files.thumbprint(has) == public
        ):
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


def _algorithm(jwk: dict, where: str) -> str:
    if jwk["kty"] == "RSA":
        given = str(jwk.get("alg", "RS256"))
        return given if given[:2] in ("RS", "PS") and given[2:] in ("256", "384", "512") else "RS256"
    try:
        return _CURVES[jwk["crv"]]
    except (KeyError, TypeError):
        raise ProvisionerError("%s is on a curve that step-ca does not sign with." % where) from None


def _private_key(jwk: dict, where: str):
    kinds = {"EC": "ECAlgorithm", "OKP": "OKPAlgorithm", "RSA": "RSAAlgorithm"}
    try:
        return getattr(jwt.algorithms, kinds[jwk["kty"]]).from_jwk(jwk)
    except (jwt.exceptions.PyJWTError, ValueError, TypeError, KeyError, binascii.Error):
        raise ProvisionerError("%s is a JWK whose numbers make no %s key." % (where, jwk["kty"])) from None

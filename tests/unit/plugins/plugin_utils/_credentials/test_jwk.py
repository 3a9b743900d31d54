# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The provisioner: its key found and opened in every form, tokens as step-ca reads them, and no secret in any text."""

from __future__ import annotations

import json
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.ca import connections
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import (
    ApiError,
    OptionError,
    ProvisionerError,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import keys
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _libraries, _settings
from ansible_collections.privatepki.stepca.plugins.plugin_utils._credentials import jwk
from ansible_collections.privatepki.stepca.plugins.plugin_utils._credentials.credential import Purpose
from ansible_collections.privatepki.stepca.tests.unit.plugins import secrets_of
from ansible_collections.privatepki.stepca.tests.unit.plugins.secrets_of import PASSWORD, jwe_of, jwk_of

KINDS = {
    "P-256": (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), "ES384"),
    "P-521": (ec.generate_private_key(ec.SECP521R1()), "ES512"),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    "RSA": (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
}
KEY = KINDS["P-256"][0]
JWK = jwk_of(KEY, kid="kid-1")
PUBLIC = {name: value for name, value in JWK.items() if name != "d"}
UNUSABLE = secrets_of.unusable(JWK)
OPS = {"type": "JWK", "name": "ops", "key": PUBLIC}
ACME = {"type": "ACME", "name": "acme"}


class Authority:
    """A CA as far as a provisioner asks it; counts how often."""

    url = "https://ca.internal"

    def __init__(self, *provisioners, published=None):
        self.listed, self.published, self.asked = list(provisioners), published, []

    def provisioners(self):
        self.asked.append("provisioners")
        return self.listed

    def get(self, request):
        self.asked.append(request.path)
        if isinstance(self.published, Exception):
            raise self.published
        return {"key": self.published}


def find(authority=None, files=None, **options):
    """The provisioner of these options, all given by the task."""
    source = _settings.Source(lambda name: "the task", options.get, options.__contains__)
    settings = _settings.Settings([source], lambda path: (files or {})[path])
    return jwk.find(settings, authority or Authority(OPS, ACME))


def mint(provisioner, audiences=("https://ca/1.0/sign",), **changes):
    asked = Purpose(**dict({"name": "sign", "subject": "a.example", "sans": ("a.example",)}, **changes))
    return provisioner.mint(asked, list(audiences), timedelta(minutes=5))


def verified(token, key=KEY, algorithm="ES256"):
    """(header, claims) as step-ca would accept them."""
    claims = jwt.decode(token, key.public_key(), algorithms=[algorithm], options={"verify_aud": False})
    return jwt.get_unverified_header(token), claims


def other(kind):
    """Another kind of key."""
    return next(name for name in KINDS if name != kind)


# keys in every form


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["mapping", "text", "file"])
def test_every_kind_of_key_signs(kind, form):
    key, algorithm = KINDS[kind]
    jwk = jwk_of(key, kid="kid-1")
    text = json.dumps(jwk, indent=1)
    options = {
        "mapping": {"provisioner_key": jwk},
        "text": {"provisioner_key": "\n%s\n" % text},
        "file": {"provisioner_key_path": "/key.json", "files": {"/key.json": text.encode("ascii")}},
    }[form]
    authority = Authority()
    header, claims = verified(mint(find(authority, provisioner="ops", **options)), key, algorithm)
    assert (header["alg"], header["kid"], claims["iss"]) == (algorithm, "kid-1", "ops")
    assert authority.asked == []


@pytest.mark.parametrize("algorithm", ["PS256", "RS512", "none", "HS256", "RS257"])
def test_an_rsa_key_may_name_its_algorithm(algorithm):
    key = KINDS["RSA"][0]
    expected = algorithm if algorithm in ("PS256", "RS512") else "RS256"
    found = find(provisioner="ops", provisioner_key=jwk_of(key, kid="kid-1", alg=algorithm))
    assert verified(mint(found), key, expected)[0]["alg"] == expected


@pytest.mark.parametrize("rounds", [100000, 600000])
@pytest.mark.parametrize("content", ["A128GCM", "A256GCM"])
def test_a_key_that_a_password_protects(content, rounds):
    found = find(
        provisioner="ops", provisioner_key=jwe_of(JWK, content=content, rounds=rounds), provisioner_password=PASSWORD
    )
    assert verified(mint(found))[0]["kid"] == "kid-1"


@pytest.mark.parametrize("algorithm", ["PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"])
def test_every_algorithm_of_a_password(algorithm):
    found = find(provisioner="ops", provisioner_key=jwe_of(JWK, algorithm=algorithm), provisioner_password=PASSWORD)
    assert found.key_id == "kid-1"


def test_a_protected_key_and_its_password_in_files():
    files = {"/key": jwe_of(JWK).encode("ascii") + b"\n", "/password": PASSWORD.encode("utf-8") + b"\n"}
    assert (
        find(files=files, provisioner="ops", provisioner_key_path="/key", provisioner_password_file="/password").key_id
        == "kid-1"
    )


def test_a_password_beside_a_key_without_protection_is_ignored():
    assert find(provisioner="ops", provisioner_key=JWK, provisioner_password="unused").name == "ops"


def test_the_key_that_the_authority_publishes():
    authority = Authority(ACME, OPS, published=jwe_of(JWK))
    found = find(authority, provisioner="ops", provisioner_password=PASSWORD)
    assert verified(mint(found))[0]["kid"] == "kid-1"
    assert authority.asked == ["provisioners", "/1.0/provisioners/kid-1/encrypted-key"]


@pytest.mark.parametrize("key_id", ["a/b", "https://kms.example/keys/1", "two words", "50%", "../x", "a?b#c", 7])
def test_a_key_id_may_be_any_text(key_id):
    """step-ca finds no key by an id with a slash, a space or a percent sign in its path, but lists it all the same."""
    listed = dict(OPS, key=dict(PUBLIC, kid=key_id), encryptedKey=jwe_of(JWK))
    authority = Authority(ACME, listed, published=ApiError("no", 404))
    assert find(authority, provisioner="ops", provisioner_password=PASSWORD).key_id == key_id
    assert authority.asked == ["provisioners"]


# name and key id


@pytest.mark.parametrize("options", [{}, {"provisioner": "ops"}])
@pytest.mark.parametrize("kid", [None, "kid-1"])
def test_name_and_key_id_come_from_the_authority_where_the_key_lacks_them(options, kid):
    jwk = dict(JWK, kid=kid) if kid else {name: value for name, value in JWK.items() if name != "kid"}
    found = find(
        Authority(ACME, dict(OPS, name="other", key=jwk_of(KINDS["P-384"][0], kid="kid-2")), OPS),
        provisioner_key=jwk,
        **options,
    )
    assert (found.name, found.key_id) == ("ops", "kid-1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"provisioner": "ops"}])
def test_a_key_in_pem_is_found_by_its_thumbprint(kind, options):
    key, algorithm = KINDS[kind]
    pem = keys.to_pem(key)
    listed = {name: value for name, value in jwk_of(key, kid="a key id of its own").items() if name != "d"}
    authority = Authority(
        ACME, dict(OPS, name="other", key=jwk_of(KINDS[other(kind)][0], kid="x")), dict(OPS, key=listed)
    )
    for given in ({"provisioner_key": pem.decode("ascii")}, {"provisioner_key_path": "/key", "files": {"/key": pem}}):
        found = find(authority, **given, **options)
        assert (found.name, found.key_id) == ("ops", "a key id of its own")
        assert verified(mint(found), key, algorithm)[0]["alg"] == algorithm


def test_a_key_that_no_provisioner_has():
    with pytest.raises(ProvisionerError, match='lists no provisioner with this key; it has: "acme" .ACME.'):
        find(Authority(ACME), provisioner_key=JWK)
    no_kid = {name: value for name, value in JWK.items() if name != "kid"}
    other = dict(OPS, key=jwk_of(KINDS["P-384"][0], kid="kid-2"))
    with pytest.raises(ProvisionerError, match='with this key under the name "ops"'):
        find(Authority(other), provisioner_key=no_kid, provisioner="ops")


@pytest.mark.parametrize("options", [{"provisioner_password": PASSWORD}, {"provisioner_key": {**JWK, "kid": ""}}])
def test_a_name_that_the_authority_does_not_have(options):
    with pytest.raises(ProvisionerError) as caught:
        find(provisioner="opps", **options)
    assert str(caught.value) == (
        'The CA at https://ca.internal has no provisioner "opps"; it has: "ops" (JWK), "acme" (ACME). '
        "Check the option provisioner (from the task)."
    )


@pytest.mark.parametrize("published", [None, "", ApiError("no", 404)])
def test_a_key_that_the_authority_does_not_publish(published):
    with pytest.raises(
        ProvisionerError,
        match="hands out no encrypted key .*Give the key itself: provisioner_key or provisioner_key_path",
    ):
        find(Authority(OPS, published=published), provisioner="ops", provisioner_password=PASSWORD)


def test_an_authority_that_fails_is_not_taken_for_one_without_a_key():
    with pytest.raises(ApiError):
        find(Authority(OPS, published=ApiError("no", 500)), provisioner="ops", provisioner_password=PASSWORD)


def test_a_provisioner_that_has_no_key():
    with pytest.raises(ProvisionerError, match='The provisioner "acme" is of type ACME and has no JWK'):
        find(provisioner="acme", provisioner_password=PASSWORD)


# what is missing or contradicts itself


def test_a_key_and_what_opens_it():
    with pytest.raises(OptionError, match="provisioner is required where only its password is given"):
        find(provisioner_password=PASSWORD)
    with pytest.raises(OptionError, match="is encrypted: give provisioner_password or provisioner_password_file"):
        find(provisioner="ops", provisioner_key=jwe_of(JWK))


@pytest.mark.parametrize(
    "one, two", [("provisioner_key", "provisioner_key_path"), ("provisioner_password", "provisioner_password_file")]
)
def test_two_of_a_kind_are_refused(one, two):
    with pytest.raises(
        OptionError, match=r"%s \(from the task\) and %s \(from the task\) exclude each other" % (one, two)
    ):
        find(**{one: "x", two: "y"})


def test_without_the_library_the_sentence_names_it(monkeypatch):
    monkeypatch.setattr(jwk, "jwt", None)
    with pytest.raises(_libraries.LibraryMissing, match="The Python library PyJWT is missing on the controller"):
        find(provisioner="ops", provisioner_key=JWK)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"provisioner_key": "x", "provisioner_key_path": "/x"}, "provisioner_key .* and provisioner_key_path"),
        ({"provisioner_password": "x", "provisioner_password_file": "/x"}, "provisioner_password .* and provisioner_p"),
        ({"token_lifetime": "0s"}, "token_lifetime: 0 leaves no time"),
        ({"token_lifetime": "168h1s"}, "token_lifetime: 168h1s is longer than seven days"),
        ({"token_lifetime": "8d"}, "token_lifetime: 192h is longer than seven days"),
    ],
)
def test_what_the_options_alone_show_is_checked_at_once(options, text):
    settings = _settings.Settings([_settings.Source(lambda name: "the task", options.get, options.__contains__)], None)
    with pytest.raises(OptionError, match=text):
        jwk.JWK.check(settings)
    jwk.JWK.check(_settings.Settings([], None))


@pytest.mark.parametrize("text, seconds", [(None, 300), ("90s", 90), ("1h", 3600)])
def test_the_life_of_a_token(text, seconds):
    settings = _settings.Settings(
        [_settings.Source(str, {"token_lifetime": text}.get, lambda name: name == "token_lifetime")], None
    )
    assert jwk.lifetime(settings) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text, warned", [(None, False), ("1h", False), ("61m", True), ("7d", True)])
def test_a_long_life_of_a_token_is_warned_of(text, warned):
    options = {"token_lifetime": text, "token": "x"}
    settings = _settings.Settings([_settings.Source(lambda name: "the task", options.get, options.__contains__)], None)
    found = jwk.JWK.warnings(settings)
    assert len(found) == warned and all("(from the task)" in one for one in found)


@pytest.mark.parametrize("text", ["0s", "soon", "-1m"])
def test_a_token_without_a_life(text):
    settings = _settings.Settings(
        [_settings.Source(str, {"token_lifetime": text}.get, lambda name: name == "token_lifetime")], None
    )
    with pytest.raises(OptionError, match="token_lifetime"):
        jwk.lifetime(settings)


# tokens


def test_tokens_are_for_the_authority_as_it_spells_its_name():
    """It compares each letter, and its certificate shows how it spells."""
    authority = Authority(OPS)
    authority.names = lambda: ["other.internal", "CA.Internal"]
    source = _settings.Source(lambda name: "the task", {"provisioner_key": JWK}.get, lambda name: True)
    connection = connections.Connection(["https://ca.INTERNAL:9000"], [])
    credential = jwk.JWK(_settings.Settings([source], None), connection, lambda: authority)
    token = credential.mint(Purpose("sign", "a.example", ("a.example",)))(False)
    hosts = ["ca.INTERNAL", "ca.internal", "CA.Internal"]
    assert verified(token)[1]["aud"] == ["https://%s:9000/1.0/sign" % host for host in hosts]


def test_the_claims_of_a_token_are_these_and_no_others(monkeypatch):
    now = durations.now().replace(microsecond=999999)
    monkeypatch.setattr(durations, "now", lambda: now)
    provisioner = find(provisioner="ops", provisioner_key=JWK)
    audiences = ["https://a/1.0/sign", "https://b/1.0/sign"]
    token = mint(
        provisioner, subject="CN", sans=["a.example", "10.0.0.1", "a.example"], audiences=audiences, binding="AbC_-9"
    )
    header, claims = verified(token)
    assert header == {"alg": "ES256", "kid": "kid-1", "typ": "JWT"}
    assert len(claims.pop("jti")) == 64
    begin = int(now.timestamp())
    assert claims == {
        "iss": "ops",
        "sub": "CN",
        "aud": audiences,
        "sans": ["a.example", "10.0.0.1"],
        "cnf": {"x5rt#S256": "AbC_-9"},
        "nbf": begin - 60,
        "exp": begin + 300,
    }


def test_no_two_tokens_are_one():
    provisioner = find(provisioner="ops", provisioner_key=JWK)
    assert len({verified(mint(provisioner))[1]["jti"] for _turn in range(50)}) == 50


def test_a_token_that_binds_nothing_or_revokes():
    provisioner = find(provisioner="ops", provisioner_key=JWK)
    assert "cnf" not in verified(mint(provisioner))[1]
    assert not {"sans", "cnf"} & set(verified(mint(provisioner, name="revoke", subject="123"))[1])


# secrets


def test_a_provisioner_shows_nothing_of_its_key():
    provisioner = find(provisioner="ops", provisioner_key=JWK)
    assert JWK["d"] not in repr(provisioner) + str(provisioner)
    assert "ops" not in repr(provisioner)


@pytest.mark.parametrize("value", [value for _label, value in UNUSABLE], ids=[label for label, _value in UNUSABLE])
def test_no_message_quotes_a_secret(value):
    with pytest.raises((OptionError, ProvisionerError)) as caught:
        find(provisioner="ops", provisioner_key=value, provisioner_password=secrets_of.CANARY)
    text = str(caught.value)
    assert text.startswith(
        ("provisioner_key (from the task)", "The provisioner password, provisioner_password (from the task), ")
    )
    assert not [secret for secret in (secrets_of.CANARY, PASSWORD, JWK["d"], "canary") if secret in text]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("rounds", [1000001, 10**30, 0, -1])
def test_rounds_without_limit_are_refused(rounds):
    begin = durations.now()
    with pytest.raises(ProvisionerError, match="asks for %d rounds of PBKDF2; more than 1000000 are refused" % rounds):
        find(
            provisioner="ops",
            provisioner_key=secrets_of.with_header(jwe_of(JWK), p2c=rounds),
            provisioner_password=PASSWORD,
        )
    assert durations.now() - begin < timedelta(seconds=1)


def test_rounds_without_end_are_refused():
    with pytest.raises(ProvisionerError):
        find(
            provisioner="ops",
            provisioner_key=secrets_of.with_header(jwe_of(JWK), p2c=float("inf")),
            provisioner_password=PASSWORD,
        )


def test_a_content_key_of_another_size_does_not_open():
    smaller = secrets_of.with_header(jwe_of(JWK, content="A256GCM"), enc="A128GCM")
    with pytest.raises(ProvisionerError, match="does not open provisioner_key"):
        find(provisioner="ops", provisioner_key=smaller, provisioner_password=PASSWORD)


def test_a_tampered_key_does_not_open():
    parts = jwe_of(JWK).split(".")
    for index in (1, 2, 3, 4):
        bad = list(parts)
        bad[index] = ("A" if bad[index][0] != "A" else "B") + bad[index][1:]
        with pytest.raises(ProvisionerError, match="does not open provisioner_key"):
            find(provisioner="ops", provisioner_key=".".join(bad), provisioner_password=PASSWORD)

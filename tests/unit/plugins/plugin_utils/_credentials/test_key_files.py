# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A key in every form that people keep it in: opened, or refused with a sentence that says what is needed."""

from __future__ import annotations

import json
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError, ProvisionerError
from ansible_collections.privatepki.stepca.plugins.plugin_utils import _settings
from ansible_collections.privatepki.stepca.plugins.plugin_utils._credentials import key_files
from ansible_collections.privatepki.stepca.tests.unit.plugins.secrets_of import (
    CANARY,
    PASSWORD,
    jwe_json_of,
    jwe_of,
    jwk_of,
)

KEYS = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}
KEY = KEYS["P-256"]
JWK = jwk_of(KEY, kid="kid-1")
PKCS8 = serialization.PrivateFormat.PKCS8
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL
OPENSSH = serialization.PrivateFormat.OpenSSH
WHERE = "provisioner_key (from the task)"
PASSWORD_FROM = "provisioner_password (from the task)"


def opened(value, password=None, read=key_files.private_jwk):
    """The private JWK of this value, both options given by the task."""
    options = {"provisioner_key": value, "provisioner_password": password}
    settings = _settings.Settings(
        [_settings.Source(lambda name: "the task", options.get, lambda name: options.get(name) is not None)], None
    )
    key = settings.find("provisioner_key")
    return read(settings.text_of(key), WHERE, settings, settings.find("provisioner_password"))


def refusal(value, password=None, error=ProvisionerError, **options):
    """The sentence about a value that is refused, which quotes nothing of it."""
    with pytest.raises(error) as caught:
        opened(value, password, **options)
    text = str(caught.value)
    assert text.startswith((WHERE, "The provisioner password, %s, " % PASSWORD_FROM))
    assert not [secret for secret in (CANARY, PASSWORD, JWK["d"], "canary") if secret in text]
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text


def pem_of(key, form=PKCS8, password=None):
    cipher = (
        serialization.BestAvailableEncryption(password.encode("utf-8")) if password else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, form, cipher).decode("ascii")


def public_pem_of(key, form=serialization.PublicFormat.SubjectPublicKeyInfo):
    encoding = serialization.Encoding.OpenSSH if form == serialization.PublicFormat.OpenSSH else None
    return key.public_key().public_bytes(encoding or serialization.Encoding.PEM, form).decode("ascii")


def certificate_of(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "canary")])
    now = durations.now()
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode("ascii")


def openssl(*words, given: str) -> str:
    done = subprocess.run(["openssl", *words], input=given, capture_output=True, text=True, check=True)
    return done.stdout


# PEM


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["plain", "encrypted"])
@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL], ids=["pkcs8", "traditional"])
@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_pem(kind, form, password):
    if kind == "Ed25519" and form == TRADITIONAL:
        form = PKCS8  # there is no other
    assert opened(pem_of(KEYS[kind], form, password), password) == jwk_of(KEYS[kind])


@pytest.mark.parametrize("cipher", ["-des3", "-aes128", "-aes256"])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_what_openssl_encrypted_the_old_way(kind, cipher):
    key = KEYS["RSA" if kind == "rsa" else "P-256"]
    more = ["-traditional"] if kind == "rsa" else []
    pem = openssl(kind, cipher, "-passout", "pass:" + CANARY, *more, given=pem_of(key, TRADITIONAL))
    assert "Proc-Type: 4,ENCRYPTED" in pem
    assert opened(pem, CANARY) == jwk_of(key)
    assert "does not open %s" % WHERE in refusal(pem, PASSWORD)


@pytest.mark.parametrize("way", [["-v2", "aes-256-cbc"], ["-scrypt"], ["-v1", "PBE-SHA1-3DES"]])
def test_what_openssl_encrypted_the_new_way(way):
    pem = openssl("pkcs8", "-topk8", *way, "-passout", "pass:" + CANARY, given=pem_of(KEY))
    assert opened(pem, CANARY) == jwk_of(KEY)
    assert "does not open %s" % WHERE in refusal(pem, PASSWORD)


def test_the_key_among_other_blocks():
    parameters = openssl("ecparam", "-name", "prime256v1", given="")
    pem = "Comment\n%s%s%s" % (certificate_of(KEY), parameters, pem_of(KEY, TRADITIONAL))
    assert opened(pem) == opened(pem.replace("\n", "\r\n")) == jwk_of(KEY)
    assert "holds 2 private keys: give the provisioner's alone" in refusal(pem + pem_of(KEYS["RSA"]))


def test_a_password_beside_a_key_without_protection_is_ignored():
    for value in (pem_of(KEY), pem_of(KEY, TRADITIONAL), pem_of(KEYS["RSA"], TRADITIONAL)):
        assert opened(value, "unused") == opened(value)


# JWE as JSON


@pytest.mark.parametrize("form", ["text", "indented", "mapping"])
@pytest.mark.parametrize("password", [PASSWORD, "second", "third"])
@pytest.mark.parametrize("shape", ["flattened", "general", "one recipient", "additional data"])
def test_a_jwe_as_json(shape, password, form):
    several = [PASSWORD, "second", "third"]
    made = {
        "flattened": lambda: jwe_json_of(JWK, [password]),
        "general": lambda: jwe_json_of(JWK, several),
        "one recipient": lambda: general_of(jwe_json_of(JWK, [password])),
        "additional data": lambda: jwe_json_of(JWK, several, aad=b"who wrote this"),
    }[shape]()
    assert ("recipients" in made) == (shape != "flattened")
    value = {"text": json.dumps(made), "indented": "\n%s\n" % json.dumps(made, indent=2), "mapping": made}[form]
    assert opened(value, password) == JWK


def general_of(flattened):
    """The same JWE with its only recipient in a list."""
    names = ("header", "encrypted_key")
    shared = {name: value for name, value in flattened.items() if name not in names}
    return dict(shared, recipients=[{name: flattened[name] for name in names if name in flattened}])


def test_the_compact_form_written_as_json():
    parts = jwe_of(JWK).split(".")
    value = dict(zip(("protected", "encrypted_key", "iv", "ciphertext", "tag"), parts, strict=True))
    assert opened(value, PASSWORD) == opened(general_of(value), PASSWORD) == opened(".".join(parts), PASSWORD) == JWK


def test_recipients_of_another_kind_are_passed_over():
    value = jwe_json_of(JWK, [PASSWORD, "second"])
    value["recipients"][0]["header"] = {"alg": "RSA-OAEP-256"}
    assert opened(value, "second") == JWK
    assert "does not open" in refusal(value, PASSWORD)


def test_what_protects_a_jwe_is_checked():
    value = jwe_json_of(JWK, [PASSWORD, "second"], aad=b"who wrote this")
    for name in ("aad", "iv", "ciphertext", "tag"):
        bad = dict(value, **{name: ("A" if value[name][0] != "A" else "B") + value[name][1:]})
        assert "does not open" in refusal(bad, PASSWORD)
    assert "does not open" in refusal({name: item for name, item in value.items() if name != "aad"}, PASSWORD)
    assert "does not open" in refusal(value, "wrong")


def test_a_jwe_without_a_protected_header():
    value = jwe_json_of(JWK, [PASSWORD], protect=False)
    assert "protected" not in value and opened(value, PASSWORD) == JWK
    assert "does not open" in refusal(dict(value, unprotected={"enc": "A128GCM"}), PASSWORD)


def test_no_header_overrules_the_protected_one():
    compact = dict(zip(("protected", "encrypted_key", "iv", "ciphertext", "tag"), jwe_of(JWK).split("."), strict=True))
    assert opened(dict(compact, header={"p2c": 1}, unprotected={"enc": "A128GCM"}), PASSWORD) == JWK


@pytest.mark.parametrize(
    "change",
    [
        {"protected": "canary"},
        {"protected": ["canary"]},
        {"protected": "W10"},
        {"iv": None},
        {"ciphertext": 7},
        {"tag": ["canary"]},
        {"aad": 7},
        {"recipients": "canary"},
        {"recipients": ["canary"]},
        {"recipients": [{"header": "canary"}]},
        {"recipients": [{"encrypted_key": "canary"}]},
        {"recipients": [{"header": {"alg": "dir"}, "encrypted_key": "canary"}]},
        {"unprotected": {"crit": ["canary"]}},
        {"unprotected": {"zip": "DEF"}},
        {"unprotected": ["canary"]},
    ],
    ids=str,
)
def test_a_jwe_that_step_does_not_write(change):
    assert "is a JWE of a kind that step does not write" in refusal(
        dict(jwe_json_of(JWK, [PASSWORD, "second"]), **change), PASSWORD
    )


def test_labour_is_limited():
    value = jwe_json_of(JWK, [PASSWORD, "second"])
    many = dict(value, recipients=value["recipients"][:1] * 11)
    assert "has 11 recipients; more than 10 are refused" in refusal(many, PASSWORD)
    value["recipients"][1]["header"]["p2c"] = 1000001
    assert "asks for 1000001 rounds of PBKDF2; more than 1000000 are refused" in refusal(value, PASSWORD)


# what is refused


@pytest.mark.parametrize(
    "value",
    [
        jwe_json_of(JWK, [PASSWORD]),
        jwe_json_of(JWK, [PASSWORD, "second"]),
        pem_of(KEY, PKCS8, PASSWORD),
        pem_of(KEY, TRADITIONAL, PASSWORD),
        pem_of(KEYS["RSA"], TRADITIONAL, PASSWORD),
    ],
    ids=["flattened", "general", "pkcs8", "sec1", "pkcs1"],
)
def test_an_encrypted_key_needs_its_password(value):
    assert refusal(value, error=OptionError) == (
        WHERE + " is encrypted: give provisioner_password or provisioner_password_file to open it."
    )
    assert refusal(value, CANARY).startswith("The provisioner password, %s, does not open %s." % (PASSWORD_FROM, WHERE))


CUT = pem_of(KEY)[:-30]
REFUSED = [
    ("public", public_pem_of(KEY), "is a public key: it cannot sign. Give the private key"),
    (
        "public PKCS#1",
        public_pem_of(KEYS["RSA"], serialization.PublicFormat.PKCS1),
        "is a public key: it cannot sign. Give the private key",
    ),
    ("public OpenSSH", public_pem_of(KEY, serialization.PublicFormat.OpenSSH) + " canary", "is a public key"),
    ("public JWK", {name: value for name, value in JWK.items() if name != "d"}, "is a public key: it cannot sign"),
    ("certificate", certificate_of(KEY), "is a certificate: it cannot sign. Give the provisioner's private key"),
    ("OpenSSH", pem_of(KEY, OPENSSH), "OpenSSH's own form, which is not understood: PEM is needed. `step crypto key"),
    ("cut", CUT, "is PEM that cannot be read: it is damaged or cut, or its line breaks were lost on the way"),
    ("escaped", pem_of(KEY).replace("\n", "\\n"), "is PEM that cannot be read"),
    ("damaged", pem_of(KEY).replace("M", "N"), "is PEM that cannot be read"),
    ("another label", "-----BEGIN canary-----\nQUJD\n-----END canary-----", "a block of PRIVATE KEY, ENCRYPTED PRIVAT"),
    ("agreement", pem_of(x25519.X25519PrivateKey.generate()), "an EC, RSA or Ed25519 key is needed"),
    ("Ed448", pem_of(ed448.Ed448PrivateKey.generate()), "an EC, RSA or Ed25519 key is needed"),
    ("unknown cipher", pem_of(KEY, TRADITIONAL, PASSWORD).replace("AES-256-CBC", "CAMELLIA-256-CBC"), "openssl pkcs8"),
    (
        "garbage",
        "canary",
        "is no key that can be read: a JWK (JSON with kty), a JWE that a password opens, or a private",
    ),
    ("binary", "\x00\ufffdcanary", "is no key that can be read"),
    ("deep", "[" * 100000, "is no key that can be read"),
    ("kty of no type", dict(JWK, kty=["EC"]), "is no key that can be read"),
]


@pytest.mark.parametrize("value, words", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_key_is_called_by_its_name(value, words):
    assert words in refusal(value, PASSWORD)


@pytest.mark.parametrize("value", [pem_of(KEY), pem_of(KEY, PKCS8, PASSWORD)], ids=["plain", "encrypted"])
def test_no_pem_is_taken_from_a_ca(value):
    """It may ask for any number of rounds, and step-ca publishes none."""
    assert "is no key that can be read" in refusal(value, PASSWORD, read=key_files.from_jose)


def test_an_empty_password_file_opens_nothing():
    settings = _settings.Settings([_settings.Source(str, {"provisioner_password_file": "/x"}.get, bool)], lambda _: b"")
    password = settings.find("provisioner_password_file")
    for value in (pem_of(KEY, PKCS8, PASSWORD), jwe_of(JWK)):
        with pytest.raises(ProvisionerError, match="The provisioner password, .*, does not open"):
            key_files.private_jwk(value, WHERE, settings, password)


def test_a_password_that_is_no_text():
    """The environment's bytes arrive as surrogates; they are what the key was encrypted with."""
    raw = b"caf\xe9"
    cipher = serialization.BestAvailableEncryption(raw)
    pem = KEY.private_bytes(serialization.Encoding.PEM, PKCS8, cipher).decode("ascii")
    assert opened(pem, raw.decode("utf-8", "surrogateescape")) == jwk_of(KEY)


# thumbprints


def test_the_thumbprint_is_that_of_the_standard():
    # RFC 7638, 3.1
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
        "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    assert (
        key_files.thumbprint({"kty": "RSA", "e": "AQAB", "n": modulus, "alg": "RS256"})
        == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    )
    nothing = [{"kty": "oct"}, {}, {"kty": "EC", "x": 1}, {"kty": ["EC"]}]
    assert [key_files.thumbprint(one) for one in nothing] == [""] * 4


# a new one


def test_a_new_key_is_one_that_others_open():
    """By jwcrypto, which has no line of code in common with ours; and by ours."""
    jwe, jwk = pytest.importorskip("jwcrypto.jwe"), pytest.importorskip("jwcrypto.jwk")
    public, sealed = key_files.make(PASSWORD)
    message = jwe.JWE()
    message.allowed_algs = ["PBES2-HS256+A128KW", "A256GCM"]
    message.deserialize(sealed, jwk.JWK.from_password(PASSWORD))
    private = json.loads(message.payload)
    assert private == dict(public, d=private["d"]) == opened(sealed, PASSWORD)
    key = jwk.JWK(**private)
    assert key.export_public(as_dict=True) == public
    assert (public["kid"], public["crv"], public["alg"]) == (key.thumbprint(), "P-256", "ES256")
    assert public != key_files.make(PASSWORD)[0]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Private keys: every type can be made, written, read again and told from the others."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, x25519

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import keys
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
FORMATS = serialization.PrivateFormat


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_a_key_of_each_type_is_made_written_and_read_again(key_type):
    key = keys.generate(key_type)
    text = keys.to_pem(key)
    assert text.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = keys.load(text, "/k")
    assert keys.type_of(again) == keys.type_of(again.public_key()) == key_type
    assert keys.fingerprint(again) == keys.fingerprint(key) == keys.fingerprint(key.public_key())


def test_the_types_are_those_of_the_documentation():
    assert keys.KEY_TYPES == making.KEY_TYPES


def test_no_key_is_made_twice():
    assert keys.fingerprint(keys.generate("ec-p256")) != keys.fingerprint(keys.generate("ec-p256"))


def test_a_new_rsa_key_has_the_usual_exponent():
    assert keys.generate("rsa-2048").public_key().public_numbers().e == 65537


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: ec.generate_private_key(ec.SECP256K1()), "ec-secp256k1"),
        (x25519.X25519PrivateKey.generate, "X25519PrivateKey"),
        (lambda: dsa.generate_private_key(1024), "DSAPrivateKey"),
    ],
    ids=["other curve", "x25519", "dsa"],
)
def test_a_type_that_cannot_be_asked_for_has_a_name_too(make, name):
    assert keys.type_of(make()) == name


@pytest.mark.parametrize(
    "key_type, form",
    [
        ("ec-p256", FORMATS.TraditionalOpenSSL),
        ("rsa-2048", FORMATS.TraditionalOpenSSL),
        ("ec-p384", FORMATS.PKCS8),
        ("ed25519", FORMATS.PKCS8),
    ],
)
def test_keys_that_other_tools_wrote_are_read(key_type, form):
    key = making.key(key_type)
    text = key.private_bytes(PEM, form, serialization.NoEncryption())
    assert keys.fingerprint(keys.load(text, "/k")) == making.key_sha256(key)


@pytest.mark.parametrize("form", [FORMATS.PKCS8, FORMATS.TraditionalOpenSSL], ids=["pkcs8", "traditional"])
def test_a_key_with_a_password_is_somebodys_and_not_replaced(form):
    text = making.key().private_bytes(PEM, form, serialization.BestAvailableEncryption(b"geheim"))
    with pytest.raises(HostFileError) as caught:
        keys.load(text, "/etc/pki/web.key")
    assert "The private key /etc/pki/web.key is encrypted with a password" in str(caught.value)
    assert "move it away" in str(caught.value)


@making.table(
    "content",
    {
        "empty": b"",
        "blank": b"\n",
        "text": b"hello",
        "binary": b"\xff\xfe\x00",
        "not ASN.1": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "cut short": making.key_pem(making.key())[:100],
        "DER": making.key().private_bytes(DER, FORMATS.PKCS8, serialization.NoEncryption()),
        "certificate": making.pem(making.lab().root),
    },
)
def test_what_is_no_key_is_none(content):
    assert keys.load(content, "/k") is None


def test_the_fingerprint_is_the_sha256_of_the_public_key():
    assert keys.fingerprint(making.key()) == making.key_sha256(making.key())
    assert keys.fingerprint(making.lab().leaf().public_key()) == making.key_sha256(making.key())
    assert keys.fingerprint(making.key(number=1)) != making.key_sha256(making.key())

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The PKCS#12 file: OpenSSL and Java read what we make, and whatever differs from it is seen."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import derived
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making

PASSWORD = "geheim-4711"
KEY_TYPES = ("ec-p256", "ec-p384", "ec-p521", "rsa-2048", "ed25519")
ENCRYPTIONS = ("modern", "compatible")
PBES = pkcs12.PBES
LAB = making.lab()
KEY, OTHER = making.key("ec-p256", 0), making.key("ec-p256", 1)
WEB = making.web("ec-p256")
THREE = (LAB.intermediate, LAB.root)


def problem(content, pair):
    """What is wrong with the file, which never names the password."""
    text = derived.problem("pkcs12_path", "/etc/pki/file", content, pair)
    assert PASSWORD not in text
    return text


def lock(algorithm=PBES.PBESv2SHA256AndAES256CBC, digest=hashes.SHA256, password=PASSWORD):
    """An encryption of a PKCS#12 file."""
    builder = serialization.PrivateFormat.PKCS12.encryption_builder().key_cert_algorithm(algorithm).hmac_hash(digest())
    return builder.build(password.encode("utf-8"))


def made_by_others(key=KEY, first=None, others=(LAB.intermediate,), name=b"web.example.com", locked=None):
    """A PKCS#12 file of any content."""
    return pkcs12.serialize_key_and_certificates(name, key, first or WEB, others, locked or lock())


@making.table(
    "content, words",
    {
        "missing": (None, "is missing"),
        "empty": (b"", "is empty"),
        "garbage": (b"hello", "is damaged or does not open with the password asked for"),
        "PEM": (making.pem(WEB), "is damaged or does not open with the password asked for"),
        "cut short": (made_by_others()[:-5], "is damaged or does not open with the password asked for"),
        "another password": (made_by_others(locked=lock(password="x1y2")), "does not open with the password asked for"),
        "no password": (made_by_others(locked=serialization.NoEncryption()), "does not open with the password asked"),
        "another key": (
            made_by_others(OTHER, LAB.leaf(private=OTHER), name=b"web.example.com"),
            "holds another key",
        ),
        "no key": (made_by_others(key=None), "holds no key"),
        "another leaf": (
            made_by_others(first=making.web("ec-p256", end=making.NOW + 2 * making.DAY)),
            "lacks CN=web.example.com",
        ),
        "no intermediate": (made_by_others(others=()), "lacks CN=Lab Intermediate"),
        "one more": (made_by_others(others=THREE), "holds CN=Lab Root"),
        "another name": (made_by_others(name=b"tomcat"), "has the friendly name 'tomcat', not 'web.example.com'"),
        "no name": (made_by_others(name=None), "has the friendly name '', not 'web.example.com'"),
        "old encryption": (
            made_by_others(locked=lock(PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1)),
            "is encrypted as compatible, not as modern",
        ),
        "mixed encryption": (
            made_by_others(locked=lock(PBES.PBESv1SHA1And3KeyTripleDESCBC)),
            "is encrypted in another way, not as modern",
        ),
        "another digest": (made_by_others(locked=lock(digest=hashes.SHA512)), "in another way, not as modern"),
        "made by others, alike": (made_by_others(), None),
    },
)
def test_other_content_of_a_pkcs12_file_is_seen(content, words):
    text = problem(content, making.pair())
    assert text.startswith("the PKCS#12 file /etc/pki/file ") and words in text if words else text == ""


@making.table(
    "change, words",
    {
        "password": ({"password": "x1y2"}, "does not open with the password asked for"),
        "name": ({"name": "tomcat"}, "has the friendly name 'web.example.com', not 'tomcat'"),
        "encryption": ({"encryption": "compatible"}, "is encrypted as modern, not as compatible"),
    },
)
def test_other_options_are_seen(change, words):
    assert words in problem(derived.make("pkcs12_path", making.pair()), making.pair(**change))


def test_the_order_of_intermediates_in_pkcs12_does_not_matter():
    assert problem(made_by_others(others=THREE[::-1]), making.pair(length=3)) == ""


@making.table(
    "common_name, names, wanted, name",
    {
        "asked for": ("web", ["dns:web"], "Schlüssel €", "Schlüssel €"),
        "beyond a BMPString": ("web", ["dns:web"], "a🔑b\0c\udcff", "a\ufffdb\ufffdc\ufffd"),
        "common name": ("Web", ["dns:web"], None, "Web"),
        "empty counts as not given": ("Web", ["dns:web"], "", "Web"),
        "first name": ("", ["ip:10.0.0.1", "dns:web"], None, "10.0.0.1"),
        "nameless": ("", [], None, None),
    },
)
def test_the_friendly_name(common_name, names, wanted, name):
    pair = making.pair(name=wanted, chain=[LAB.leaf(names, common_name, private=KEY)])
    content = derived.make("pkcs12_path", pair)
    found = pkcs12.load_pkcs12(content, PASSWORD.encode()).cert.friendly_name
    assert (found or b"").decode("utf-8") == (name or "")
    assert problem(content, pair) == ""


def test_no_rubbish_in_place_of_pkcs12_is_a_traceback():
    dice = random.Random(1)
    for encryption in ENCRYPTIONS:
        pair = making.pair(encryption=encryption)
        content = derived.make("pkcs12_path", pair)
        for _round in range(150):
            spoilt = bytearray(content)
            spoilt[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
            problem(bytes(spoilt), pair)
            assert problem(content[: dice.randrange(len(content))], pair)
            assert problem(bytes(dice.choices(range(256), k=dice.randrange(200))), pair)


def program(name):
    """A program that reads files, or the reason why this test cannot run."""
    if not shutil.which(name):
        pytest.skip("not applicable: no %s here to read PKCS#12 files with" % name)
    return name


def output_of(*command):
    """All that a program says; the password stands in its environment."""
    environment = dict(os.environ, WORD=PASSWORD, LC_ALL="C")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


CIPHERS = {
    "modern": r"PBES2, PBKDF2, AES-256-CBC, Iteration \d+, PRF hmacWithSHA256",
    "compatible": r"pbeWithSHA1And3-KeyTripleDES-CBC, Iteration \d+",
}


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_reads_pkcs12(tmp_path, key_type, encryption):
    openssl = program("openssl")
    path = tmp_path / "web.p12"
    path.write_bytes(derived.make("pkcs12_path", making.pair(key_type, 3, encryption)))
    said = output_of(openssl, "pkcs12", "-in", str(path), "-passin", "env:WORD", "-info", "-nodes")
    assert len(re.findall(CIPHERS[encryption], said)) == 2  # certificates, key
    assert re.search("MAC: %s," % {"modern": "sha256", "compatible": "sha1"}[encryption], said)
    assert "friendlyName: web.example.com" in said
    pem = re.search("-----BEGIN PRIVATE KEY-----.*-----END PRIVATE KEY-----\n", said, re.DOTALL).group().encode("ascii")
    assert making.key_sha256(serialization.load_pem_private_key(pem, None)) == making.key_sha256(
        making.key(key_type, 0)
    )
    blocks = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", said, re.DOTALL)
    assert "".join(blocks).encode("ascii") == making.pem(making.web(key_type), LAB.intermediate, LAB.root)


def test_a_plain_key_in_an_encrypted_file_is_seen(tmp_path):
    openssl = program("openssl")
    (tmp_path / "all.pem").write_bytes(derived.make("combined_path", making.pair()))
    export = [openssl, "pkcs12", "-export", "-in", str(tmp_path / "all.pem"), "-out", str(tmp_path / "web.p12")]
    output_of(*export, "-name", "web.example.com", "-passout", "env:WORD", "-certpbe", "AES-256-CBC", "-keypbe", "NONE")
    text = problem((tmp_path / "web.p12").read_bytes(), making.pair())
    assert text.endswith("is encrypted in another way, not as modern")


@pytest.mark.parametrize("key_type, encryption", [("ec-p256", "modern"), ("rsa-2048", "compatible")])
def test_java_reads_pkcs12_and_uses_the_key(tmp_path, key_type, encryption):
    keytool = program("keytool")
    path = tmp_path / "web.p12"
    path.write_bytes(derived.make("pkcs12_path", making.pair(key_type, 3, encryption)))
    store = ["-storetype", "PKCS12", "-keystore", str(path), "-storepass:env", "WORD"]
    said = output_of(keytool, "-list", "-v", *store)
    assert "Alias name: web.example.com" in said
    assert "Entry type: PrivateKeyEntry" in said
    assert "Certificate chain length: 3" in said
    assert making.sha256(making.web(key_type)) in said.replace(":", "").lower()
    output_of(keytool, "-certreq", "-alias", "web.example.com", "-file", str(tmp_path / "web.csr"), *store)
    request = x509.load_pem_x509_csr((tmp_path / "web.csr").read_bytes())
    assert request.is_signature_valid
    assert making.key_sha256(making.key(key_type, 0)) == making.key_sha256(
        SimpleNamespace(public_key=request.public_key)
    )


def old_library(monkeypatch, algorithm=PBES.PBESv1SHA1And3KeyTripleDESCBC, digest=hashes.SHA1):
    """Take away what cryptography has since version 36 and 38; what it made before is this encryption."""
    choices = SimpleNamespace(
        PrivateFormat=object, BestAvailableEncryption=lambda secret: lock(algorithm, digest, secret.decode("utf-8"))
    )
    functions = SimpleNamespace(
        serialize_key_and_certificates=pkcs12.serialize_key_and_certificates,
        load_key_and_certificates=pkcs12.load_key_and_certificates,
    )
    monkeypatch.setattr(derived, "serialization", choices)
    monkeypatch.setattr(derived, "pkcs12", functions)
    monkeypatch.setattr(derived.library, "VERSION", "3.3.2")
    return functions


def test_an_old_library_makes_compatible_files(monkeypatch):
    old_library(monkeypatch)
    pair = making.pair(length=3, encryption="compatible")
    content = derived.make("pkcs12_path", pair)
    assert problem(content, pair) == ""
    pair.pkcs12.friendly_name = "which it cannot read"
    assert problem(content, pair) == ""
    pair.chain = pair.chain[:2]
    assert "holds CN=Lab Root" in problem(content, pair)
    assert "lacks CN=web.example.com" in problem(
        pkcs12.serialize_key_and_certificates(None, KEY, None, THREE, lock()), pair
    )


@making.table(
    "digest, encryption, words",
    {
        "OpenSSL 1.1.1": (hashes.SHA1, "modern", "which can make only compatible. Install a newer one"),
        "OpenSSL 3": (hashes.SHA256, "compatible", "which can make neither modern nor compatible files. Install"),
    },
)
def test_an_old_library_says_what_it_cannot_make(monkeypatch, digest, encryption, words):
    old_library(monkeypatch, digest=digest)
    with pytest.raises(HostFileError) as caught:
        derived.make("pkcs12_path", making.pair(encryption=encryption, chain=[]))
    begin = "pkcs12_encryption: %s needs cryptography >= 38 on the host; found is 3.3.2, " % encryption
    assert str(caught.value).startswith(begin + words)


def test_a_key_that_an_old_library_refuses_is_named(monkeypatch):
    def refuse(*_arguments):
        raise TypeError("Key must be RSA, DSA, or EllipticCurve private key.")

    old_library(monkeypatch).serialize_key_and_certificates = refuse
    with pytest.raises(HostFileError) as caught:
        derived.make("pkcs12_path", making.pair("ed25519", encryption="compatible"))
    assert str(caught.value) == (
        "pkcs12_path: cryptography 3.3.2 on this host cannot make a PKCS#12 file (compatible) of a key of type ed25519: "
        "Key must be RSA, DSA, or EllipticCurve private key. Install cryptography >= 38, or set "
        "ansible_python_interpreter to a Python that has it."
    )


def test_whether_a_file_can_be_made_is_known_before_there_is_a_certificate():
    content = derived.make("pkcs12_path", making.pair(chain=[]))
    assert "lacks CN=web.example.com" in problem(content, making.pair())

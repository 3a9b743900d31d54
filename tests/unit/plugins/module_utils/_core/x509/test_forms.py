# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What lies in a file that should hold a certificate, a key or a password: other encodings, other forms."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

from ansible_collections.privatepki.stepca.plugins.module_utils._core.x509 import certificates, forms, keys
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

CA = pki.Authority()
KEY = pki.new_key()
LEAF = CA.leaf(KEY.public_key(), ["a.example"])
DER = LEAF.public_bytes(serialization.Encoding.DER)
PKCS7 = pkcs7.serialize_certificates([CA.intermediate, LEAF], serialization.Encoding.DER)
PKCS12 = pkcs12.serialize_key_and_certificates(b"x", KEY, LEAF, None, serialization.BestAvailableEncryption(b"x"))
MARKED = ["utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("text", ["secret", "", "p\u00e4ssw\u00f6rt \U0001f511\n"])
def test_a_text_loses_the_mark_of_an_editor(encoding, text):
    assert forms.plain(text.encode(encoding)) == text.encode("utf-8")


@pytest.mark.parametrize("mark, encoding", [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_either_order_of_bytes(mark, encoding):
    assert forms.plain(mark + "secret".encode(encoding)) == b"secret"


@pytest.mark.parametrize("content", [b"", b"secret", b"\xff", b"\xff\xfeodd", b"\xef\xbb\xbf\xff", DER])
def test_what_is_no_marked_text_stays_as_it_is(content):
    assert forms.plain(content) == content


@pytest.mark.parametrize(
    "content, words",
    [
        (DER, "DER, not PEM"),
        (PKCS7, "PKCS#7 .p7b. in DER: `openssl pkcs7 -inform DER"),
        (pkcs7.serialize_certificates([LEAF], serialization.Encoding.PEM), "PKCS#7 .p7b.: `openssl pkcs7"),
        (PKCS12, "PKCS#12 .p12, pfx."),
        (pki.key_pem(KEY), "a private key"),
        (pki.key_pem(KEY).decode().encode("utf-16"), "a private key, in UTF-16: write it as UTF-8"),
        (pki.key_pem(KEY, b"x"), "a private key"),
        (pki.request_pem(KEY, ["a.example"]).encode(), "a certificate request, which no CA has signed"),
        (b"-----BEGIN TRUSTED CERTIFICATE-----\n", "OpenSSL's own form"),
        (b"-----BEGIN PGP MESSAGE-----\n", "PEM of another kind .PGP MESSAGE."),
        (b"\xfe\xed\xfe\xed\x00\x00\x00\x02", "a Java keystore"),
    ],
)
def test_what_is_no_pem_certificate_is_named(content, words):
    with pytest.raises(ValueError, match="^it holds no PEM certificate, but .*%s" % words):
        certificates.load(content)


@pytest.mark.parametrize("content", [b"", b"hello", b"0", b"\x30", b"\x30\x82", b"\x00" * 20, b"{}"])
def test_what_nobody_can_tell_has_no_name(content):
    assert forms.name_of(content) == ""


@pytest.mark.parametrize("encoding", MARKED)
def test_roots_may_be_written_by_any_editor(encoding):
    assert certificates.load(CA.root_pem.encode(encoding)) == [CA.root]


@pytest.mark.parametrize("tool", ["openssl"])
def test_pkcs7_of_another_tool(tmp_path, tool):
    (tmp_path / "chain.pem").write_text(pki.pem_of(LEAF, CA.intermediate), encoding="ascii")
    command = [tool, "crl2pkcs7", "-nocrl", "-certfile", tmp_path / "chain.pem", "-outform", "DER"]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    assert forms.is_pkcs7(content) and set(forms.load_pkcs7(content)) == {LEAF, CA.intermediate}


@pytest.mark.parametrize("load", [forms.load_pkcs7, certificates.load])
def test_a_fault_of_the_library_is_told_as_what_cannot_be_read(monkeypatch, load):
    """So versions before 35 call a point that is not on its curve."""

    def fail(*_told):
        raise InternalError("Unknown OpenSSL error", [])

    monkeypatch.setattr(forms.library.pkcs7(), "load_der_pkcs7_certificates", fail)
    monkeypatch.setattr(certificates.x509, "load_pem_x509_certificate", fail)
    with pytest.raises(ValueError, match="Unknown OpenSSL error"):
        load(PKCS7 if load is forms.load_pkcs7 else pki.pem_of(LEAF).encode())


def test_a_key_over_which_the_library_stumbles_is_none(monkeypatch):
    def fail(*_told, **_more):
        raise InternalError("Unknown OpenSSL error", [])

    monkeypatch.setattr(keys.serialization, "load_pem_private_key", fail)
    key, problem = keys.understand(pki.key_pem(KEY), "/k")
    assert key is None and "cannot be read as one: it holds one of a kind that cryptography " in problem


@pytest.mark.parametrize("content", [b"", b"0", PKCS7[:-20], b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n"])
def test_pkcs7_that_cannot_be_read(content):
    with pytest.raises(ValueError):
        forms.load_pkcs7(content)


def test_certificates_without_order_become_a_chain():
    for listed in itertools.permutations([CA.intermediate, CA.root, LEAF]):
        assert forms.ordered(list(listed)) == [LEAF, CA.intermediate, CA.root]
    assert forms.ordered([CA.root]) == [CA.root] and forms.ordered([]) == []


# keys on a host


def test_a_key_with_a_mark_is_that_key():
    content = b"\xef\xbb\xbf" + pki.key_pem(KEY)
    assert keys.fingerprint(keys.understand(content, "/k")[0]) == keys.fingerprint(KEY)


@pytest.mark.parametrize(
    "content, words",
    [
        (pki.key_pem(KEY).decode().encode("utf-16"), "it holds a private key, in UTF-16"),
        (pki.pem_of(LEAF).encode(), "it holds a certificate in PEM"),
        (PKCS12, "it holds PKCS#12"),
        (b"hello", ""),
    ],
)
def test_what_is_no_key_is_named(content, words):
    key, problem = keys.understand(content, "/k")
    assert key is None and problem.startswith(
        "the private key /k cannot be read as one%s" % (": " + words if words else "")
    )

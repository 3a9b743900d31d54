# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The derived files: what we make fits, its dress does not matter, and whatever else differs from it is seen."""

from __future__ import annotations

import os
import re

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import derived
from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate.request import OUTPUTS, Pkcs12
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making

PASSWORD = "geheim-4711"
KEY_TYPES = ("ec-p256", "ec-p384", "ec-p521", "rsa-2048", "ed25519")
ENCRYPTIONS = ("modern", "compatible")
PEM_OPTIONS = tuple(OUTPUTS)[:4]
LAB = making.lab()
KEY, OTHER = making.key("ec-p256", 0), making.key("ec-p256", 1)
WEB = making.web("ec-p256")
STRANGER = making.Authority("Stranger", number=40)


def problem(option, content, pair):
    """What is wrong with the file, which never names the password."""
    text = derived.problem(option, "/etc/pki/file", content, pair)
    assert PASSWORD not in text
    return text


def test_what_holds_the_key_has_the_owner_and_mode_of_the_key():
    assert [option for option, kind in OUTPUTS.items() if kind == "key"] == ["combined_path", "pkcs12_path"]


def test_no_password_shows_in_a_text_of_its_holder():
    assert PASSWORD not in repr(making.pair()) + repr(making.pair().pkcs12)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_what_is_made_fits(key_type):
    for length in (1, 2, 3):
        for encryption in ENCRYPTIONS:
            pair = making.pair(key_type, length, encryption)
            for option in tuple(OUTPUTS):
                assert problem(option, derived.make(option, pair), pair) == "", (option, length, encryption)


def test_the_files_hold_what_their_names_say():
    pair = making.pair(length=3, roots=[LAB.root, STRANGER.root])
    contents = {option: derived.make(option, pair) for option in PEM_OPTIONS}
    assert contents == {
        "chain_path": making.pem(LAB.intermediate, LAB.root),
        "leaf_path": making.pem(WEB),
        "root_path": making.pem(LAB.root, STRANGER.root),
        "combined_path": making.key_pem(KEY) + making.pem(WEB, LAB.intermediate, LAB.root),
    }


def test_a_chain_without_intermediates_makes_an_empty_file():
    pair = making.pair(length=1)
    assert derived.make("chain_path", pair) == b""
    assert problem("chain_path", b"\n", pair) == ""
    assert problem("chain_path", None, pair) == "the chain file /etc/pki/file is missing"
    assert problem("chain_path", b"hello", pair) == "the chain file /etc/pki/file is no PEM file"
    assert "holds CN=Lab Intermediate (serial " in problem("chain_path", making.pem(LAB.intermediate), pair)


@pytest.mark.parametrize("option", PEM_OPTIONS)
@making.table(
    "change",
    {
        "line ends of Windows": lambda pem: pem.replace(b"\n", b"\r\n"),
        "lines at the end": lambda pem: pem + b"\n\n\r\n",
        "no end of line": lambda pem: pem.rstrip(),
        "comments": lambda pem: pem.replace(b"-----BEGIN", b"# ours, \xc3\xa4nd ----- so on\n-----BEGIN") + b"# end",
    },
)
def test_the_dress_of_a_pem_file_does_not_matter(option, change):
    pair = making.pair(length=3)
    assert problem(option, change(derived.make(option, pair)), pair) == ""


@pytest.mark.parametrize("option", PEM_OPTIONS)
@making.table(
    "change, words",
    {
        "missing": (lambda pem: None, "is missing"),
        "empty": (lambda pem: b"", "is empty"),
        "blank": (lambda pem: b" \n\n", "is empty"),
        "garbage": (lambda pem: b"\x00\xff\xfe hello", "is no PEM file"),
        "cut at its end": (lambda pem: pem[:-40], "is damaged"),
        "cut at its begin": (lambda pem: pem[10:], "is damaged"),
        "byte order mark": (lambda pem: b"\xef\xbb\xbf" + pem, "is damaged"),
        "two lines run together": (lambda pem: pem.rstrip() + making.pem(STRANGER.root), "is damaged"),
        "a letter that base64 lacks": (lambda pem: pem.replace(b"\nMII", b"\nM!I"), "cannot be read: "),
        "one more certificate": (lambda pem: pem + making.pem(STRANGER.root), "holds CN=Stranger Root (serial "),
        "another kind of block": (
            lambda pem: pem + b"-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n",
            "holds what does not belong there: DH PARAMETERS",
        ),
        "a key behind it": (
            lambda pem: pem + making.key_pem(OTHER),
            "holds what does not belong there: PRIVATE KEY",
        ),
    },
)
def test_a_pem_file_that_anybody_spoilt_is_seen(option, change, words):
    pair = making.pair(length=3)
    text = problem(option, change(derived.make(option, pair)), pair)
    name = {"chain_path": "chain", "leaf_path": "leaf", "root_path": "root", "combined_path": "combined"}[option]
    assert text.startswith("the %s file /etc/pki/file %s" % (name, words))


KEY_PEM, OTHER_PEM = making.key_pem(KEY), making.key_pem(OTHER)
SEC1 = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)
NO_KEY = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
MIDDLE, ROOT = making.pem(LAB.intermediate), making.pem(LAB.root)
LEAF, RENEWED = making.pem(WEB), making.pem(making.web("ec-p256", end=making.NOW + 2 * making.DAY))


def serial(certificate):
    return "(serial %d)" % certificate.serial_number


@making.table(
    "option, content, words",
    {
        "chain, other order": ("chain_path", ROOT + MIDDLE, "holds its certificates in another order"),
        "chain, one twice": ("chain_path", MIDDLE + ROOT + ROOT, "in another order, or one of them twice"),
        "chain, one missing": ("chain_path", MIDDLE, "lacks CN=Lab Root " + serial(LAB.root)),
        "chain, with leaf": ("chain_path", LEAF + MIDDLE + ROOT, "holds CN=web.example.com " + serial(WEB)),
        "chain, another": (
            "chain_path",
            MIDDLE + making.pem(STRANGER.root),
            "lacks CN=Lab Root %s and holds CN=Stranger Root %s" % (serial(LAB.root), serial(STRANGER.root)),
        ),
        "leaf, renewed": ("leaf_path", RENEWED, "lacks CN=web.example.com %s and holds CN=web" % serial(WEB)),
        "leaf, twice": ("leaf_path", LEAF + LEAF, "one of them twice"),
        "leaf, with chain": ("leaf_path", LEAF + MIDDLE, "holds CN=Lab Intermediate"),
        "root, another": ("root_path", making.pem(STRANGER.root), "lacks CN=Lab Root"),
        "root, other order": ("root_path", making.pem(LAB.intermediate, LAB.root), None),
        "root, one twice": ("root_path", ROOT + MIDDLE + ROOT, None),
        "combined, no key": ("combined_path", LEAF + MIDDLE + ROOT, "does not begin with the private key"),
        "combined, key at the end": (
            "combined_path",
            LEAF + MIDDLE + ROOT + KEY_PEM,
            "does not begin with the private key",
        ),
        "combined, key alone": ("combined_path", KEY_PEM, "lacks CN=web.example.com"),
        "combined, another key": ("combined_path", OTHER_PEM + LEAF + MIDDLE + ROOT, "holds another key"),
        "combined, no real key": ("combined_path", NO_KEY + LEAF + MIDDLE + ROOT, "holds a private key that cannot be"),
        "combined, key with password": (
            "combined_path",
            making.key_pem(KEY, b"x1y2") + LEAF + MIDDLE + ROOT,
            "holds a private key that is encrypted with a password",
        ),
        "combined, key in another form": ("combined_path", SEC1 + LEAF + MIDDLE + ROOT, None),
        "combined, other order": ("combined_path", KEY_PEM + MIDDLE + LEAF + ROOT, "in another order"),
        "combined, renewed leaf": ("combined_path", KEY_PEM + RENEWED + MIDDLE + ROOT, "lacks CN=web.example.com"),
    },
)
def test_other_content_of_a_pem_file_is_seen(option, content, words):
    text = problem(
        option, content, making.pair(length=3, roots=[LAB.root, LAB.intermediate] if words is None else [LAB.root])
    )
    assert words in text if words else text == ""


def password_file(folder, content, mode=0o600):
    """Options that name a password file on the host."""
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return Pkcs12(None, str(path), None, "modern")


def test_a_password_given_needs_no_file():
    assert derived.read_password(making.pair().pkcs12) == PASSWORD


@making.table(
    "content, mode, password",
    {
        "line": (b"geheim\n", 0o600, "geheim"),
        "line of Windows": (b"geheim\r\n \n", 0o400, "geheim"),
        "white space in front": (b" ge heim", 0o600, " ge heim"),
        "beyond ASCII": ("schlüssel\n".encode(), 0o600, "schlüssel"),
        "with a BOM": ("schlüssel\r\n".encode("utf-8-sig"), 0o600, "schlüssel"),
        "UTF-16": ("schlüssel\r\n".encode("utf-16"), 0o600, "schlüssel"),
    },
)
def test_a_password_is_read_from_its_file(tmp_path, content, mode, password):
    assert derived.read_password(password_file(tmp_path, content, mode)) == password


@making.table(
    "content, mode, words",
    {
        "empty": (b"", 0o600, "is empty"),
        "blank": (b"\n", 0o600, "is empty"),
        "not UTF-8": (b"x1y2\xff", 0o600, "a NUL, or text that is not UTF-8"),
        "UTF-16": ("x1y2".encode("utf-16-le"), 0o600, "a NUL, or text that is not UTF-8"),
        "open to all": (b"x1y2", 0o644, "mode must be 0600"),
        "open to the group": (b"x1y2", 0o640, "mode must be 0600"),
        "writable by others": (b"x1y2", 0o602, "mode must be 0600"),
    },
)
def test_a_password_file_that_will_not_do_is_refused(tmp_path, content, mode, words):
    wanted = password_file(tmp_path, content, mode)
    with pytest.raises(HostFileError) as caught:
        derived.read_password(wanted)
    text = str(caught.value)
    assert text.startswith("pkcs12_password_file: ") and wanted.password_file in text and words in text
    assert "x1y2" not in text


@pytest.mark.parametrize("password", ["x1y2\0", "x1y2\udcff"])
def test_a_password_that_no_library_takes_is_refused(password):
    with pytest.raises(HostFileError) as caught:
        derived.read_password(Pkcs12(password, None, None, "modern"))
    assert str(caught.value) == "pkcs12_password holds what no password can: a NUL, or text that is not UTF-8."


def test_a_password_file_must_be_there_and_a_file(tmp_path):
    for path, words in ((tmp_path / "nothing", "is missing. Make it first"), (tmp_path, "is no file, but a folder")):
        with pytest.raises(HostFileError, match=re.escape("%s %s" % (path, words))):
            derived.read_password(Pkcs12(None, str(path), None, "modern"))
    os.mkfifo(str(tmp_path / "pipe"), 0o600)
    with pytest.raises(HostFileError, match="is no file, but a pipe"):
        derived.read_password(Pkcs12(None, str(tmp_path / "pipe"), None, "modern"))

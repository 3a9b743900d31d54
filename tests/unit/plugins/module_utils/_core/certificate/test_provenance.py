# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What is provably of our making; all else is somebody's, and never destroyed."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import pkcs12

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import derived, provenance, record
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core import making
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import FOREIGN, lab, table

OURS, THEIRS = making.key(), making.key(number=77)
LEAF, MIDDLE, ROOT = lab().leaf(), lab().intermediate, lab().root
FORMER = making.Authority("Former", number=30)
KEY = making.key_pem(OURS)
CHAIN = making.pem(LEAF, MIDDLE)
PATHS = {
    "certificate_path": "site.crt",
    "key_path": "site.key",
    "chain_path": "chain",
    "leaf_path": "leaf",
    "root_path": "root",
    "combined_path": "all",
    "pkcs12_path": "p12",
}


def older(private, form=serialization.PrivateFormat.TraditionalOpenSSL):
    """A key in the form of its family."""
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def bundle(private, password="secret", leaf=LEAF):
    lock = serialization.BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(b"", private, leaf, [MIDDLE], lock)


@pytest.fixture(name="judge")
def fixture_judge(tmp_path):
    """Whether this content of the file of an option is ours. listed: whether a record lists the file; more: of Known."""

    def judge(option, content, listed=False, roots=(ROOT,), **more):
        kept = None
        if listed:
            named = {name: str(tmp_path / path) for name, path in PATHS.items()}
            asked = making.wanted(**dict(named, pkcs12_password="secret"))
            kept = json.loads(record.make(asked, None, [LEAF, MIDDLE], [ROOT], "2026-07-01T12:00:00Z"))
        told = dict({"kept": kept, "keys": {making.key_sha256(OURS)}}, **more)
        known = provenance.Known(list(roots), **told)
        return provenance.is_ours(option, str(tmp_path / PATHS.get(option, "x")), content, known)

    return judge


@pytest.mark.parametrize("option", [*PATHS, "record"])
@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n"])
def test_what_is_empty_is_nobodys(judge, option, content):
    assert judge(option, content)


# what we write


@table(
    "option, content",
    {
        "a certificate with its chain": ("certificate_path", CHAIN),
        "the same with line ends of Windows": ("certificate_path", CHAIN.replace(b"\n", b"\r\n")),
        "the same with no end of line": ("certificate_path", CHAIN.rstrip()),
        "a certificate that has ended": (
            "certificate_path",
            making.pem(lab().leaf(end=making.NOW - making.DAY), MIDDLE),
        ),
        "a certificate for other names": ("certificate_path", making.pem(lab().leaf(["other.example"]), MIDDLE)),
        "a key": ("key_path", KEY),
        "a key in an older form": ("key_path", older(OURS)),
        "certificates of the authority": ("chain_path", making.pem(MIDDLE)),
        "a certificate alone, whose issuer is known": ("leaf_path", making.pem(LEAF, MIDDLE)),
        "a root": ("root_path", making.pem(ROOT)),
        "all in one": ("combined_path", KEY + CHAIN),
        "all in one, the other way round": ("combined_path", CHAIN + KEY),
    },
)
def test_what_we_write_is_ours(judge, option, content):
    assert judge(option, content) and judge(option, content, listed=True)


def test_a_certificate_without_its_chain_is_known_by_what_succeeds_it(judge, tmp_path):
    content = making.pem(LEAF)
    assert not judge("leaf_path", content)
    known = provenance.Known([ROOT], [lab().leaf(["b.example"]), MIDDLE])
    assert provenance.is_ours("leaf_path", "/x", content, known)


@table("key_type", {one: one for one in ("rsa-2048", "ec-p384", "ed25519")})
def test_keys_of_every_type_are_known_again(key_type):
    private = making.key(key_type)
    known = provenance.Known([], keys={making.key_sha256(private)})
    assert provenance.is_ours("key_path", "/x", making.key_pem(private), known)
    assert not provenance.is_ours("key_path", "/x", making.key_pem(making.key(key_type, 1)), known)


# what we do not write


@table(
    "option, content",
    {
        "a text": ("key_path", b"hello\n"),
        "another key": ("key_path", making.key_pem(THEIRS)),
        "another key in an older form": ("key_path", older(THEIRS)),
        "our key with a password": ("key_path", making.key_pem(OURS, b"password")),
        "our key as OpenSSH has it": ("key_path", older(OURS, serialization.PrivateFormat.OpenSSH)),
        "another key as OpenSSH has it": ("key_path", older(THEIRS, serialization.PrivateFormat.OpenSSH)),
        "our key and another one": ("key_path", KEY + making.key_pem(THEIRS)),
        "our key twice, and what is no key": ("key_path", KEY + KEY + making.pem(ROOT)),
        "our key with a note": ("key_path", b"# do not lose\n" + KEY),
        "our key with a note behind": ("key_path", KEY + b"password: 1234\n"),
        "a public key": ("key_path", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        "parameters and a key": (
            "key_path",
            b"-----BEGIN EC PARAMETERS-----\nAAAA\n-----END EC PARAMETERS-----\n" + KEY,
        ),
        "a key of a kind that we do not make": ("key_path", making.key_pem(dsa.generate_private_key(1024))),
        "a key that is none": ("key_path", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        "a certificate in the place of a key": ("key_path", CHAIN),
        "a key in the place of a certificate": ("certificate_path", KEY),
        "a certificate of others": ("certificate_path", making.pem(*FOREIGN.chain())),
        "ours and one of others": ("certificate_path", CHAIN + making.pem(FOREIGN.leaf())),
        "one that is none": ("certificate_path", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "ours, and one that is none": (
            "certificate_path",
            CHAIN + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        "ours with a bag of attributes": ("certificate_path", b"Bag Attributes\n  friendlyName: web\n" + CHAIN),
        "ours, and a request": (
            "certificate_path",
            CHAIN + making.request_pem().encode("ascii"),
        ),
        "a root of others": ("root_path", making.pem(FOREIGN.root)),
        "ours beside a root of others": ("root_path", making.pem(ROOT, FOREIGN.root)),
        "all in one, with another key": ("combined_path", making.key_pem(THEIRS) + CHAIN),
        "all in one, of others": ("combined_path", KEY + making.pem(*FOREIGN.chain())),
        "all in one, and what haproxy may want besides": (
            "combined_path",
            KEY + CHAIN + b"-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n",
        ),
        "DER": ("certificate_path", LEAF.public_bytes(serialization.Encoding.DER)),
        "binary": ("combined_path", bytes(range(256))),
    },
)
@pytest.mark.parametrize("listed", [False, True], ids=["unknown", "listed"])
def test_what_we_do_not_write_is_somebodys(judge, option, content, listed):
    """Wherever it lies: that a record lists the file says nothing of what is in it by now."""
    assert not judge(option, content, listed)


def test_a_key_as_ssh_keygen_makes_it(judge, tmp_path):
    """The file that started it."""
    program = shutil.which("ssh-keygen")
    if not program:
        pytest.skip("not applicable: no ssh-keygen here to make one with")
    path = tmp_path / "id"
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert not judge("key_path", path.read_bytes(), listed=True)
    assert not judge("key_path", path.read_bytes()[:60], listed=True), "cut short, it is still another form"


@table("option", {option: option for option in PATHS if option != "pkcs12_path"})
def test_without_known_roots_and_keys_nothing_is_ours(judge, option, tmp_path):
    content = {"key_path": KEY, "combined_path": KEY + CHAIN, "root_path": making.pem(ROOT)}.get(option, CHAIN)
    assert not provenance.is_ours(option, str(tmp_path), content, provenance.Known([]))


# cut short


@table(
    "option, content",
    {
        "a certificate": ("certificate_path", CHAIN),
        "a key": ("key_path", KEY),
        "all in one": ("combined_path", KEY + CHAIN),
    },
)
def test_what_was_cut_short_is_ours_where_the_record_lists_the_file(judge, option, content):
    """Whatever byte the disk ended at. Where no record lists the file, only what ends with a block is."""
    for end in range(1, len(content), 1 if option == "key_path" else 7):
        cut = content[:end]
        assert judge(option, cut, listed=True, others=[MIDDLE]), cut
        assert judge(option, cut, others=[MIDDLE]) is cut.rstrip().endswith((b"CERTIFICATE-----", b"KEY-----")) & (
            b"-----END" in cut.splitlines()[-1]
        ), cut


@table(
    "option, content",
    {
        "the end without its beginning": ("key_path", KEY[40:]),
        "the beginning of another form": ("key_path", b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl"),
        "the beginning of a certificate": ("key_path", b"-----BEGIN CERTIFICATE-----\nMII"),
        "the beginning of a key": ("certificate_path", b"-----BEGIN PRIVATE KEY-----\nMII"),
        "a hole": ("key_path", KEY[:60] + b"\0" * 20 + KEY[80:]),
        "zeros": ("key_path", b"\0" * 200),
        "a note behind what is cut": ("key_path", KEY[:60] + b"\nremember: 1234\n"),
        "another whole key before": ("key_path", making.key_pem(THEIRS) + KEY[:60]),
        "another end": ("key_path", KEY[:60] + b"\n-----END OPENSSH PRIVATE KEY-----"),
    },
)
def test_what_is_not_only_cut_short_is_somebodys(judge, option, content):
    assert not judge(option, content, listed=True)


def test_a_link_in_the_record_is_the_file_that_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    kept = {"files": {"key_path": str(tmp_path / "link" / "site.key"), "x": "relative", "y": 7}}
    known = provenance.Known([], kept=kept | {"roots": ""})
    assert provenance.is_ours("key_path", str(tmp_path / "real" / "site.key"), KEY[:60], known)
    assert not provenance.is_ours("key_path", str(tmp_path / "real" / "other.key"), KEY[:60], known)


# roots that were trusted once


def test_what_comes_from_a_root_of_before_is_somebody_elses_but_for_the_file_of_roots(judge):
    """A certificate of another authority is kept, whosever it was before; a file of roots holds no secret and no work."""
    kept = {"roots": making.pem(FORMER.root).decode("ascii"), "files": {}, "key_sha256": ""}
    assert judge("root_path", making.pem(FORMER.root), kept=kept)
    assert not judge("certificate_path", making.pem(*FORMER.chain()), kept=kept)
    assert judge("certificate_path", making.pem(*FORMER.chain()), roots=(ROOT, FORMER.root))
    assert not judge("root_path", making.pem(FORMER.root), kept=dict(kept, roots="rubbish"))


# PKCS#12


def test_a_bundle_of_ours_is_known_by_its_key_where_the_password_opens_it(judge):
    content = bundle(OURS)
    assert judge("pkcs12_path", content, password="secret")
    assert not judge("pkcs12_path", content, password="another")
    assert not judge("pkcs12_path", content)
    other = bundle(THEIRS, leaf=lab().leaf(private=THEIRS))
    assert not judge("pkcs12_path", other, password="secret")


def test_a_bundle_of_ours_is_known_by_what_the_record_says_of_it(judge):
    """Its password may be another one by now."""
    content = derived.make("pkcs12_path", making.pair())
    kept = json.loads(
        record.make(
            making.wanted(), None, [LEAF, MIDDLE], [ROOT], "2026-07-01T12:00:00Z", bundle=record.digest_of(content)
        )
    )
    assert judge("pkcs12_path", content, kept=kept)
    assert not judge("pkcs12_path", content + b"x", kept=kept)
    assert not judge("pkcs12_path", bundle(OURS), kept=kept)


def test_a_bundle_that_was_cut_short_is_ours_where_the_record_lists_it(judge):
    content = bundle(OURS)
    for end in (1, 2, 3, 4, 5, 100, len(content) - 1):
        assert judge("pkcs12_path", content[:end], listed=True), end
        assert not judge("pkcs12_path", content[:end])


@table("content", {"text": b"hello", "a key": KEY, "more than it says": b"\x30\x03\x02\x01\x03x", "zeros": b"\0" * 9})
def test_what_is_no_bundle_is_somebodys(judge, content):
    assert not judge("pkcs12_path", content, listed=True, password="secret")


# the record


def test_a_record_is_known_by_its_form(judge):
    content = record.make(making.wanted(), None, [LEAF, MIDDLE], [ROOT], "2026-07-01T12:00:00Z")
    assert judge("record", content)
    for end in (1, 5, 20, len(content) // 2, len(content) - 1):
        assert judge("record", content[:end]), content[:end]
    for other in (b"hello", b"{}", b"[]", b'{"asked": 1}', b"\0" * 50):
        assert not judge("record", other)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What a replacement keeps because it is not provably ours, and how a set is replaced where others can write."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.privatepki.stepca.plugins.module_utils._core.certificate import (
    examine,
    issue,
    record,
    replacement,
)
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HalfReplaced, HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import reading, replacing
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.enrolling import (
    CA,
    FOREIGN,
    ISSUED_AT,
    Finish,
    ask,
    assert_whole,
    context,
    enrol,
    pair_of,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    file_of,
    folder_of,
    link_of,
    meanwhile,
    root_only,
    seen,
)

NAMES = {
    "certificate_path": "site.crt",
    "key_path": "site.key",
    "chain_path": "chain",
    "leaf_path": "leaf",
    "root_path": "root",
    "combined_path": "all",
    "pkcs12_path": "p12",
}
SSH_KEY = pki.new_key().private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
)
RECORD = ".site.crt.stepca.json"


def everything(folder, **more):
    """Options that name every file that can be made of the pair."""
    return dict({option: str(folder / name) for option, name in NAMES.items()}, pkcs12_password="secret", **more)


def backups(folder) -> dict:
    """{name: content} of what is kept."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(".*.stepca.backup*"))}


# what is not ours


@table("option", {option: option for option in NAMES})
@table("content", {"a key of ssh": SSH_KEY, "a text": b"do not lose this\n", "binary": bytes(range(256))})
def test_what_is_not_understood_is_kept_at_a_first_issue(tmp_path, option, content):
    path = tmp_path / NAMES[option]
    path.write_bytes(content)
    path.chmod(0o640)
    done = enrol(tmp_path, **everything(tmp_path))
    backup = str(tmp_path / (".%s.stepca.backup" % path.name))
    assert done.backup_files == [backup] and backups(tmp_path) == {os.path.basename(backup): content}
    assert stat.S_IMODE(os.stat(backup).st_mode) == 0o640
    assert done.warnings == [
        "%s: %s held what this CA did not make, or what cannot be read. It is kept as %s." % (option, path, backup)
    ]
    assert_whole(tmp_path, ["a.example"])
    assert record.read(str(tmp_path / "site.crt"))["kept"] == [backup]


@table("option", {option: option for option in ("certificate_path", "key_path")})
def test_what_is_not_understood_is_kept_later_as_well(tmp_path, option):
    """The pair is unreadable, so a new one is issued; what was kept before stays too."""
    path = tmp_path / NAMES[option]
    for content in (b"first\n", b"second\n"):
        if path.exists():
            path.unlink()
        path.write_bytes(content)
        (path,) = [tmp_path / NAMES[option]]
        done = enrol(tmp_path, backup=True)
        assert len(done.warnings) == 1
    first = ".%s.stepca.backup" % path.name
    found = backups(tmp_path)
    assert (found[first], found[first + "-2"]) == (b"first\n", b"second\n")
    enrol(tmp_path, sans=["b.example"], backup=True)
    enrol(tmp_path, sans=["c.example"], backup=True)
    found = backups(tmp_path)
    assert (found[first], found[first + "-2"]) == (b"first\n", b"second\n"), "never overwritten"
    assert sorted(record.read(str(tmp_path / "site.crt"))["kept"]) == [
        str(tmp_path / first),
        str(tmp_path / (first + "-2")),
    ]


def test_a_backup_that_its_owner_removed_is_forgotten(tmp_path):
    (tmp_path / "site.key").write_bytes(SSH_KEY)
    enrol(tmp_path)
    (tmp_path / ".site.key.stepca.backup").unlink()
    enrol(tmp_path, sans=["b.example"])
    assert record.read(str(tmp_path / "site.crt"))["kept"] == []


@table("option", {option: option for option in NAMES})
@table("cut", {"empty": 0, "after a few bytes": 7, "in the middle": None})
def test_what_is_left_of_a_file_of_ours_is_repaired_and_not_kept(tmp_path, option, cut):
    enrol(tmp_path, **everything(tmp_path))
    path = tmp_path / NAMES[option]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 if cut is None else cut])
    answer = examine.examine(ask(tmp_path, **everything(tmp_path)), context())
    if option in ("certificate_path", "key_path"):
        assert answer.outcome == "issued"
        chain = CA.sign(answer.csr)
        answer = issue.accept(ask(tmp_path, **everything(tmp_path)), context(), chain, answer.digest, ISSUED_AT)
    else:
        assert answer.outcome == "files"
    assert (answer.backup_files, answer.warnings, backups(tmp_path)) == ([], [], {})
    assert examine.examine(ask(tmp_path, **everything(tmp_path)), context()).outcome == "none"


def test_what_stands_in_the_place_of_the_record_is_kept(tmp_path):
    (tmp_path / RECORD).write_bytes(b"somebody's notes\n")
    done = enrol(tmp_path)
    assert done.backup_files == [str(tmp_path / ("." + RECORD + ".stepca.backup"))]
    assert record.read(str(tmp_path / "site.crt"))["asked"]


def test_check_mode_keeps_nothing(tmp_path):
    (tmp_path / "site.key").write_bytes(SSH_KEY)
    before = pki.snapshot(tmp_path)
    examine.examine(ask(tmp_path), context(dry=True))
    assert pki.snapshot(tmp_path) == before


def test_a_pair_of_another_authority_is_kept_though_the_record_knows_its_key(tmp_path):
    """Whoever replaced our certificate by one of theirs, for our key, may want the key back with it."""
    enrol(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "site.key").read_bytes(), None)
    (tmp_path / "site.crt").write_text(FOREIGN.sign(pki.request_pem(key, ["a.example"])), encoding="ascii")
    done = enrol(tmp_path)
    assert sorted(map(os.path.basename, done.backup_files)) == [
        ".site.crt.stepca.backup",
        ".site.key.stepca.backup",
    ]


# obstacles before tokens


@table("option", {option: option for option in NAMES if option != "key_path"})
def test_each_file_of_the_set_is_probed_before_anything_is_asked_for(tmp_path, monkeypatch, option):
    path = tmp_path / NAMES[option]
    path.write_bytes(b"")
    real = os.fstat
    monkeypatch.setattr(replacing, "_flags", lambda one: 0x10 * os.path.samestat(real(one), os.stat(path)))
    with pytest.raises(HostFileError, match="%s is immutable" % path):
        examine.examine(ask(tmp_path, **everything(tmp_path)), context())
    assert os.listdir(tmp_path) == [path.name]


def test_the_place_of_the_record_is_probed_too(tmp_path):
    (tmp_path / RECORD).mkdir()
    with pytest.raises(HostFileError, match="stepca.json is no file, but a folder"):
        examine.examine(ask(tmp_path), context())


def test_a_key_that_stays_need_not_be_replaceable(tmp_path, monkeypatch):
    """An immutable key is no obstacle to a certificate that keeps it; to another one it is named, and not the certificate."""
    enrol(tmp_path)
    real, key = os.fstat, os.stat(tmp_path / "site.key")
    monkeypatch.setattr(replacing, "_flags", lambda one: 0x10 * os.path.samestat(real(one), key))
    assert examine.examine(ask(tmp_path, sans=["b.example"], key_policy="keep"), context()).outcome == "issued"
    with pytest.raises(HostFileError, match="^%s is immutable" % (tmp_path / "site.key")):
        examine.examine(ask(tmp_path, sans=["b.example"]), context())
    assert [name for name in os.listdir(tmp_path) if "stepca-" in name] == []


# the former set again


@table("code, lasting", {"once": (errno.ENOSPC, False), "for good": (errno.EIO, True)})
def test_a_former_set_that_cannot_come_back(tmp_path, monkeypatch, code, lasting):
    """Its key waits only where the next run is to finish with it."""
    enrol(tmp_path)
    paths = {str(tmp_path / name): kind for name, kind in (("site.crt", "certificate"), ("site.key", "key"))}
    former = {path: (reading.read(path), kind) for path, kind in paths.items()}
    enrol(tmp_path, sans=["b.example"])
    before, calls = pki.snapshot(tmp_path), []
    real = os.rename

    def rename(old, new, **folders):
        calls.append(new)
        if len(calls) == 2 or (lasting and len(calls) > 2):
            raise OSError(code, os.strerror(code))
        real(old, new, **folders)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        with pytest.raises(HalfReplaced if lasting else HostFileError, match=os.strerror(code)):
            replacement.restore(ask(tmp_path), context(), dict(former))
    waiting = [name for name in os.listdir(tmp_path) if "stepca-" in name]
    if lasting:
        assert any(name.startswith(".site.key.stepca-") for name in waiting)
        examine.examine(ask(tmp_path), context())
        assert {path: reading.read(path) for path in paths} == {path: one[0] for path, one in former.items()}
    else:
        assert waiting == [] and pki.snapshot(tmp_path) == before


# where others can write


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    return folder_of(tmp_path / "theirs")


@root_only
def test_a_set_in_a_place_of_theirs(theirs, fixture_state):
    options = everything(theirs)
    enrol(theirs, **options)
    assert sorted(os.listdir(theirs)) == sorted(NAMES.values())
    for option, name in NAMES.items():
        mode = 0o600 if option in ("key_path", "combined_path", "pkcs12_path") else 0o644
        assert seen(theirs / name)[:3] == (0, 0, stat.S_IFREG | mode)
    (name,) = os.listdir(fixture_state / "records")
    assert name.startswith("site.crt-") and os.stat(fixture_state / "records" / name).st_uid == 0
    again = examine.examine(ask(theirs, **options), context())
    assert (again.outcome, again.reasons) == ("none", [])
    enrol(theirs, **dict(options, sans=["b.example"], backup=True))
    assert_whole(theirs, ["b.example"])
    assert os.listdir(fixture_state / "records") == [name]
    assert len(backups(theirs)) == len(NAMES)


@root_only
def test_an_owner_or_mode_is_mended_there_by_a_fresh_copy(theirs):
    """A file there is never chmodded: by then, it may be another one."""
    options = everything(theirs)
    enrol(theirs, **options)
    for name in ("site.crt", "site.key", "all"):
        os.chmod(theirs / name, 0o640)
    before = {name: seen(theirs / name) for name in NAMES.values()}
    held = os.open(theirs / "site.key", os.O_RDONLY)
    try:
        dry = examine.examine(ask(theirs, **options), context(dry=True))
        assert {name: seen(theirs / name) for name in NAMES.values()} == before
        answer = examine.examine(ask(theirs, **options), context())
        assert (answer.outcome, answer.reasons) == (dry.outcome, dry.reasons)
        assert os.fstat(held).st_mode & 0o777 == 0o640 and os.fstat(held).st_nlink == 0
    finally:
        os.close(held)
    assert answer.outcome == "files" and len(answer.reasons) == 3
    for name in NAMES.values():
        now = seen(theirs / name)
        changed = name in ("site.crt", "site.key", "all")
        assert (now[3] != before[name][3]) is changed and now[4] == before[name][4]
        assert now[2] & 0o777 == (0o644 if name in ("site.crt", "chain", "leaf", "root") else 0o600)
    assert sorted(os.listdir(theirs)) == sorted(NAMES.values())
    assert examine.examine(ask(theirs, **options), context()).outcome == "none"


@root_only
def test_what_is_put_there_between_two_calls_is_not_given_away(tmp_path, theirs, monkeypatch):
    """A key of root's, under the name of ours: it must not become a file with the owner that the task names."""
    enrol(theirs)
    os.chmod(theirs / "site.key", 0o640)
    secret = tmp_path / "secret"
    secret.write_bytes(pki.key_pem(pki.new_key()))
    secret.chmod(0o600)

    def swap():
        (theirs / "site.key").unlink()
        os.link(secret, theirs / "site.key")

    calls = meanwhile(monkeypatch, "mkdir", swap)  # of the subfolder in which the copy is made
    with suppress(HostFileError):
        examine.examine(ask(theirs), context())
    assert calls
    for path in theirs.rglob("*"):
        assert path.is_dir() or path.stat().st_ino == secret.stat().st_ino or path.read_bytes() != secret.read_bytes()
    assert seen(secret)[:3] == (0, 0, stat.S_IFREG | 0o600)


@root_only
@table("name", {"the certificate": "site.crt", "the key": "site.key", "what is made of them": "chain"})
def test_a_link_of_theirs_is_refused_by_the_options_name(tmp_path, theirs, name):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link_of(theirs / name, victim)
    option = {path: option for option, path in NAMES.items()}[name]
    for dry in (True, False):
        with pytest.raises(
            HostFileError, match="^%s: %s is a symbolic link of the user %d" % (option, theirs / name, MALLORY)
        ):
            examine.examine(ask(theirs, chain_path=str(theirs / "chain")), context(dry=dry))
    assert victim.read_bytes() == b"mine" and os.listdir(theirs) == [name]


@root_only
def test_a_key_that_was_planted_for_a_certificate_that_comes_is_not_taken(theirs):
    """They own the folder, and so can put one there under the name by which it would be found."""
    key = pki.new_key()
    examine.examine(ask(theirs), context())
    area = theirs / (".stepca.%d" % os.geteuid())
    area.rename(theirs / "away")
    folder_of(area, MALLORY, 0o700)
    file_of(area / ".site.key.stepca-new", pki.key_pem(key), mode=0o600)
    with pytest.raises(HostFileError, match="is no folder of ours"):
        examine.examine(ask(theirs), context())
    assert pair_of(theirs) == (None, None, None)


@root_only
def test_files_of_one_set_may_be_in_places_of_several(tmp_path, theirs, fixture_state):
    """The record lies where the certificate's is: beside it, where that is ours."""
    ours = tmp_path / "ours"
    ours.mkdir()
    enrol(ours, key_path=str(theirs / "site.key"), key_owner=str(MALLORY))
    assert sorted(os.listdir(ours)) == [RECORD, "site.crt"] and os.listdir(theirs) == ["site.key"]
    assert not (fixture_state / "records").exists()
    finish = Finish()
    examine.examine(ask(ours, key_path=str(theirs / "site.key"), key_owner=str(MALLORY)), context(finish))
    assert [call[1:] for call in finish.calls] == [("site.crt", "certificate"), ("site.key", "key")]

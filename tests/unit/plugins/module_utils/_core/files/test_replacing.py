# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Staged files are put in their places as a set or not at all, whatever the disk, or somebody else, does meanwhile."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HalfReplaced, HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import areas, reading, replacing, staging
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    file_of,
    folder_of,
    give,
    in_time,
    link_of,
    meanwhile,
    root_only,
    seen,
)

FAULTS = [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS]
#: link(2): why there can be none, though a file could be made.
NO_LINKS = {"forbidden": errno.EPERM, "across devices": errno.EXDEV, "too many": errno.EMLINK, "unknown": errno.ENOTSUP}
NAMES = ["site.crt", "site.key", ".site.crt.stepca.json"]
OLD = [b"old site.crt", b"old site.key", None]
NEW = [b"new site.crt", b"new site.key", b"new .site.crt.stepca.json"]
AREA = ".stepca.%d" % os.geteuid()


@pytest.fixture(name="folder", params=["ours", pytest.param("theirs", marks=root_only)])
def fixture_folder(tmp_path, request):
    """A folder in a place that is ours, and one of somebody else's."""
    path = tmp_path / request.param
    path.mkdir()
    return path if request.param == "ours" else give(path)


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    return folder_of(tmp_path / "theirs")


@pytest.fixture(name="three")
def fixture_three(folder):
    """Three targets, the last of them new, with what is to replace them staged."""
    targets = [folder / name for name in NAMES]
    for target in targets[:2]:
        target.write_bytes(b"old " + target.name.encode("ascii"))
    for target in targets:
        staging.stage(str(target), b"new " + target.name.encode("ascii"), "new")
    return [(str(target), "new") for target in targets]


def contents(moves):
    return [reading.read(target) for target, _tag in moves]


def failing(code):
    def fail():
        raise OSError(code, os.strerror(code))

    return fail


def fail_at(monkeypatch, name, number, code, for_ever=False):
    """Have os.<name> fail at this call of it, and with for_ever at all later ones too; returns the calls seen."""
    real, calls = getattr(os, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == number or (for_ever and len(calls) > number):
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)
    return calls


# a set


def test_a_set_is_replaced_and_nothing_else_stays(folder, three):
    replacing.replace_set(three)
    assert contents(three) == NEW
    assert pki.dot_files(folder) == []


def test_the_first_of_a_set_commits_and_each_rename_is_made_safe(monkeypatch, three):
    order = []
    rename, fsync = os.rename, os.fsync
    monkeypatch.setattr(os, "rename", lambda old, new, **at: (order.append(new), rename(old, new, **at)))
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor)))
    replacing.replace_set(three)
    assert order == ["site.crt", "fsync", "site.key", "fsync", ".site.crt.stepca.json", "fsync"]


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize(
    "name, number", [("link", 1), ("link", 2)] + [(name, n) for name in ("rename", "fsync") for n in (1, 2, 3)]
)
def test_a_set_that_cannot_be_replaced_is_put_back(monkeypatch, three, name, number, code):
    with monkeypatch.context() as patched:
        calls = fail_at(patched, name, number, code)
        with pytest.raises(HostFileError, match="Cannot replace .*site.*: %s" % os.strerror(code)):
            replacing.replace_set(three)
    assert len(calls) >= number
    assert contents(three) == OLD


@pytest.mark.parametrize("name, number", [("link", 2), ("rename", 1), ("rename", 2), ("rename", 3), ("fsync", 2)])
def test_a_set_that_is_put_back_leaves_only_what_was_staged(folder, monkeypatch, three, name, number):
    with monkeypatch.context() as patched:
        fail_at(patched, name, number, errno.EIO)
        with pytest.raises(HostFileError):
            replacing.replace_set(three)
    assert {target: areas.waiting(target) for target, _tag in three} == {target: ["new"] for target, _tag in three}
    replacing.replace_set(three)
    assert contents(three) == NEW and pki.dot_files(folder) == []


def test_a_file_put_back_is_the_former_one_itself(monkeypatch, three):
    before = os.stat(three[0][0])
    with monkeypatch.context() as patched:
        fail_at(patched, "rename", 2, errno.ENOSPC)
        with pytest.raises(HostFileError):
            replacing.replace_set(three)
    after = os.stat(three[0][0])
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


def test_a_file_that_cannot_be_put_back_is_not_lost(folder, monkeypatch, three):
    with monkeypatch.context() as patched:
        fail_at(patched, "rename", 2, errno.EIO, for_ever=True)
        with pytest.raises(
            HalfReplaced, match="site.crt .* are replaced in part .*Cannot replace.* the next run finishes"
        ):
            replacing.replace_set(three)
    everything = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert b"old site.crt" in everything and b"new site.key" in everything


def test_a_link_too_many_is_no_failure(folder, monkeypatch, three):
    with monkeypatch.context() as patched:
        fail_at(patched, "unlink", 4, errno.EIO, for_ever=True)
        replacing.replace_set(three)
    assert contents(three) == NEW
    for target, _tag in three:
        staging.forget_stale(target)
    assert pki.dot_files(folder) == []


def test_what_waits_no_more_is_missed_before_anything_is_replaced(folder, three):
    staging.forget(three[2][0], "new")
    with pytest.raises(HostFileError, match="Cannot replace .*json: No such file|What waited to become .* is gone"):
        replacing.replace_set(three)
    assert contents(three) == OLD


# no links


@table("code", NO_LINKS)
@pytest.mark.parametrize("number", [1, 2])
def test_where_a_link_cannot_be_made_the_former_file_is_copied(folder, monkeypatch, three, code, number):
    os.chmod(three[1][0], 0o640)
    with monkeypatch.context() as patched:
        if code == errno.EXDEV:  # and it is no mount of its own
            patched.setattr(replacing, "_is_mounted", lambda _place: False)
        fail_at(patched, "link", number, code, for_ever=True)
        fail_at(patched, "rename", 3, errno.EIO)
        with pytest.raises(HostFileError, match="Input/output error"):
            replacing.replace_set(three)
        assert contents(three) == OLD
        assert stat.S_IMODE(os.stat(three[1][0]).st_mode) == 0o640
        replacing.replace_set(three)
    assert contents(three) == NEW and pki.dot_files(folder) == []


@root_only
def test_a_copy_has_owner_and_mode_of_its_original(folder, monkeypatch):
    file_of(folder / "site.key", b"theirs", mode=0o4640)
    fail_at(monkeypatch, "link", 1, errno.EPERM, for_ever=True)
    backup = replacing.back_up(str(folder / "site.key"), ())
    status = os.stat(backup)
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (MALLORY, MALLORY, 0o640), "never setuid"
    assert reading.read(backup) == b"theirs"


@table("code", {"none can be made": errno.EPERM, "the disk is full": errno.ENOSPC})
def test_where_there_was_no_file_none_is_kept(folder, monkeypatch, code):
    """A kernel says so first; what went in the meantime was never ours."""
    staging.stage(str(folder / "site.key"), b"new", "new")
    fail_at(monkeypatch, "link", 1, code)
    replacing.replace_set([(str(folder / "site.key"), "new")])
    assert reading.read(str(folder / "site.key")) == b"new"


# one file


def test_one_file_is_put_with_its_mode(folder):
    for mode, content in ((0o644, b"one"), (0o755, b"two")):
        before = os.umask(0o077)
        try:
            replacing.put(str(folder / "file"), content, mode)
        finally:
            os.umask(before)
        assert reading.read(str(folder / "file")) == content
        assert stat.S_IMODE(os.stat(folder / "file").st_mode) == mode
    assert os.listdir(folder) == ["file"]


@pytest.mark.parametrize("name, number", [("rename", 1), ("fsync", 1), ("fsync", 2), ("chmod", 1)])
def test_one_file_that_cannot_be_put_leaves_the_former_one(folder, monkeypatch, name, number):
    replacing.put(str(folder / "file"), b"former", 0o644)
    with monkeypatch.context() as patched:
        fail_at(patched, name, number, errno.ENOSPC)
        with pytest.raises(HostFileError, match="Cannot (write|replace) .*file: No space left .*make room"):
            replacing.put(str(folder / "file"), b"new", 0o644)
    assert reading.read(str(folder / "file")) == b"former" and os.listdir(folder) == ["file"]


# where others can write


@root_only
def test_a_file_of_theirs_is_replaced_and_not_changed(tmp_path, theirs):
    """Its owner may hold it open, or have another name for it."""
    file_of(theirs / "site.key", b"theirs", mode=0o666)
    with open(theirs / "site.key", "rb") as held:
        before = os.fstat(held.fileno())
        replacing.put(str(theirs / "site.key"), b"ours", 0o600)
        after = os.fstat(held.fileno())
        assert held.read() == b"theirs"
    assert (after.st_uid, after.st_gid, after.st_mode, after.st_nlink) == (MALLORY, MALLORY, before.st_mode, 0)
    assert seen(theirs / "site.key")[0:3] == (0, 0, stat.S_IFREG | 0o600)


@root_only
def test_in_a_place_of_theirs_nothing_of_theirs_is_chowned_or_chmodded(tmp_path, theirs, monkeypatch):
    """Not even for a moment, and no name of theirs is handed to a call that would follow it."""
    file_of(theirs / "site.key", b"theirs", mode=0o666)
    other = file_of(theirs / "other", b"theirs", mode=0o666)
    touched = []
    for name in ("chown", "chmod", "setxattr", "removexattr"):
        meanwhile(
            monkeypatch,
            name,
            None,
            number=0,
            when=lambda file, *_rest: touched.append((os.fstat if isinstance(file, int) else os.lstat)(file).st_uid),
        )
    before = seen(theirs), seen(other)
    replacing.probe(str(theirs / "site.key"), lambda staged: os.chmod(staged.descriptor, 0o600) or [])
    replacing.back_up(str(theirs / "site.key"), ())
    replacing.put(str(theirs / "site.key"), b"ours", 0o600)
    assert touched and set(touched) == {0}
    assert (seen(theirs), seen(other)) == before
    assert seen(theirs / ".site.key.stepca.backup")[0::4] == (MALLORY, b"theirs")


@root_only
@table(
    "then",
    {
        "a link": link_of,
        "a file": lambda path, victim: file_of(path),
        "nothing": lambda path, victim: None,
    },
)
def test_a_file_that_is_swapped_as_soon_as_it_is_in_its_place_is_noticed(tmp_path, theirs, monkeypatch, then):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    staging.stage(str(theirs / "site.key"), b"secret", "new")

    def swap():
        (theirs / "site.key").rename(theirs / "away")
        then(theirs / "site.key", victim)

    meanwhile(monkeypatch, "rename", swap, after=True, when=lambda _old, new: new == "site.key")
    with pytest.raises(HostFileError) as caught:
        replacing.replace_set([(str(theirs / "site.key"), "new")])
    assert "%s was swapped as soon as it was put in its place: somebody else is at work in %s" % (
        theirs / "site.key",
        theirs,
    ) in str(caught.value)
    assert seen(victim)[0::4] == (0, b"mine")


@root_only
def test_a_folder_that_is_swapped_meanwhile_gets_nothing(tmp_path, theirs, monkeypatch):
    """Neither where the name leads by now: all is done in the folder that was opened."""
    victim = tmp_path / "victim"
    victim.mkdir()
    folder_of(theirs / "tls")
    staging.stage(str(theirs / "tls" / "site.key"), b"secret", "new")

    def swap():
        (theirs / "tls").rename(theirs / "away")
        link_of(theirs / "tls", victim)

    meanwhile(monkeypatch, "rename", swap, when=lambda _old, new: new == "site.key")
    replacing.replace_set([(str(theirs / "tls" / "site.key"), "new")])
    assert os.listdir(victim) == [] and os.listdir(theirs / "away") == ["site.key"]


@root_only
@table(
    "then, words",
    {
        "a link": (link_of, "site.key is no file, but a symbolic link"),
        "a pipe": (lambda path, victim: os.mkfifo(path), "site.key is no file, but a pipe"),
        "a folder": (lambda path, victim: folder_of(path), "site.key(: | is no file, but a folder)"),
    },
)
def test_what_becomes_no_file_before_it_is_kept_is_refused(tmp_path, theirs, monkeypatch, then, words):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    file_of(theirs / "site.key")
    staging.stage(str(theirs / "site.key"), b"secret", "new")

    def swap():
        (theirs / "site.key").rename(theirs / "away")
        then(theirs / "site.key", victim)

    meanwhile(monkeypatch, "link", swap)
    before = seen(victim)
    with in_time(), pytest.raises(HostFileError, match=words):
        replacing.replace_set([(str(theirs / "site.key"), "new")])
    assert seen(victim) == before and os.listdir(theirs / AREA) == [".site.key.stepca-new"]

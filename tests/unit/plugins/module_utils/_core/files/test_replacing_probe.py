# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Obstacles are found before a token is spent: flags, mounts, rights, and what is no file."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import reading, replacing, staging
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    as_user,
    file_of,
    folder_of,
    give,
    in_time,
    link_of,
    meanwhile,
    root_only,
    seen,
)

FLAGS = {"immutable": (0x10, "i", "immutable"), "append-only": (0x20, "a", "append-only")}


@pytest.fixture(name="folder", params=["ours", pytest.param("theirs", marks=root_only)])
def fixture_folder(tmp_path, request):
    """A folder in a place that is ours, and one of somebody else's."""
    path = tmp_path / request.param
    path.mkdir()
    return path if request.param == "ours" else give(path)


def probe(path, dress=lambda staged: []):
    with in_time():
        return replacing.probe(str(path), dress)


def failing(code):
    def fail():
        raise OSError(code, os.strerror(code))

    return fail


def test_a_probe_is_dressed_and_leaves_nothing(folder):
    dressed = []
    said = probe(folder / "site.crt", lambda staged: dressed.append(os.path.basename(staged.path)) or ["a warning"])
    assert said == ["a warning"]
    assert len(dressed) == 1 and dressed[0].startswith(".site.crt.stepca-probe")
    assert os.listdir(folder) == []


def test_what_is_there_is_left_as_it_is(folder):
    (folder / "site.crt").write_bytes(b"former")
    before = pki.snapshot(folder)
    assert probe(folder / "site.crt") == []
    assert pki.snapshot(folder) == before


def test_a_probe_that_cannot_be_made_or_dressed_fails_and_leaves_nothing(folder):
    def dress(staged):
        raise HostFileError("no such group")

    with pytest.raises(HostFileError, match="no such group"):
        probe(folder / "site.crt", dress)
    assert os.listdir(folder) == []
    with pytest.raises(HostFileError, match="Make the folder first"):
        probe(folder / "no" / "site.crt", dress)


@pytest.mark.parametrize("name, number", [("open", 0), ("fsync", 1), ("unlink", 2)])
def test_a_disk_that_fails_is_met_before_anything_is_asked_for(folder, monkeypatch, name, number):
    (folder / "site.crt").write_bytes(b"former")
    when = (lambda _path, flags, *_rest: flags & os.O_CREAT) if name == "open" else None
    meanwhile(monkeypatch, name, failing(errno.EROFS), number=number or 1, when=when)
    with pytest.raises(HostFileError, match="Cannot .* .*site.crt: Read-only file system. .*mount it writable"):
        probe(folder / "site.crt")


def test_in_a_folder_that_everybody_writes_to_nothing_is_probed(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(HostFileError, match="Everybody may write to the folder"):
        probe(tmp_path / "site.crt")
    assert os.listdir(tmp_path) == []


# what is no file


@root_only
@table(
    "make, words",
    {
        "a folder": (os.mkdir, "is a folder|is no file, but a folder"),
        "a pipe": (os.mkfifo, "is no file, but a pipe"),
        "a device": (lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)), "is no file, but a device"),
    },
)
def test_what_is_no_file_is_not_replaced(folder, make, words):
    make(folder / "site.key")
    before = seen(folder / "site.key")
    with pytest.raises(HostFileError, match=words):
        probe(folder / "site.key")
    assert seen(folder / "site.key") == before and os.listdir(folder) == ["site.key"]


@root_only
def test_a_link_of_theirs_and_a_file_with_another_name_are_not_replaced(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    (tmp_path / "victim").write_bytes(b"mine")
    os.link(tmp_path / "victim", theirs / "site.crt")
    link_of(theirs / "site.key", tmp_path / "victim")
    with pytest.raises(HostFileError, match="site.crt has another name somewhere"):
        probe(theirs / "site.crt")
    with pytest.raises(HostFileError, match="site.key is a symbolic link of the user %d" % MALLORY):
        probe(theirs / "site.key")


# flags


@table("bit, letter, name", FLAGS)
@table("where", {"the file": "site.key", "its folder": ""})
def test_a_flag_that_forbids_it_is_named(folder, monkeypatch, bit, letter, name, where):
    (folder / "site.key").write_bytes(b"former")
    marked = os.stat(folder / where)
    real = os.fstat
    monkeypatch.setattr(replacing, "_flags", lambda one: bit if os.path.samestat(real(one), marked) else 0)
    with pytest.raises(HostFileError) as caught:
        probe(folder / "site.key")
    path = str(folder / where).rstrip("/")
    assert str(caught.value) == (
        "%s is %s (lsattr shows the attribute %s), so nothing can be replaced there. Take that off first: chattr -%s %s"
        % (path, name, letter, letter, path)
    )


@table("bit", {"not to be dumped": 0x40, "no access times": 0x80, "extents": 0x80000})
def test_other_flags_are_no_obstacle(folder, monkeypatch, bit):
    (folder / "site.key").write_bytes(b"former")
    monkeypatch.setattr(replacing, "_flags", lambda _descriptor: bit)
    assert probe(folder / "site.key") == []


def test_flags_as_bsd_has_them(tmp_path, monkeypatch):
    """And macOS, in stat itself."""
    (tmp_path / "site.key").write_bytes(b"former")
    real = os.fstat

    class Status:
        st_flags = stat.UF_IMMUTABLE

        def __init__(self, status):
            self._status = status

        def __getattr__(self, name):
            return getattr(self._status, name)

    monkeypatch.setattr(os, "fstat", lambda descriptor: Status(real(descriptor)))
    monkeypatch.setattr(
        os.path, "samestat", lambda one, other: (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev)
    )
    with pytest.raises(HostFileError, match="has a flag that forbids changes .ls -lO shows it.. Take that off first"):
        probe(tmp_path / "site.key")


@pytest.fixture(name="chattr")
def fixture_chattr(tmp_path):
    """Sets flags for real, and takes them off again."""
    program = shutil.which("chattr")
    if os.geteuid() != 0 or not program:
        pytest.skip("only root can set flags, with chattr")
    marked = []

    def set_flag(path, letter):
        done = subprocess.run([program, "+" + letter, str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip("this file system has no flags: %s" % done.stderr.strip())
        marked.append((path, letter))

    yield set_flag
    for path, letter in marked:
        subprocess.run([program, "-" + letter, str(path)], check=True)


@table("letter, name", {"immutable": ("i", "immutable"), "append-only": ("a", "append-only")})
@table("where", {"the file": "site.key", "its folder": ""})
def test_a_flag_that_is_really_set(folder, chattr, letter, name, where):
    (folder / "site.key").write_bytes(b"former")
    chattr(folder / where, letter)
    with pytest.raises(
        HostFileError, match="is %s .lsattr shows the attribute %s.*chattr -%s" % (name, letter, letter)
    ):
        probe(folder / "site.key")
    assert (folder / "site.key").read_bytes() == b"former" and os.listdir(folder) == ["site.key"]


def test_a_flag_that_was_set_since_it_was_probed(tmp_path, chattr):
    """Root is not told to become root."""
    (tmp_path / "site.key").write_bytes(b"former")
    staging.stage(str(tmp_path / "site.key"), b"new", "new")
    chattr(tmp_path / "site.key", "i")
    with pytest.raises(HostFileError) as caught:
        replacing.replace_set([(str(tmp_path / "site.key"), "new")])
    assert "lsattr" in str(caught.value) and "use become" not in str(caught.value)
    assert "%s/site.key" % tmp_path in str(caught.value)
    assert (tmp_path / "site.key").read_bytes() == b"former"


# mounts


@pytest.fixture(name="mounted")
def fixture_mounted(tmp_path):
    """A file that is mounted by itself, as containers have their secrets."""
    program = shutil.which("mount")
    if os.geteuid() != 0 or not program:
        pytest.skip("only root can mount, with mount")
    source, target = tmp_path / "source", tmp_path / "site.key"
    source.write_bytes(b"of the host")
    target.write_bytes(b"")
    done = subprocess.run([program, "--bind", str(source), str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here: %s" % done.stderr.strip())
    yield target
    subprocess.run(["umount", str(target)], check=True)


@table(
    "act",
    {
        "probed": probe,
        "put": lambda path: replacing.put(str(path), b"new", 0o600),
        "backed up": lambda path: replacing.back_up(str(path), ()),
    },
)
def test_a_file_that_is_mounted_by_itself_is_not_replaced(mounted, act):
    with pytest.raises(HostFileError) as caught:
        act(mounted)
    assert (
        "%s is mounted by itself (a bind mount, as containers have it), so it cannot be replaced: who mounted it would go on "
        "with the former file. Mount its folder instead." % mounted
    ) in str(caught.value)
    assert mounted.read_bytes() == b"of the host"
    assert sorted(os.listdir(mounted.parent)) == ["site.key", "source"]


def test_a_folder_that_is_mounted_is_no_obstacle(mounted):
    folder = mounted.parent / "folder"
    folder.mkdir()
    subprocess.run(["mount", "--bind", str(mounted.parent), str(folder)], check=True)
    try:
        (mounted.parent / "other.key").write_bytes(b"former")
        assert probe(folder / "other.key") == []
        replacing.put(str(folder / "other.key"), b"new", 0o600)
        assert (mounted.parent / "other.key").read_bytes() == b"new"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_where_no_proc_tells_of_mounts_a_device_of_its_own_is_taken_for_one(tmp_path, monkeypatch):
    (tmp_path / "site.key").write_bytes(b"former")
    meanwhile(monkeypatch, "link", failing(errno.EXDEV))

    def no_proc(_descriptor):
        raise FileNotFoundError(2, "no /proc here")

    monkeypatch.setattr(replacing, "_mount_of", no_proc)
    with pytest.raises(HostFileError, match="is mounted by itself"):
        probe(tmp_path / "site.key")


# rights of an ordinary user


@root_only
def test_what_somebody_else_owns_can_be_replaced_in_a_folder_of_ones_own(open_folder):
    """protected_hardlinks (proc(5)) forbids the link; a copy will do, where it may be read."""
    home = folder_of(open_folder / "home", ALICE)
    file_of(home / "site.key", b"of root", 0, 0o644)
    assert as_user(ALICE, replacing.probe, str(home / "site.key"), dress_nothing) == []
    as_user(ALICE, replacing.put, str(home / "site.key"), b"of alice", 0o600)
    assert seen(home / "site.key")[0::4] == (ALICE, b"of alice")
    assert os.listdir(home) == ["site.key"]


def dress_nothing(_staged):
    return []


@root_only
def test_what_may_neither_be_linked_nor_read_is_an_obstacle(open_folder):
    if Path("/proc/sys/fs/protected_hardlinks").read_text(encoding="ascii").strip() != "1":
        pytest.skip("not applicable: this system lets everybody link anything (protected_hardlinks)")
    home = folder_of(open_folder / "home", ALICE)
    file_of(home / "site.key", b"of root", 0, 0o600)
    with pytest.raises(HostFileError, match="Cannot replace .*site.key: Permission denied. .* use become, or another"):
        as_user(ALICE, replacing.probe, str(home / "site.key"), dress_nothing)
    assert os.listdir(home) == ["site.key"]


@root_only
def test_in_a_sticky_folder_only_the_owner_may_replace_a_file(open_folder):
    sticky = folder_of(open_folder / "sticky", 0, 0o1777)
    file_of(sticky / "site.key", uid=MALLORY, mode=0o644)
    with pytest.raises(HostFileError) as caught:
        as_user(ALICE, replacing.probe, str(sticky / "site.key"), dress_nothing)
    assert str(caught.value) == (
        "%s belongs to the user %d, and in the sticky folder %s only its owner may replace it. Run this task with `become_user: "
        "the user %d`, or name another path." % (sticky / "site.key", MALLORY, sticky, MALLORY)
    )
    assert as_user(MALLORY, replacing.probe, str(sticky / "site.key"), dress_nothing) == []
    assert replacing.probe(str(sticky / "site.key"), dress_nothing) == [], "root may"


@root_only
def test_who_may_not_write_to_the_folder_is_told_so_before_anything_is_asked_for(open_folder):
    folder = folder_of(open_folder / "tls", 0)
    for name in ("site.key", "new.key"):
        (folder / "site.key").write_bytes(b"of root")
        with pytest.raises(HostFileError, match="Cannot (replace|write) .*: Permission denied. .*use become"):
            as_user(ALICE, replacing.probe, str(folder / name), dress_nothing)
    assert reading.read(str(folder / "site.key")) == b"of root"

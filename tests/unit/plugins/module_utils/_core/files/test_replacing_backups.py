# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Former files are kept; a backup that holds what is somebody else's is never overwritten."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import replacing
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

FIRST = ".site.key.stepca.backup"


@pytest.fixture(name="folder", params=["ours", pytest.param("theirs", marks=root_only)])
def fixture_folder(tmp_path, request):
    """A folder in a place that is ours, and one of somebody else's."""
    path = tmp_path / request.param
    path.mkdir()
    return path if request.param == "ours" else give(path)


def back_up(folder, content=None, spared=()):
    """Write this, and keep it; the name of the backup."""
    if content is not None:
        (folder / "site.key").unlink(missing_ok=True)
        (folder / "site.key").write_bytes(content)
    with in_time():
        path = replacing.back_up(str(folder / "site.key"), spared)
    assert os.path.dirname(path) == str(folder)
    return os.path.basename(path)


def kept(folder) -> dict:
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder)) if name != "site.key"}


def test_a_file_is_kept_as_it_is(folder):
    (folder / "site.key").write_bytes(b"first")
    (folder / "site.key").chmod(0o640)
    before = seen(folder / "site.key")
    assert back_up(folder) == FIRST
    assert seen(folder / FIRST) == before == seen(folder / "site.key"), "the very same file, and no copy"


def test_what_was_ours_gives_way_to_the_next(folder):
    for content in (b"first", b"second", b"third"):
        assert back_up(folder, content) == FIRST
    assert kept(folder) == {FIRST: b"third"}


@table("content", {"the same": b"first", "another one": b"second"})
def test_a_file_is_kept_once_more(folder, content):
    """A run that broke off has kept it already."""
    back_up(folder, b"first")
    assert back_up(folder) == FIRST, "two names of one file"
    assert back_up(folder, content) == FIRST
    assert kept(folder) == {FIRST: content}


def test_what_is_to_be_spared_is_not_overwritten(folder):
    names = []
    for number in range(4):
        spared = [str(folder / name) for name in names]
        names.append(back_up(folder, b"somebody's, %d" % number, spared))
    assert names == [FIRST, FIRST + "-2", FIRST + "-3", FIRST + "-4"]
    assert kept(folder) == {name: b"somebody's, %d" % number for number, name in enumerate(names)}


def test_what_nobody_knows_is_spared_too(folder):
    """Of backups of older versions no record says what they hold."""
    back_up(folder, b"first")
    assert back_up(folder, b"second", None) == FIRST + "-2"
    assert back_up(folder, b"second", None) == FIRST + "-2", "the same, kept once more"
    assert back_up(folder, b"first", None) == FIRST
    assert kept(folder) == {FIRST: b"first", FIRST + "-2": b"second"}


def test_among_those_that_are_spared_the_others_give_way(folder):
    back_up(folder, b"somebody's")
    spared = [str(folder / FIRST)]
    for content in (b"one", b"two"):
        assert back_up(folder, content, spared) == FIRST + "-2"
    assert kept(folder) == {FIRST: b"somebody's", FIRST + "-2": b"two"}


def test_backups_are_found(folder):
    assert replacing.backups(str(folder / "site.key")) == []
    assert replacing.backups(str(folder / "no" / "site.key")) == []
    for number in range(3):
        back_up(folder, b"%d" % number, None)
    for name in (FIRST + "-x", FIRST + "-2~", ".site.key.stepca-backup", ".other.key.stepca.backup", "x" + FIRST):
        (folder / name).write_bytes(b"")
    assert replacing.backups(str(folder / "site.key")) == [str(folder / (FIRST + end)) for end in ("", "-2", "-3")]


@pytest.mark.parametrize("name", ["link", "rename", "fsync"])
def test_what_cannot_be_kept_is_told_and_leaves_nothing(folder, monkeypatch, name):
    (folder / "site.key").write_bytes(b"first")

    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    meanwhile(monkeypatch, name, fail)
    with pytest.raises(HostFileError, match="Cannot back up .*site.key: No space left on device. .*make room"):
        back_up(folder)
    assert set(os.listdir(folder)) <= {"site.key", FIRST} and (folder / "site.key").read_bytes() == b"first"


@root_only
@table("number", {"linked": 0, "copied": 1})
def test_a_backup_belongs_to_whom_the_file_belonged(folder, monkeypatch, number):
    file_of(folder / "site.key", b"theirs", mode=0o640)

    def fail():
        raise OSError(errno.EPERM, "Operation not permitted")

    meanwhile(monkeypatch, "link", fail, number=number)
    back_up(folder)
    status = os.stat(folder / FIRST)
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (MALLORY, MALLORY, 0o640)


# what somebody else put in the place of a backup


@root_only
@table(
    "plant",
    {
        "a link": link_of,
        "a hard link": lambda path, victim: os.link(victim, path),
        "a pipe": lambda path, victim: os.mkfifo(path),
        "a file": lambda path, victim: file_of(path),
    },
)
@table("spared", {"nobody's": (), "unknown": None})
def test_what_was_planted_as_a_backup_is_not_written_to(tmp_path, plant, spared):
    theirs, victim = folder_of(tmp_path / "theirs"), tmp_path / "victim"
    victim.write_bytes(b"mine")
    plant(theirs / FIRST, victim)
    before = seen(victim)
    name = back_up(theirs, b"kept", spared)
    assert name == (FIRST if spared == () else FIRST + "-2")
    assert not (theirs / name).is_symlink() and (theirs / name).read_bytes() == b"kept"
    assert seen(victim)[:3] == before[:3] and victim.read_bytes() == b"mine"


@root_only
def test_a_folder_in_the_place_of_a_backup_is_spared(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    folder_of(theirs / FIRST)
    assert back_up(theirs, b"kept", None) == FIRST + "-2"
    with pytest.raises(HostFileError, match="Cannot back up .*site.key: Is a directory"):
        back_up(theirs, b"kept", ())

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Folders: made whole or not at all, marked where they are to go again, and taken away with the last file in them."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import folders
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    acl_of,
    as_user,
    file_of,
    folder_of,
    give,
    give_acl,
    has_acl,
    link_of,
    meanwhile,
    root_only,
    seen,
)

MARK = folders.MARK


@pytest.fixture(name="folder", params=["ours", pytest.param("theirs", marks=root_only)])
def fixture_folder(tmp_path, request):
    """A folder in a place that is ours, and one of somebody else's."""
    path = tmp_path / request.param
    path.mkdir()
    return path if request.param == "ours" else give(path)


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    return folder_of(tmp_path / "theirs")


def marked(path):
    """A folder that we made, and will take away."""
    folders.make(str(path), marked=True)
    return path


def modes(*paths) -> list:
    return [stat.S_IMODE(os.stat(path).st_mode) for path in paths]


# made


@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_folder_that_is_made_is_open_to_all_whatever_the_umask(folder, mask):
    before = os.umask(mask)
    try:
        folders.make(str(folder / "a" / "b"))
        folders.make(str(folder / "c" / "d"), 0o700)
    finally:
        os.umask(before)
    assert modes(folder / "a", folder / "a" / "b", folder / "c", folder / "c" / "d") == [0o755, 0o755, 0o755, 0o700]
    folders.make(str(folder / "a" / "b"), 0o700)
    assert modes(folder / "a" / "b") == [0o755], "it was there"
    assert sorted(os.listdir(folder)) == ["a", "c"] and os.listdir(folder / "a" / "b") == []


def test_a_folder_named_from_here_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders.make("a/b")
    assert (tmp_path / "a" / "b").is_dir() and folders.missing("a/b") == []


def test_those_that_are_missing_are_named_from_the_top(tmp_path):
    assert folders.missing(str(tmp_path)) == folders.missing("/") == []
    assert folders.missing(str(tmp_path / "a" / "b")) == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    (tmp_path / "link").symlink_to("real")
    assert folders.missing(str(tmp_path / "link" / "a"))[-1] == str(tmp_path / "link" / "a")


def test_what_is_no_folder_is_left_as_it_is(folder):
    (folder / "file").write_bytes(b"")
    before = seen(folder / "file")
    for path in ("file", "file/a"):
        with pytest.raises(HostFileError, match="(Cannot (make|reach) .*file|file.* is no folder)"):
            folders.make(str(folder / path))
    assert seen(folder / "file") == before


def test_a_file_that_comes_meanwhile_is_no_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(folders, "missing", lambda folder: [folder])
    with pytest.raises(HostFileError, match="file is no folder"):
        folders.make(str(tmp_path / "file"))
    folders.make(str(tmp_path))


def test_marks_are_in_those_that_were_made_alone(folder):
    (folder / "there").mkdir()
    marked(folder / "there" / "a" / "b")
    assert os.listdir(folder) == ["there"] and os.listdir(folder / "there") == ["a"]
    for path in (folder / "there" / "a", folder / "there" / "a" / "b"):
        assert b"Made by privatepki.stepca" in (path / MARK).read_bytes() and modes(path / MARK)[0] & 0o022 == 0


@table(
    "name, number",
    {
        "it cannot be made": ("mkdir", 1),
        "nor marked": ("fdopen", 1),
        "nor its mode set": ("chmod", 1),
        "nor put in its place": ("rename", 1),
    },
)
def test_where_it_cannot_be_made_nothing_stays(tmp_path, monkeypatch, name, number):
    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    meanwhile(monkeypatch, name, fail, number=number)
    with pytest.raises(HostFileError, match="Cannot make .*new: No space left on device. .*make room"):
        folders.make(str(tmp_path / "new"), marked=True)
    assert os.listdir(tmp_path) == []


@table("then", {"empty": lambda path: path.mkdir(), "with files": lambda path: (path.mkdir(), (path / "x").mkdir())})
def test_another_run_may_be_faster(folder, monkeypatch, then):
    meanwhile(monkeypatch, "rename", lambda: then(folder / "new"))
    folders.make(str(folder / "new"), marked=True)
    assert (folder / "new").is_dir() and os.listdir(folder) == ["new"]
    assert set(os.listdir(folder / "new")) <= {MARK, "x"}


@table(
    "then",
    {
        "a file": lambda path, victim: path.write_bytes(b""),
        "a link": lambda path, victim: path.symlink_to(victim),
    },
)
def test_what_somebody_puts_there_meanwhile_is_no_folder(tmp_path, folder, monkeypatch, then):
    victim = tmp_path / "victim"
    victim.mkdir()
    meanwhile(monkeypatch, "rename", lambda: then(folder / "new", victim))
    with pytest.raises(HostFileError, match="Cannot make .*new: "):
        folders.make(str(folder / "new"))
    assert os.listdir(victim) == [] and os.listdir(folder) == ["new"]


@root_only
def test_in_a_place_of_theirs_it_is_ours_alone(theirs):
    """Whatever the folder hands on, and before it can be seen."""
    give(theirs, mode=0o2755)
    give_acl(theirs, acl_of(0o777, ("user", MALLORY, 7), ("group", MALLORY, 7)), default=True)
    marked(theirs / "tls")
    status = os.stat(theirs / "tls")
    assert (status.st_uid, stat.S_IMODE(status.st_mode) & 0o777) == (0, 0o755)
    assert not has_acl(theirs / "tls") and not has_acl(theirs / "tls", default=True)
    assert os.stat(theirs / "tls" / MARK).st_uid == 0 and not has_acl(theirs / "tls" / MARK)
    assert os.listdir(theirs) == ["tls"]


@root_only
def test_in_a_place_of_ours_the_folder_above_says_what_it_hands_on(tmp_path):
    give_acl(tmp_path, acl_of(0o755, ("user", ALICE, 5)), default=True)
    folders.make(str(tmp_path / "tls"))
    assert has_acl(tmp_path / "tls", default=True)


@root_only
def test_no_folder_is_made_where_a_link_of_theirs_leads(tmp_path, theirs):
    victim = tmp_path / "victim"
    victim.mkdir()
    link_of(theirs / "link", victim)
    link_of(theirs / "dangling", victim / "new")
    for path in ("link/tls", "dangling", "dangling/tls"):
        with pytest.raises(HostFileError, match="is a symbolic link of the user %d" % MALLORY):
            folders.make(str(theirs / path))
    assert os.listdir(victim) == []


def test_where_a_link_of_ours_leads_a_folder_is_made(tmp_path):
    (tmp_path / "link").symlink_to("real")
    folders.make(str(tmp_path / "link" / "tls"))
    assert (tmp_path / "real" / "tls").is_dir()


# taken away


def test_folders_go_with_the_last_that_is_in_them(folder):
    inner = marked(folder / "a" / "b")
    (inner / "site.key").write_bytes(b"")
    assert folders.left_alone([str(inner), str(inner.parent)]) == []
    folders.take_away([str(inner), str(inner.parent)])
    assert (inner / "site.key").exists() and (inner / MARK).exists()
    (inner / "site.key").unlink()
    assert folders.left_alone([str(inner), str(inner.parent), str(folder / "no")]) == [str(inner)]
    folders.take_away([str(inner)])
    assert os.listdir(folder) == []


def test_what_we_did_not_make_stays_though_it_is_empty(folder):
    (folder / "a").mkdir()
    marked(folder / "a" / "b")
    folders.take_away([str(folder / "a" / "b"), str(folder / "a")])
    assert os.listdir(folder) == ["a"] and os.listdir(folder / "a") == []


def test_a_file_that_comes_meanwhile_keeps_its_folder(folder, monkeypatch):
    inner = marked(folder / "a" / "b")
    meanwhile(monkeypatch, "rmdir", lambda: (inner / "site.key").write_bytes(b""), when=lambda name: name == "b")
    folders.take_away([str(inner)])
    assert os.listdir(inner) == ["site.key"] and (inner.parent / MARK).exists()


@root_only
@table(
    "plant",
    {
        "a file of theirs": lambda path, victim: file_of(path),
        "a link of theirs": link_of,
        "a folder of theirs": lambda path, victim: folder_of(path),
    },
)
def test_a_mark_of_theirs_has_nothing_removed(tmp_path, plant):
    """Where somebody else could have us remove a folder, or what a link leads to."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    inner = tmp_path / "tls"
    inner.mkdir()
    plant(inner / MARK, victim)
    assert folders.left_alone([str(inner)]) == []
    folders.take_away([str(inner)])
    assert os.listdir(inner) == [MARK] and victim.read_bytes() == b"mine"


@root_only
def test_a_folder_of_theirs_stays_whoever_made_the_mark(theirs):
    file_of(theirs / MARK, uid=0)
    assert folders.left_alone([str(theirs)]) == []
    folders.take_away([str(theirs)])
    assert os.listdir(theirs) == [MARK]


@root_only
def test_a_link_of_theirs_leads_to_no_folder_that_is_removed(tmp_path, theirs):
    victim = marked(tmp_path / "victim")
    link_of(theirs / "tls", victim)
    folders.take_away([str(theirs / "tls")])
    assert os.listdir(victim) == [MARK]
    with pytest.raises(HostFileError, match="is a symbolic link of the user %d" % MALLORY):
        folders.remove_empty(str(theirs / "tls"))


@root_only
def test_an_ordinary_user_makes_and_takes_away_its_own(open_folder):
    home = folder_of(open_folder / "home", ALICE)
    as_user(ALICE, marked, home / "tls")
    assert seen(home / "tls")[0] == ALICE and os.listdir(home / "tls") == [MARK]
    as_user(ALICE, folders.take_away, [str(home / "tls")])
    assert os.listdir(home) == []


def test_only_what_is_empty_is_removed(tmp_path):
    inner = tmp_path / "a"
    inner.mkdir()
    (inner / "file").write_bytes(b"")
    with pytest.raises(OSError, match="not empty"):
        folders.remove_empty(str(inner))
    (inner / "file").unlink()
    folders.remove_empty(str(inner))
    assert os.listdir(tmp_path) == []

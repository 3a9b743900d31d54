# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Whose a place is: ours, or that of somebody who may be an attacker. test_places_links.py says which links are followed."""

from __future__ import annotations

import os

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError, OptionError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import places
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    NOBODY,
    acl_of,
    as_user,
    folder_of,
    give_acl,
    group_that_is,
    meanwhile,
    name_of,
    root_only,
)


def why_foreign(path) -> str:
    """Of the place of a file: who else can change what lies there."""
    with places.opened(str(path)) as place:
        assert place.ours is (place.why_foreign() == "")
        return place.why_foreign()


# ours or foreign


@root_only
@table(
    "owner, group, mode, why",
    {
        "root's": (0, 0, 0o755, ""),
        "root's alone": (0, 0, 0o700, ""),
        "that a group may read": (0, MALLORY, 0o750, ""),
        "of somebody else": (MALLORY, 0, 0o755, "FOLDER belongs to the user %d" % MALLORY),
        "of somebody else who may not write": (MALLORY, 0, 0o555, "FOLDER belongs to the user %d" % MALLORY),
        "of a user with a name": (NOBODY, 0, 0o700, "FOLDER belongs to %s" % name_of(NOBODY)),
        "that everybody may write to": (0, 0, 0o757, "everybody may write to FOLDER"),
        "where everybody may leave files": (0, 0, 0o1777, "everybody may write to FOLDER"),
        "that a group may write to": (0, MALLORY, 0o775, "the group %d may write to FOLDER" % MALLORY),
        "that root's group may write to": (0, 0, 0o775, ""),
    },
)
def test_whose_a_folder_is(tmp_path, owner, group, mode, why):
    folder = tmp_path / "tls"
    folder.mkdir()
    os.chown(folder, owner, group)
    folder.chmod(mode)
    assert why_foreign(folder / "site.key") == why.replace("FOLDER", str(folder))
    assert places.is_ours(str(folder / "site.key")) is (why == "")


@root_only
@table(
    "named, why",
    {
        "nobody": ([], ""),
        "somebody who may read": ([("user", MALLORY, 5)], ""),
        "somebody who may write": ([("user", MALLORY, 7)], "an ACL lets the user %d write to FOLDER" % MALLORY),
        "somebody who may only write": ([("user", MALLORY, 2)], "an ACL lets the user %d write to FOLDER" % MALLORY),
        "root": ([("user", 0, 7)], ""),
        "a group that may write": ([("group", MALLORY, 7)], "the group %d may write to FOLDER" % MALLORY),
        "a group that may read": ([("group", MALLORY, 5)], ""),
        "root's group": ([("group", 0, 7)], ""),
        "several": ([("user", 0, 7), ("user", ALICE, 4), ("group", MALLORY, 2)], "the group %d may write" % MALLORY),
    },
)
def test_who_may_write_by_an_acl(tmp_path, named, why):
    folder = tmp_path / "tls"
    folder.mkdir()
    give_acl(folder, acl_of(0o755, *named))
    found = why_foreign(folder / "site.key")
    assert found.startswith(why.replace("FOLDER", str(folder))) and bool(found) is bool(why)


@root_only
def test_what_the_mask_of_an_acl_forbids_nobody_may_do(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    give_acl(folder, acl_of(0o755, ("user", MALLORY, 7), ("group", MALLORY, 7)))
    folder.chmod(0o755)  # which sets the mask
    assert why_foreign(folder / "site.key") == ""
    folder.chmod(0o775)
    assert why_foreign(folder / "site.key") != ""


@root_only
def test_the_owning_group_may_write_beside_an_acl_or_may_not(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    os.chown(folder, 0, MALLORY)
    give_acl(folder, acl_of(0o755, ("user", ALICE, 5)))
    assert why_foreign(folder / "site.key") == "", "the mask allows it, and nobody was given it"
    give_acl(folder, acl_of(0o775, ("user", ALICE, 5)))
    assert why_foreign(folder / "site.key") == "the group %d may write to %s" % (MALLORY, folder)


@root_only
@table(
    "path, ours",
    {
        "below /usr/local": ("/usr/local/share/ca-certificates", True),
        "/usr/local": ("/usr/local", True),
        "elsewhere": ("/srv/local", False),
        "of nearly the same name": ("/usr/local2", False),
        "above": ("/usr", False),
    },
)
def test_staff_may_write_below_usr_local_as_debian_has_it(tmp_path, path, ours):
    os.chown(tmp_path, 0, group_that_is("staff"))
    tmp_path.chmod(0o2775)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        found = places.Folder(path, descriptor)
        assert found.ours is ours
        assert found.why_foreign() == ("" if ours else "the group staff may write to %s" % path)
    finally:
        os.close(descriptor)


@root_only
def test_each_folder_on_the_way_counts(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    inner = theirs / "ours" / "tls"
    inner.mkdir(parents=True)
    assert why_foreign(inner / "site.key") == "%s belongs to the user %d" % (theirs, MALLORY)
    assert why_foreign(theirs / "site.key") == "%s belongs to the user %d" % (theirs, MALLORY)
    with places.entered(str(theirs)) as folder:
        assert folder.named_by_us, "only root can put another folder in its place"
    with places.entered(str(inner)) as folder:
        assert not folder.named_by_us


@root_only
@table(
    "owner, mode, below, why",
    {
        "ours in the sticky one of root's": (0, 0o1777, 0, ""),
        "theirs in the sticky one of root's": (0, 0o1777, MALLORY, "INNER belongs to the user %d" % MALLORY),
        "ours in a sticky one of theirs": (MALLORY, 0o1777, 0, "ABOVE belongs to the user %d" % MALLORY),
        "ours in one that is not sticky": (0, 0o777, 0, "everybody may write to ABOVE"),
        "ours in the sticky one of a group": (0, 0o1770, 0, ""),
    },
)
def test_sticky_folders_may_be_passed_through(tmp_path, owner, mode, below, why):
    sticky = folder_of(tmp_path / "sticky", owner, mode)
    inner = folder_of(sticky / "inner", below)
    assert why_foreign(inner / "site.key") == why.replace("INNER", str(inner)).replace("ABOVE", str(sticky))


@root_only
def test_a_folder_that_root_will_make_in_a_sticky_one_is_ours(tmp_path):
    sticky = folder_of(tmp_path / "sticky", 0, 0o1777)
    with places.opened(str(sticky / "a" / "b" / "site.key")) as place:
        assert (place.ours, place.why_foreign(), place.missing, place.name) == (True, "", ["a", "b"], "site.key")
        assert place.path == str(sticky / "a" / "b" / "site.key")
    assert not places.is_ours(str(sticky / "site.key")), "others may have put it there"
    theirs = folder_of(tmp_path / "theirs")
    assert not places.is_ours(str(theirs / "a" / "site.key"))


@root_only
def test_what_is_of_the_tasks_user_is_ours_to_it_and_foreign_to_root(open_folder):
    alice = folder_of(open_folder / "alice", ALICE, 0o700)
    mallory = folder_of(open_folder / "mallory", MALLORY, 0o755)
    inner = folder_of(alice / "inner", MALLORY, 0o755)
    assert as_user(ALICE, places.is_ours, str(alice / "site.key"))
    assert as_user(ALICE, places.is_ours, str(open_folder / "site.key")), "root could do anything anyway"
    assert not as_user(ALICE, places.is_ours, str(mallory / "site.key"))
    assert not as_user(ALICE, places.is_ours, str(inner / "site.key"))
    assert not places.is_ours(str(alice / "site.key"))


@root_only
def test_to_look_at_a_folder_one_need_not_be_let_read_it(open_folder):
    """Entering is enough: so are many folders of services."""
    closed = folder_of(open_folder / "closed", 0, 0o711)
    (closed / "tls").mkdir()
    assert as_user(ALICE, places.is_ours, str(closed / "tls" / "site.key"))


# the folder that is open


@root_only
def test_what_is_open_stays_what_it_is_whatever_its_name_leads_to_by_then(tmp_path):
    theirs = folder_of(tmp_path / "theirs")
    (theirs / "tls").mkdir()
    (theirs / "tls" / "site.key").write_bytes(b"former")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "site.key").write_bytes(b"another")
    with places.opened(str(theirs / "tls" / "site.key")) as place:
        (theirs / "tls").rename(theirs / "away")
        (theirs / "tls").symlink_to(victim)
        assert place.folder.look("site.key").st_size == len(b"former")
        assert place.folder.names() == ["site.key"]
        place.folder.sync()


def test_no_descriptor_stays_open(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    before = os.listdir("/dev/fd")
    for name in ("a/b/c", "link/c", "link/../../a/c", "loop", "loop/c", "file/c", "no/no/c", "..", "a/../file", ""):
        for look in (places.is_ours, places.exists, places.missing_folder, places.is_there):
            try:
                look(str(tmp_path / name))
            except HostFileError:
                assert name in ("loop", "loop/c", "file/c")
    assert os.listdir("/dev/fd") == before


def test_places_are_found_without_o_path_too(tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.setattr(places, "_FOLDER", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert places.resolve(str(tmp_path / "link" / "site.key"), "key_path") == str(tmp_path / "real" / "site.key")
    assert places.is_ours(str(tmp_path / "link" / "site.key"))


# what options name


def test_a_path_is_absolute(tmp_path):
    with pytest.raises(OptionError, match="key_path: 'tls/site.key' is not an absolute path"):
        places.resolve("tls/site.key", "key_path")
    assert places.resolve(str(tmp_path / "site.key"), "key_path") == os.path.realpath(str(tmp_path / "site.key"))


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (str(tmp_path), str(tmp_path / "link"), str(tmp_path / "new") + "/", "/", str(tmp_path / "..")):
        with pytest.raises(HostFileError, match="key_path: .* is a folder. Name a file in it"):
            places.resolve(path, "key_path")


def test_the_folder_that_is_missing_is_named(tmp_path):
    assert places.missing_folder(str(tmp_path / "site.key")) is None
    assert places.missing_folder(str(tmp_path / "no" / "site.key")) == str(tmp_path / "no")
    assert places.missing_folder(str(tmp_path / "no" / "no" / "site.key")) == str(tmp_path / "no" / "no")
    (tmp_path / "link").symlink_to("no")
    assert places.missing_folder(str(tmp_path / "link" / "site.key")) == str(tmp_path / "link")
    with places.opened(str(tmp_path / "no" / "site.key")) as place, pytest.raises(FileNotFoundError):
        place.require_folder()


def test_what_is_there(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "good").symlink_to("file")
    found = {name: str(tmp_path / name) for name in ("file", "dangling", "good", "nothing", "no/file")}
    assert {name: places.exists(path) for name, path in found.items() if places.exists(path)} == {
        "file": True,
        "good": True,
    }
    assert [name for name, path in found.items() if places.is_there(path)] == ["file", "dangling", "good"]
    with places.opened(str(tmp_path)) as place:
        assert place.is_folder and place.path == str(tmp_path)
    with places.opened(str(tmp_path / "file")) as place:
        assert not place.is_folder


def test_what_is_removed_is_the_file_of_that_name_and_not_where_it_leads(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    places.remove(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["file"]
    for path in ("nothing", "no/nothing"):
        places.remove(str(tmp_path / path))
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostFileError, match="Cannot remove .*folder: "):
        places.remove(str(tmp_path / "folder"))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@table(
    "way, leads_to",
    {
        "here": ("./a/./site.key", "a/site.key"),
        "above": ("a/b/../site.key", "a/site.key"),
        "twice the same": ("a//b///site.key", "a/b/site.key"),
        "out and in": ("a/../../NAME/a/site.key", "a/site.key"),
    },
)
def test_a_way_is_walked_as_it_is_written(tmp_path, way, leads_to):
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = "%s/%s" % (tmp_path, way.replace("NAME", tmp_path.name))
    assert places.resolve(path, "key_path") == str(tmp_path / leads_to)


def test_above_the_top_is_the_top(tmp_path):
    assert places.resolve("/../../etc/../nothing-here", "key_path") == "/nothing-here"


def test_out_of_a_folder_that_is_missing_there_is_no_way(tmp_path):
    with pytest.raises(HostFileError, match="Cannot follow .*: No such file or directory. Make the folder first"):
        places.resolve(str(tmp_path / "no" / ".." / "site.key"), "key_path")


# what happens meanwhile


@root_only
@table(
    "then, words",
    {
        "a link": (lambda path, victim: path.symlink_to(victim), "is a symbolic link of"),
        "a file": (lambda path, victim: path.write_bytes(b""), "Not a directory"),
        "nothing": (lambda path, victim: None, ""),
    },
)
def test_a_folder_that_is_swapped_before_it_is_entered(tmp_path, monkeypatch, then, words):
    """Whoever owns the folder above may do so at any moment; what was seen before counts for nothing."""
    theirs = folder_of(tmp_path / "theirs")
    folder_of(theirs / "tls")
    victim = tmp_path / "victim"
    victim.mkdir()

    def swap():
        (theirs / "tls").rename(theirs / "away")
        then(theirs / "tls", victim)

    meanwhile(monkeypatch, "open", swap, when=lambda path, *_rest: path == "tls")
    path = str(theirs / "tls" / "site.key")
    if words:
        with pytest.raises(HostFileError, match=words):
            places.is_ours(path)
    else:
        assert places.missing_folder(path) == str(theirs / "tls") and not places.is_ours(path)
    assert os.listdir(victim) == []


@root_only
def test_a_link_that_is_a_folder_again_when_it_is_looked_at(tmp_path, monkeypatch):
    theirs = folder_of(tmp_path / "theirs")
    victim = tmp_path / "victim"
    victim.mkdir()
    (theirs / "tls").symlink_to(victim)

    def swap():
        (theirs / "tls").unlink()
        (theirs / "tls").mkdir()

    meanwhile(monkeypatch, "stat", swap, when=lambda path: path == "tls")
    with pytest.raises(HostFileError, match="Cannot reach .*: Not a directory"):
        places.is_ours(str(theirs / "tls" / "site.key"))
    assert (theirs / "tls").is_dir() and not (theirs / "tls").is_symlink()

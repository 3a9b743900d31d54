# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Where files wait: beside their targets in a place of ours, else in a subfolder that is proved to be ours."""

from __future__ import annotations

import os
import stat

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import (
    areas,
    places,
    reading,
    replacing,
    staging,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    NOBODY,
    acl_of,
    as_user,
    file_of,
    folder_of,
    give,
    give_acl,
    has_acl,
    in_time,
    link_of,
    meanwhile,
    root_only,
    seen,
)

AREA = ".stepca.%d" % os.geteuid()


@pytest.fixture(name="theirs")
def fixture_theirs(tmp_path):
    """A folder of somebody else's."""
    return folder_of(tmp_path / "theirs")


@pytest.fixture(name="victim")
def fixture_victim(tmp_path):
    """A folder of root's that an attacker would have us write to."""
    folder = tmp_path / "victim"
    folder.mkdir(0o700)
    return folder


def stage(path, content=b"secret", tag="new"):
    with in_time():
        return staging.stage(str(path), content, tag)


# what things are called


def test_names():
    assert areas.staged_name("site.key", "new") == ".site.key.stepca-new"
    assert areas.backup_name("site.key") == ".site.key.stepca.backup"


@root_only
def test_where_something_waits_is_told_to_people(tmp_path, theirs):
    assert areas.path_of(str(tmp_path / "site.key"), "new") == str(tmp_path / ".site.key.stepca-new")
    assert areas.path_of(str(theirs / "site.key"), "new") == str(theirs / AREA / ".site.key.stepca-new")
    for folder in (tmp_path, theirs):
        stage(folder / "site.key")
        assert os.path.exists(areas.path_of(str(folder / "site.key"), "new"))


@root_only
def test_what_waits_is_found(tmp_path, theirs):
    for folder in (tmp_path, theirs):
        path = str(folder / "site.key")
        assert areas.waiting(path) == []
        for tag in ("new", "probe-1"):
            stage(path, tag=tag)
        stage(folder / "other.key")
        assert areas.waiting(path) == ["new", "probe-1"]
    assert areas.waiting(str(tmp_path / "no" / "site.key")) == []
    link_of(theirs / "link", tmp_path)
    assert areas.waiting(str(theirs / "link" / "site.key")) == []


# in a place of ours


def test_in_a_place_of_ours_files_wait_beside_their_targets(tmp_path):
    with places.opened(str(tmp_path / "site.key")) as place, areas.area_of(place) as area:
        assert area is place.folder
    assert os.listdir(tmp_path) == []


# in a place of others


@root_only
def test_the_subfolder_is_ours_alone_and_goes_with_the_last_file_in_it(theirs):
    with places.opened(str(theirs / "site.key")) as place:
        with areas.area_of(place) as area:
            assert area is None
        with areas.area_of(place, make=True) as area:
            status = os.stat(theirs / AREA)
            assert (status.st_uid, stat.S_IMODE(status.st_mode), area.ours) == (0, 0o700, True)
            assert area.path == str(theirs / AREA)
        assert os.listdir(theirs) == []
        with areas.area_of(place, make=True, tidy=False):
            pass
        assert os.listdir(theirs) == [AREA]
        stage(theirs / "site.key")
        with areas.area_of(place) as area:
            assert area.names() == [".site.key.stepca-new"]
        assert os.listdir(theirs) == [AREA], "something waits in it"


@root_only
@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_the_subfolder_is_what_it_must_be_whatever_the_umask_and_the_folder_say(theirs, monkeypatch, mask):
    """By a default ACL, and by setgid, a folder says whose all is that is made in it."""
    give(theirs, mode=0o2755)
    give_acl(theirs, acl_of(0o777, ("user", MALLORY, 7), ("group", MALLORY, 7)), default=True)
    seen_at_once = []
    meanwhile(monkeypatch, "mkdir", lambda: seen_at_once.append(os.stat(theirs / AREA).st_mode & 0o777), after=True)
    before = os.umask(mask)
    try:
        stage(theirs / "site.key")
    finally:
        os.umask(before)
    assert seen_at_once == [0o700]
    assert not has_acl(theirs / AREA) and not has_acl(theirs / AREA, default=True)
    assert not has_acl(theirs / AREA / ".site.key.stepca-new")
    assert os.stat(theirs / AREA / ".site.key.stepca-new").st_mode & 0o777 == 0o600


@root_only
def test_each_user_has_one_of_its_own(open_folder):
    """Several may work in one folder, and one of them may own it."""
    theirs = folder_of(open_folder / "theirs", NOBODY)
    stage(theirs / "site.key")
    as_user(NOBODY, staging.stage, str(theirs / "site.key"), b"of nobody", "new")
    assert sorted(os.listdir(theirs)) == sorted([AREA, ".site.key.stepca-new"]), "to its owner the folder is its own"
    sticky = folder_of(open_folder / "sticky", 0, 0o1777)
    stage(sticky / "site.key")
    for uid in (ALICE, NOBODY):
        as_user(uid, staging.stage, str(sticky / "site.key"), b"theirs", "new")
    assert sorted(os.listdir(sticky)) == sorted([AREA, ".stepca.%d" % ALICE, ".stepca.%d" % NOBODY])


@root_only
def test_nobody_else_can_look_into_it(open_folder):
    theirs = folder_of(open_folder / "theirs", NOBODY)
    stage(theirs / "site.key")
    for act in (os.listdir, os.stat):
        with pytest.raises(PermissionError):
            as_user(NOBODY, act, theirs / AREA / ("" if act is os.listdir else ".site.key.stepca-new"))


# what stands in its way

PLANTED = {
    "a link": (link_of, "is no folder of ours, and stands in our way: remove it"),
    "a link of roots": (lambda path, victim: path.symlink_to(victim), "is no folder of ours, and stands in our way"),
    "a link to nothing": (
        lambda path, victim: link_of(path, "/nothing"),
        "is no folder of ours, and stands in our way",
    ),
    "a file": (lambda path, victim: file_of(path), "is no folder of ours, and stands in our way: remove it"),
    "a pipe": (lambda path, victim: os.mkfifo(path), "is no folder of ours, and stands in our way: remove it"),
    "their folder": (
        lambda path, victim: folder_of(path, mode=0o700),
        "is no folder of ours (it belongs to the user %d, mode 0700), and stands in our way: remove it" % MALLORY,
    ),
    "an open one of roots": (
        lambda path, victim: folder_of(path, 0, 0o777),
        "is no folder of ours (it belongs to root, mode 0777), and stands in our way: remove it",
    ),
    "one of roots that others may read": (
        lambda path, victim: folder_of(path, 0, 0o755),
        "is no folder of ours (it belongs to root, mode 0755), and stands in our way: remove it",
    ),
}


@root_only
@table("plant, words", PLANTED)
def test_what_was_planted_in_its_place_is_refused_and_left_as_it_is(theirs, victim, plant, words):
    plant(theirs / AREA, victim)
    before, descriptors = seen(theirs / AREA), os.listdir("/dev/fd")
    with pytest.raises(HostFileError) as caught:
        stage(theirs / "site.key")
    assert "%s %s" % (theirs / AREA, words) in str(caught.value)
    assert seen(theirs / AREA) == before and os.listdir(theirs) == [AREA]
    assert os.listdir(victim) == [] and os.listdir("/dev/fd") == descriptors


@root_only
@table("plant, _words", PLANTED)
def test_what_was_planted_is_refused_wherever_it_is_looked_at(theirs, victim, plant, _words):
    plant(theirs / AREA, victim)
    path = str(theirs / "site.key")
    for act in (
        lambda: staging.read(path, "new"),
        lambda: staging.forget(path, "new"),
        lambda: replacing.replace_set([(path, "new")]),
        lambda: replacing.probe(path, None),
    ):
        with in_time(), pytest.raises(HostFileError, match="is no folder of ours"):
            act()
    staging.forget_stale(path)
    assert areas.waiting(path) == []
    assert os.listdir(victim) == []


@root_only
@table("plant, _words", PLANTED)
def test_what_is_planted_between_two_calls_is_refused(theirs, victim, monkeypatch, plant, _words):
    """The name is made by us, and somebody else's by the time that it is opened."""

    def swap():
        (theirs / AREA).rename(theirs / "away")
        plant(theirs / AREA, victim)

    calls = meanwhile(monkeypatch, "open", swap, when=lambda path, *_rest: path == AREA)
    with pytest.raises(HostFileError):
        stage(theirs / "site.key")
    assert calls and os.listdir(victim) == [] and os.listdir(theirs / "away") == []


@root_only
def test_once_it_is_open_its_name_counts_for_nothing(theirs, victim, monkeypatch):
    """Whoever owns the folder can rename it, and put a link there."""
    stages = []

    def dress(staged):
        (theirs / AREA).rename(theirs / "away")
        link_of(theirs / AREA, victim)
        os.chmod(staged.path, 0o640)  # as Ansible's helpers do, by path
        stages.append(staged.path)
        return []

    staging.stage(str(theirs / "site.key"), b"secret", "new", dress)
    assert os.listdir(victim) == []
    status = os.stat(theirs / "away" / ".site.key.stepca-new")
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o640)
    assert stages[0].startswith("/proc/self/fd/")


@root_only
def test_a_folder_of_ours_that_was_renamed_is_missed(theirs):
    stage(theirs / "site.key")
    (theirs / AREA).rename(theirs / "away")
    with pytest.raises(
        HostFileError, match="What waited to become .*site.key is gone: somebody else is at work there."
    ):
        replacing.replace_set([(str(theirs / "site.key"), "new")])
    assert staging.read(str(theirs / "site.key"), "new") is None
    assert reading.read(str(theirs / "site.key")) is None


# where we are nobody


@root_only
@table("what", {"the subfolder": "folder", "what is in it": "file"})
def test_where_what_we_make_is_not_ours_the_remedy_is_named(tmp_path, theirs, monkeypatch, what):
    """NFS with root_squash gives all that root makes to nobody."""
    real = os.fstat
    os.chown(theirs, NOBODY, NOBODY)

    def fstat(descriptor):
        status = real(descriptor)
        name = os.path.basename(os.readlink("/proc/self/fd/%d" % descriptor))
        squashed = name == AREA if what == "folder" else name.startswith(".site.key")
        return os.stat_result((*status[:4], NOBODY, NOBODY, *status[6:10])) if squashed else status

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(HostFileError) as caught:
        stage(theirs / "site.key")
    user = places.user(NOBODY)
    assert "root is nobody here: what it makes in %s belongs to %s" % (theirs, user) in str(caught.value)
    assert "NFS with root_squash" in str(caught.value) and "Run this task with `become_user: %s`." % user in str(
        caught.value
    )
    assert [name for name in os.listdir(theirs) if name != AREA] == []


# further names of a file


@root_only
def test_further_names_that_are_ours(theirs):
    file_of(theirs / "site.key")

    def count():
        with places.opened(str(theirs / "site.key")) as place:
            return areas.own_links(place.folder, place.name, place.status)

    assert count() == 0
    os.link(theirs / "site.key", theirs / ".site.key.stepca.backup")
    assert count() == 1
    folder_of(theirs / AREA, 0, 0o700)
    os.link(theirs / "site.key", theirs / AREA / ".site.key.stepca-old")
    assert count() == 2
    file_of(theirs / AREA / ".site.key.stepca-new")
    assert count() == 2, "another file"
    os.link(theirs / "site.key", theirs / "other.key")
    assert count() == 2, "a name that is not ours"
    os.link(theirs / "site.key", theirs / ".other.key.stepca.backup-3")
    os.link(theirs / "site.key", theirs / AREA / ".other.key.stepca-old")
    assert count() == 4, "the file was other.key when they were made"


@root_only
@table(
    "name", {"a backup": ".site.key.stepca.backup", "what waits": ".site.key.stepca-0123", "another's": ".x.stepca-old"}
)
def test_a_name_of_ours_is_no_further_name_of_its_own_file(theirs, victim, name):
    """Somebody gave root's file such a name: it has one that is not ours."""
    os.link(file_of(victim / "secret.key", uid=0), theirs / name)
    with pytest.raises(HostFileError, match="has another name somewhere"):
        reading.read(str(theirs / name))


@root_only
def test_what_only_looks_as_if_it_waited_there_is_not_read(theirs, victim):
    os.link(file_of(victim / "secret.key", uid=0), theirs / ".site.key.stepca-0123")
    assert staging.read(str(theirs / "site.key"), "0123") is None

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""New files: written where nobody else can reach them, dressed there, and gone again where that fails."""

from __future__ import annotations

import errno
import os
import stat
import time

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import (
    areas,
    attributes,
    reading,
    replacing,
    staging,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.killing import CALLS
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    NOBODY,
    as_user,
    file_of,
    folder_of,
    give,
    link_of,
    meanwhile,
    root_only,
    seen,
)

FAULTS = [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS]
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


def staged(path, tag="new"):
    """Where it waits."""
    return areas.path_of(str(path), tag)


def failing(code):
    def fail():
        raise OSError(code, os.strerror(code))

    return fail


# written


def test_a_staged_file_is_hidden_beside_its_target_and_for_its_owner_alone(folder):
    former = os.umask(0)
    try:
        assert staging.stage(str(folder / "site.key"), b"secret", "abc") == []
    finally:
        os.umask(former)
    assert staging.read(str(folder / "site.key"), "abc") == b"secret"
    path = staged(folder / "site.key", "abc")
    assert path in (str(folder / ".site.key.stepca-abc"), str(folder / AREA / ".site.key.stepca-abc"))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and os.stat(path).st_uid == os.geteuid()


def test_a_staged_file_is_opened_for_nobody_else_and_only_if_it_is_new(folder, monkeypatch):
    opened = []
    real = os.open

    def watched(path, flags, *mode, **more):
        if flags & os.O_CREAT:
            opened.append((flags, mode))
        return real(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", watched)
    staging.stage(str(folder / "site.key"), b"", "new")
    ((flags, mode),) = opened
    assert flags & os.O_EXCL and flags & os.O_NOFOLLOW and mode == (0o600,)


def test_nobody_else_can_read_it_at_any_moment(folder, monkeypatch):
    """Looked at around each call that changes a file. In a place of ours it has its own mode once it is dressed."""
    looked, given = [], {}

    def look():
        for place, _folders, names in os.walk(folder):
            closed = place.endswith(AREA) and os.stat(place).st_mode & 0o077 == 0
            for name in names:
                status = os.stat(os.path.join(place, name))
                if name != "site.key" and not closed:
                    assert status.st_mode & 0o077 & ~given.get("mode", 0) == 0
                looked.append((name, status.st_size))

    for name in CALLS + ("open", "write", "close"):
        real = getattr(os, name)

        def call(*args, real=real, **kwargs):
            look()
            answer = real(*args, **kwargs)
            look()
            return answer

        monkeypatch.setattr(os, name, call)

    def dress(one):
        look()
        given["mode"] = 0o640
        return attributes.dress(one, {"mode": "0640", "group": os.getegid()}, "key")

    before = os.umask(0)
    try:
        for _time in range(2):  # at first, and in the place of another
            given.clear()
            staging.stage(str(folder / "site.key"), b"secret", "new", dress)
            replacing.replace_set([(str(folder / "site.key"), "new")])
    finally:
        os.umask(before)
    assert (".site.key.stepca-new", 6) in looked
    assert stat.S_IMODE(os.stat(folder / "site.key").st_mode) == 0o640


@root_only
def test_in_a_place_of_ours_it_gets_its_mode_last(tmp_path, monkeypatch):
    """Of whoever it is by then: a mode for a group is not that of root's group for a moment."""
    order = []
    for name in ("chown", "chmod"):
        meanwhile(monkeypatch, name, None, number=0, when=lambda *_all, name=name: not order.append(name))
    staging.stage(
        str(tmp_path / "site.key"),
        b"",
        "new",
        lambda one: attributes.dress(one, {"owner": ALICE, "group": ALICE, "mode": "0640"}, "key"),
    )
    assert order == ["chown", "chmod"]


def test_a_planted_link_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".site.key.stepca-new").symlink_to(victim)
    staging.stage(str(tmp_path / "site.key"), b"secret", "new")
    assert not os.path.islink(staged(tmp_path / "site.key"))
    assert victim.read_bytes() == b"mine" and reading.read(staged(tmp_path / "site.key")) == b"secret"


@root_only
@table(
    "plant",
    {
        "a link": link_of,
        "a hard link": lambda path, victim: os.link(victim, path),
        "a file": lambda path, victim: file_of(path),
        "a pipe": lambda path, victim: os.mkfifo(path),
    },
)
def test_what_others_planted_under_its_name_stays_as_it_is(tmp_path, theirs, plant):
    """Beside the target, as files waited in such folders before."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    plant(theirs / ".site.key.stepca-new", victim)
    before = seen(theirs / ".site.key.stepca-new"), seen(victim)
    staging.stage(str(theirs / "site.key"), b"secret", "new")
    replacing.replace_set([(str(theirs / "site.key"), "new")])
    assert (seen(theirs / ".site.key.stepca-new"), seen(victim)) == before
    assert (theirs / "site.key").read_bytes() == b"secret"


def test_what_lies_staged_already_is_replaced_with_its_mode(folder):
    staging.stage(str(folder / "site.key"), b"old", "new")
    os.chmod(staged(folder / "site.key"), 0o666)
    staging.stage(str(folder / "site.key"), b"new", "new")
    assert staging.read(str(folder / "site.key"), "new") == b"new"
    assert stat.S_IMODE(os.stat(staged(folder / "site.key")).st_mode) == 0o600


@pytest.mark.parametrize(
    "mode, refused", [(0o777, True), (0o773, True), (0o1777, False), (0o775, False), (0o755, False)]
)
def test_a_folder_that_everybody_writes_to_holds_no_key(tmp_path, mode, refused):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    if refused:
        with pytest.raises(HostFileError, match="Everybody may write to the folder .*open.* 0755 or stricter"):
            staging.stage(str(folder / "site.key"), b"", "new")
        assert os.listdir(str(folder)) == []
    else:
        staging.stage(str(folder / "site.key"), b"", "new")


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize("name", ["fsync", "fdopen", "fstat"])
def test_a_file_that_could_not_be_made_safe_is_not_left_behind(folder, monkeypatch, code, name):
    def when(descriptor, *_mode):
        waiting = [path.stat() for path in folder.rglob(".site.key.stepca-new")]
        return any(os.path.samestat(os.stat(descriptor), one) for one in waiting)

    descriptors = os.listdir("/dev/fd")
    meanwhile(monkeypatch, name, failing(code), when=when)
    with pytest.raises(HostFileError, match="Cannot write %s/site.key: %s" % (folder, os.strerror(code))):
        staging.stage(str(folder / "site.key"), b"secret", "new")
    assert os.listdir(folder) == []
    if name != "fdopen":  # which is what would have closed it
        assert os.listdir("/dev/fd") == descriptors


def test_a_fault_without_advice_is_still_a_sentence(folder, monkeypatch):
    meanwhile(monkeypatch, "fsync", failing(errno.ENXIO))
    with pytest.raises(HostFileError, match=r"Cannot write .*: %s\.$" % os.strerror(errno.ENXIO)):
        staging.stage(str(folder / "site.key"), b"", "new")


def test_what_failed_first_is_what_is_told(folder, monkeypatch):
    meanwhile(monkeypatch, "fsync", failing(errno.ENOSPC))
    meanwhile(monkeypatch, "unlink", failing(errno.EIO), number=2)
    with pytest.raises(HostFileError, match=os.strerror(errno.ENOSPC)):
        staging.stage(str(folder / "site.key"), b"", "new")


def test_a_folder_that_is_missing_is_explained(tmp_path):
    with pytest.raises(HostFileError, match="state: directory"):
        staging.stage(str(tmp_path / "no" / "site.key"), b"", "new")
    assert os.listdir(tmp_path) == []


# dressed


def test_it_is_dressed_by_its_descriptor_or_a_path_that_leads_to_it(folder):
    found = []

    def dress(one):
        one.require_path()
        assert os.path.samestat(os.stat(one.path), os.fstat(one.descriptor))
        found.append((one.target, one.ours))
        return ["a warning"]

    path = str(folder / "site.key")
    assert staging.stage(path, b"secret", "new", dress) == ["a warning"]
    assert staging.redress(path, "new", dress) == ["a warning"]
    assert found == [(path, folder.name == "ours")] * 2
    assert staging.read(path, "new") == b"secret"


def test_what_cannot_be_dressed_is_not_left_behind(folder):
    def dress(_staged):
        raise HostFileError("no such group")

    with pytest.raises(HostFileError, match="no such group"):
        staging.stage(str(folder / "site.key"), b"secret", "new", dress)
    assert os.listdir(folder) == []


def test_what_waits_no_more_cannot_be_dressed(folder):
    with pytest.raises(HostFileError, match="(What waited to become .*site.key is gone. Run again|No such file)"):
        staging.redress(str(folder / "site.key"), "new", lambda one: [])


def test_of_what_it_replaces_it_knows_only_where_that_is_ours(folder):
    (folder / "site.key").write_bytes(b"former")
    known = []
    staging.stage(str(folder / "site.key"), b"", "new", lambda one: known.append(one.former) or [])
    if folder.name == "ours":
        assert os.path.samestat(known[0].status, os.stat(folder / "site.key"))
    else:
        assert known == [None]


@root_only
def test_without_proc_no_path_is_handed_over_in_a_place_of_theirs(tmp_path, theirs, monkeypatch):
    real = os.stat

    def stat_(path, *args, **kwargs):
        if str(path).startswith("/proc/self/fd/"):
            raise FileNotFoundError(2, "no /proc here")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat_)

    def dress(one):
        return one.require_path() or []

    for folder, refused in ((tmp_path, False), (theirs, True)):
        if refused:
            with pytest.raises(HostFileError, match="without /proc no file can be given its owner and mode there"):
                staging.stage(str(folder / "site.key"), b"", "new", dress)
        else:
            staging.stage(str(folder / "site.key"), b"", "new", dress)
    assert os.listdir(theirs) == []


@root_only
def test_a_path_that_leads_to_another_file_is_not_handed_over(theirs):
    def dress(one):
        (theirs / AREA / ".site.key.stepca-new").rename(theirs / AREA / "away")
        file_of(theirs / AREA / ".site.key.stepca-new", uid=0)
        one.require_path()

    with pytest.raises(HostFileError, match="without /proc no file"):
        staging.stage(str(theirs / "site.key"), b"", "new", dress)


# read


def test_what_does_not_wait_reads_as_none(folder):
    assert staging.read(str(folder / "site.key"), "new") is None
    assert staging.read(str(folder / "no" / "site.key"), "new") is None


@root_only
@table(
    "owner, mode, believed",
    {
        "root's": (0, 0o600, True),
        "readable by others": (0, 0o644, True),
        "of somebody else": (MALLORY, 0o600, False),
        "writable by a group": (0, 0o660, False),
        "writable by all": (0, 0o606, False),
    },
)
def test_what_waits_is_believed_where_nobody_else_can_have_written_it(folder, owner, mode, believed):
    path = str(folder / "site.key")
    staging.stage(path, b"secret", "new")
    os.chown(staged(path), owner, owner)
    os.chmod(staged(path), mode)
    assert staging.read(path, "new") == (b"secret" if believed else None)


@root_only
@table("owner", {"theirs": MALLORY, "root's, which they renamed": 0})
def test_a_key_that_somebody_planted_does_not_become_ours(theirs, owner):
    """By its name it would be the one that belongs to a certificate which came."""
    file_of(theirs / ".site.key.stepca-0123", b"planted", uid=owner, mode=0o600)
    assert staging.read(str(theirs / "site.key"), "0123") is None
    with pytest.raises(HostFileError, match="site.key is gone"):
        staging.redress(str(theirs / "site.key"), "0123", lambda one: [])


@root_only
def test_an_ordinary_user_finds_what_waits_for_it(open_folder):
    home = folder_of(open_folder / "home", ALICE, 0o755)
    as_user(ALICE, staging.stage, str(home / "site.key"), b"of alice", "new")
    assert as_user(ALICE, staging.read, str(home / "site.key"), "new") == b"of alice"
    assert staging.read(str(home / "site.key"), "new") is None, "for root it is somebody else's"
    os.chmod(home / ".site.key.stepca-new", 0o644)
    with pytest.raises(
        HostFileError, match="Cannot write .*site.key: Permission denied. .*use become, or another path."
    ):
        as_user(NOBODY, staging.stage, str(home / "site.key"), b"", "new")


# forgotten


def test_forgetting_what_is_not_there_is_no_failure(folder):
    staging.forget(str(folder / "site.key"), "new")
    staging.forget(str(folder / "no" / "site.key"), "new")
    staging.stage(str(folder / "site.key"), b"", "new")
    staging.forget(str(folder / "site.key"), "other")
    assert areas.waiting(str(folder / "site.key")) == ["new"]
    staging.forget(str(folder / "site.key"), "new")
    assert os.listdir(folder) == []


def test_what_cannot_be_forgotten_is_told(folder, monkeypatch):
    staging.stage(str(folder / "site.key"), b"", "new")
    meanwhile(monkeypatch, "unlink", failing(errno.EROFS))
    with pytest.raises(HostFileError, match="Cannot remove .*site.key: Read-only file system. .*mount it writable"):
        staging.forget(str(folder / "site.key"), "new")


def test_what_was_staged_more_than_an_hour_ago_is_removed(folder):
    target = str(folder / "site.key")
    for path, tag in ((target, "probe-1"), (target, "young"), (str(folder / "other.key"), "old")):
        staging.stage(path, b"", tag)
    others = [staged(folder / "other.key", "old"), str(folder / "site.key"), str(folder / ".site.key")]
    for path in others[1:]:
        with open(path, "wb"):
            pass
    old, young = staged(target, "probe-1"), staged(target, "young")
    past = time.time() - 3700
    for path in [old] + others:
        os.utime(path, (past, past))
    staging.forget_stale(target)
    assert not os.path.exists(old)
    assert all(os.path.exists(path) for path in [young] + others)


@pytest.mark.parametrize("tag", areas.UNDER_LOCK)
def test_what_was_staged_under_the_lock_goes_at_once(folder, tag):
    """Whoever staged it is no more: we hold the lock."""
    staging.stage(str(folder / "site.key"), b"", tag)
    staging.stage(str(folder / "site.key"), b"", "0123")
    staging.forget_stale(str(folder / "site.key"))
    assert areas.waiting(str(folder / "site.key")) == ["0123"]


@root_only
def test_what_older_versions_left_in_a_folder_of_theirs_goes(theirs):
    """They staged beside the target, under other locks: one of them may still be at work."""
    target, past = str(theirs / "site.key"), time.time() - 3700
    file_of(theirs / "site.key")
    os.link(theirs / "site.key", theirs / ".site.key.stepca-old")  # by which a run kept it that ended midway
    file_of(theirs / ".site.key.stepca-new", uid=0)
    file_of(theirs / ".site.key.stepca-theirs")
    before = seen(theirs / ".site.key.stepca-theirs")
    assert sorted(areas.waiting(target)) == ["new", "old"]
    staging.forget_stale(target)
    assert sorted(areas.waiting(target)) == ["new", "old"]
    for name in ("site.key", ".site.key.stepca-new", ".site.key.stepca-theirs"):
        os.utime(theirs / name, (past, past))
    staging.forget_stale(target)
    assert sorted(os.listdir(theirs)) == [".site.key.stepca-theirs", "site.key"]
    file_of(theirs / ".site.key.stepca-new", uid=0)
    for tag in ("new", "theirs"):
        staging.forget(target, tag)
    assert sorted(os.listdir(theirs)) == [".site.key.stepca-theirs", "site.key"]
    assert seen(theirs / ".site.key.stepca-theirs")[:3] == before[:3]


def test_tidying_up_never_fails(folder, monkeypatch):
    staging.forget_stale(str(folder / "no" / "site.key"))
    staging.stage(str(folder / "site.key"), b"", "old")
    with monkeypatch.context() as patched:
        calls = meanwhile(patched, "unlink", failing(errno.EROFS))
        staging.forget_stale(str(folder / "site.key"))
    assert calls and areas.waiting(str(folder / "site.key")) == ["old"]

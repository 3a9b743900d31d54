# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""One run at a time, whoever would like to hold us up."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from contextlib import contextmanager

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import locks
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import table
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    ALICE,
    MALLORY,
    NOBODY,
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

LOCK = ".stepca.%d.lock" % ALICE


@contextmanager
def flocked(path):
    """Held by somebody, this process too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def take(path, older: float = 0.0) -> None:
    """Take a lock and let it go, without waiting; HostFileError where another one holds it."""
    with in_time(), locks.locked(str(path), 0.0, older):
        pass


# whoever runs


def test_a_lock_is_held_and_let_go(tmp_path):
    path = str(tmp_path / "site.crt")
    refused = pytest.raises(HostFileError, match="Another run is replacing certificates in %s. Run again" % tmp_path)
    with locks.locked(path), refused:
        take(path)
    take(path)
    assert os.listdir(str(tmp_path)) == []


def test_a_lock_is_let_go_after_a_failure(tmp_path):
    descriptors = os.listdir("/dev/fd")
    with pytest.raises(RuntimeError), locks.locked(str(tmp_path / "site.crt")):
        raise RuntimeError
    take(tmp_path / "site.crt")
    assert os.listdir("/dev/fd") == descriptors


def test_it_is_that_of_all_files_of_a_folder_and_of_no_other_folder(tmp_path):
    (tmp_path / "tls").mkdir()
    (tmp_path / "link").symlink_to("tls")
    with locks.locked(str(tmp_path / "link" / "site.crt")):
        for path in ("tls/site.crt", "link/other.crt", "tls/../tls/x"):
            with pytest.raises(HostFileError, match="Another run is replacing certificates in %s" % (tmp_path / "tls")):
                take(tmp_path / path)
        take(tmp_path / "site.crt")
        take(tmp_path / "tls" / "tls" / "site.crt") if os.geteuid() == 0 else None


def test_a_lock_is_waited_for(tmp_path):
    path = str(tmp_path / "site.crt")
    holding, letting_go, entered = threading.Event(), threading.Event(), threading.Event()

    def hold():
        with locks.locked(path):
            holding.set()
            letting_go.wait(20)

    def wait():
        with locks.locked(path, patience=20.0):
            entered.set()

    threads = [threading.Thread(target=one, daemon=True) for one in (hold, wait)]
    threads[0].start()
    assert holding.wait(20)
    threads[1].start()
    assert not entered.wait(0.2)
    letting_go.set()
    assert entered.wait(20)
    for one in threads:
        one.join(20)


def test_patience_ends(tmp_path):
    path = str(tmp_path / "site.crt")
    with locks.locked(path), in_time():
        begin = time.monotonic()
        with pytest.raises(HostFileError, match="Another run"), locks.locked(path, patience=0.3):
            pytest.fail("two hold one lock")
        assert 0.3 <= time.monotonic() - begin < 10


def test_no_child_goes_on_holding_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, _how: opened.append(descriptor))
    with locks.locked(str(tmp_path / "site.crt")):
        assert fcntl.fcntl(opened[-1], fcntl.F_GETFD) & fcntl.FD_CLOEXEC


# root


@root_only
def test_roots_locks_are_where_nobody_else_can_open_them(tmp_path, fixture_state):
    take(tmp_path / "site.crt")
    folder = fixture_state / "locks"
    (name,) = os.listdir(folder)
    assert [stat.S_IMODE(os.stat(one).st_mode) for one in (fixture_state, folder, folder / name)] == [
        0o755,
        0o700,
        0o600,
    ]
    take(tmp_path / "other.crt")
    assert os.listdir(folder) == [name], "one for each folder, never removed"


@root_only
def test_nobody_else_can_hold_a_lock_of_roots(fixture_state, open_folder):
    path = open_folder / "site.crt"
    take(path)
    (name,) = os.listdir(fixture_state / "locks")
    with pytest.raises(PermissionError):
        as_user(NOBODY, os.open, fixture_state / "locks" / name, os.O_RDONLY)
    theirs = folder_of(open_folder / "theirs", NOBODY, 0o777)
    give(theirs, NOBODY)
    for folder in (open_folder, theirs):
        with flocked(folder):  # anybody may
            take(folder / "site.crt")


@root_only
def test_an_older_version_that_is_under_way_is_waited_for_and_nobody_for_long(tmp_path):
    """They lock the folder itself, which anybody can."""
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    letting_go = threading.Timer(0.2, os.close, [held])
    letting_go.start()
    begin = time.monotonic()
    take(tmp_path / "site.crt", 20.0)
    assert 0.1 < time.monotonic() - begin < 10
    letting_go.join()
    with flocked(tmp_path):
        begin = time.monotonic()
        take(tmp_path / "site.crt", 0.2)
        assert 0.2 <= time.monotonic() - begin < 10


@root_only
def test_an_older_version_waits_for_us(tmp_path):
    with locks.locked(str(tmp_path / "site.crt")), pytest.raises(BlockingIOError), flocked(tmp_path):
        pytest.fail("two hold one lock")
    with flocked(tmp_path):
        pass


@root_only
def test_root_does_not_wait_for_the_lock_of_an_ordinary_user(open_folder):
    home = folder_of(open_folder / "home", ALICE)
    with flocked(file_of(home / LOCK, uid=ALICE, mode=0o600)):
        take(home / "site.crt")
    assert os.listdir(home) == [LOCK]


@root_only
def test_a_folder_of_odd_name_can_be_locked(tmp_path, fixture_state):
    for name in ("a\nb", "ä", "\udcff", "x" * 250):
        (tmp_path / name).mkdir()
        take(tmp_path / name / "site.crt")
    assert len(os.listdir(fixture_state / "locks")) == 4


@root_only
@table(
    "spoil, words",
    {
        "of somebody else": (lambda folder: give(folder, MALLORY, 0o700), "belongs to the user %d" % MALLORY),
        "open to all": (lambda folder: folder.chmod(0o777), "everybody may write to"),
        "in a folder of somebody else": (lambda folder: give(folder.parent), "belongs to"),
    },
)
def test_locks_that_others_could_replace_are_refused(tmp_path, fixture_state, spoil, words):
    take(tmp_path / "site.crt")
    spoil(fixture_state / "locks")
    with pytest.raises(HostFileError) as caught:
        take(tmp_path / "site.crt")
    assert "The folder %s of root's locks can be changed by others (" % (fixture_state / "locks") in str(caught.value)
    assert words in str(caught.value) and "Give it back to root, mode 0700." in str(caught.value)


@root_only
@table(
    "spoil, words",
    {
        "a link": (lambda path, victim: (path.unlink(), link_of(path, victim)), "is a symbolic link of the user"),
        "a pipe": (lambda path, victim: (path.unlink(), os.mkfifo(path)), "is no lock of ours"),
        "a folder": (lambda path, victim: (path.unlink(), path.mkdir()), "is no lock of ours"),
        "of somebody else": (lambda path, victim: give(path), "is no lock of ours, and stands in our way: remove it"),
        "with another name": (lambda path, victim: os.link(path, victim.with_name("x")), "is no lock of ours"),
    },
)
def test_what_is_no_lock_is_refused(tmp_path, fixture_state, spoil, words):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    take(tmp_path / "site.crt")
    (name,) = os.listdir(fixture_state / "locks")
    spoil(fixture_state / "locks" / name, victim)
    descriptors = os.listdir("/dev/fd")
    with pytest.raises(HostFileError, match=words):
        take(tmp_path / "site.crt")
    assert os.listdir("/dev/fd") == descriptors and victim.read_bytes() == b"mine"


@root_only
def test_a_lock_that_is_removed_while_it_is_waited_for_is_no_lock(tmp_path, fixture_state, monkeypatch):
    take(tmp_path / "site.crt")
    (name,) = os.listdir(fixture_state / "locks")
    removed = meanwhile(monkeypatch, "fstat", (fixture_state / "locks" / name).unlink, number=1, when=is_lock)
    with locks.locked(str(tmp_path / "site.crt"), patience=5.0):
        assert removed and os.listdir(fixture_state / "locks") == [name]
        with pytest.raises(HostFileError, match="Another run"):
            take(tmp_path / "site.crt")


def is_lock(descriptor) -> bool:
    return os.path.basename(os.path.dirname(os.readlink("/proc/self/fd/%d" % descriptor))) == "locks"


@root_only
def test_what_cannot_be_locked_is_explained(tmp_path, fixture_state):
    fixture_state.parent.mkdir(exist_ok=True)
    fixture_state.write_bytes(b"")
    with pytest.raises(
        HostFileError, match="Cannot (lock|make|reach) .*: Not a directory. A part of the path is a file"
    ):
        take(tmp_path / "site.crt")


# an ordinary user


@pytest.fixture(name="home")
def fixture_home(open_folder):
    return folder_of(open_folder / "home", ALICE, 0o755)


def look_at_lock(path, refused: bool = True) -> tuple:
    """(owner, mode) of the lock while it is held; whether a second run is refused; what is left."""
    with locks.locked(str(path), patience=0.0):
        status = os.stat(os.path.join(os.path.dirname(path), LOCK))
        try:
            take(path)
        except HostFileError as error:
            refused = "Another run is replacing certificates in" in str(error)
        else:
            refused = False
    return status.st_uid, stat.S_IMODE(status.st_mode), refused, os.listdir(os.path.dirname(path))


@root_only
def test_an_ordinary_user_locks_a_file_of_its_own_beside_its_files(home):
    assert as_user(ALICE, look_at_lock, str(home / "site.crt")) == (ALICE, 0o600, True, [])
    file_of(home / LOCK, uid=ALICE, mode=0o600)  # left by a run that was killed
    assert as_user(ALICE, look_at_lock, str(home / "site.crt")) == (ALICE, 0o600, True, [])


@root_only
def test_two_ordinary_users_do_not_wait_for_each_other(open_folder):
    sticky = folder_of(open_folder / "sticky", 0, 0o1777)
    with flocked(file_of(sticky / (".stepca.%d.lock" % MALLORY), mode=0o600)):
        assert as_user(ALICE, look_at_lock, str(sticky / "site.crt"))[2]


def follow(path) -> bool:
    """Whether a lock that its holder removes is taken anew: two would hold it else, one of them nothing but its ghost."""
    lock = os.path.join(os.path.dirname(path), LOCK)
    held = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    real, tries = fcntl.flock, []

    def flock(descriptor, how):
        tries.append(descriptor)
        if len(tries) == 2:  # the holder lets go
            os.unlink(lock)
            os.close(held)
        return real(descriptor, how)

    fcntl.flock = flock
    with locks.locked(path, patience=20.0):
        return os.path.exists(lock) and len(tries) == 3


@root_only
def test_a_lock_that_its_holder_removed_is_taken_anew(home):
    assert as_user(ALICE, follow, str(home / "site.crt"))


@root_only
@table(
    "plant, words",
    {
        "a link": (link_of, "lock is a symbolic link of the user %d" % MALLORY),
        "a file": (
            lambda path, victim: file_of(path, mode=0o666),
            "is no lock of ours, and stands in our way: remove it",
        ),
        "a closed file": (lambda path, victim: file_of(path, mode=0o600), "stands in our way|Cannot lock"),
        "a pipe": (lambda path, victim: (os.mkfifo(path), give(path, mode=0o666)), "is no lock of ours"),
        "a folder": (lambda path, victim: folder_of(path), "is no lock of ours"),
        "another file of its own": (
            lambda path, victim: os.link(file_of(victim.with_name("alices"), uid=ALICE), path),
            "is no lock of ours",
        ),
    },
)
def test_what_others_planted_as_the_lock_of_an_ordinary_user(open_folder, plant, words):
    """In /tmp anybody may; nobody waits for ever, nothing is written to."""
    sticky = folder_of(open_folder / "sticky", 0, 0o1777)
    victim = open_folder / "victim"
    victim.write_bytes(b"mine")
    plant(sticky / LOCK, victim)
    before = seen(sticky / LOCK), seen(victim)
    with pytest.raises(HostFileError, match=words):
        as_user(ALICE, take, str(sticky / "site.crt"))
    assert (seen(sticky / LOCK), seen(victim)) == before


@root_only
def test_where_a_user_can_change_nothing_it_locks_nothing(open_folder):
    """To be told what is missing, or not to be told that all is well, it need not write."""
    folder = folder_of(open_folder / "tls", 0)
    assert as_user(ALICE, take, str(folder / "site.crt")) is None
    assert os.listdir(folder) == []


@root_only
def test_a_lock_in_a_folder_that_is_missing_is_explained(home):
    with pytest.raises(HostFileError, match="Cannot lock .*no: No such file or directory. Make the folder first"):
        as_user(ALICE, take, str(home / "no" / "site.crt"))
    take(home / "no" / "site.crt")  # root's is elsewhere


def fail_to_remove(path) -> bool:
    """Whether the next run of the same process gets the lock though the last one could not remove its file."""
    real = os.unlink

    def unlink(*_args, **_more):
        raise OSError(5, "Input/output error")

    os.unlink = unlink
    with locks.locked(path):
        pass
    os.unlink = real
    take(path)
    return os.listdir(os.path.dirname(path)) == []


@root_only
def test_a_lock_that_cannot_be_removed_harms_nobody(home):
    assert as_user(ALICE, fail_to_remove, str(home / "site.crt"))

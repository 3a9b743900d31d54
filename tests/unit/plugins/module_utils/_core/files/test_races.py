# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Somebody else is really at work, all the time: whatever comes of our calls, nothing of others is touched or told.

The other tests choose the moment; here it chooses itself. molecule's scenario redteam does so with whole runs.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import stat
import time
import warnings

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import HostFileError
from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import (
    attributes,
    folders,
    places,
    reading,
    replacing,
    staging,
)
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.strangers import (
    MALLORY,
    folder_of,
    in_time,
    root_only,
    seen,
)

pytestmark = root_only
SECRET = b"secret of root's"
SECONDS = 2.0
AREA = ".stepca.%d" % os.geteuid()


class Attack:
    """A process of somebody else's that does these things in turn, without end; errors are no matter to it."""

    def __init__(self, *acts):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads: of xdist
            self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setgroups([])
                os.setgid(MALLORY)
                os.setuid(MALLORY)
                for act in itertools.cycle(acts):
                    with contextlib.suppress(OSError):
                        act()
            finally:
                os._exit(1)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.kill(self._pid, signal.SIGKILL)
        status = os.waitpid(self._pid, 0)[1]
        assert os.WIFSIGNALED(status), "the attack itself has failed"


@pytest.fixture(name="victim")
def fixture_victim(open_folder):
    """A folder of root's, and a file in it that nobody else can read."""
    folder = open_folder / "victim"
    folder.mkdir()
    (folder / "site.key").write_bytes(b"of the victim")
    (folder / "site.key").chmod(0o600)
    return folder


@pytest.fixture(name="theirs")
def fixture_theirs(open_folder):
    folder = folder_of(open_folder / "theirs", MALLORY)
    folder_of(folder / "tls", MALLORY)
    return folder


def all_the_time(*acts) -> dict:
    """Do these in turn for a while; how often each came to its end, and to an error."""
    done = {"well": 0, "refused": 0}
    deadline = time.monotonic() + SECONDS
    with in_time(60):
        for act in itertools.cycle(acts):
            try:
                act()
                done["well"] += 1
            except HostFileError:
                done["refused"] += 1
            if time.monotonic() > deadline:
                return done


def assert_nothing_is_told(theirs) -> None:
    """What holds our secret can be read by root alone, wherever it was moved to."""
    for place, _folders, names in os.walk(theirs):
        for name in names:
            status = os.lstat(os.path.join(place, name))
            if stat.S_ISREG(status.st_mode) and status.st_uid != MALLORY:
                assert status.st_uid == 0 and status.st_mode & 0o077 == 0, os.path.join(place, name)


def put(path):
    staging.stage(
        str(path), SECRET, "new", lambda one: one.require_path() or attributes.dress(one, {"mode": "0600"}, "key")
    )
    replacing.replace_set([(str(path), "new")])


def ours(path) -> tuple:
    """What a run does with a file."""
    return (
        lambda: put(path),
        lambda: reading.read(str(path)),
        lambda: replacing.probe(str(path), lambda one: attributes.dress(one, {}, "key")),
        lambda: replacing.back_up(str(path), ()),
        lambda: staging.forget(str(path), "new"),
        lambda: staging.forget_stale(str(path)),
    )


def swap(first, second, third):
    """first and second change places, by way of third."""
    for old, new in ((first, third), (second, first), (third, second)):
        with contextlib.suppress(OSError):
            os.rename(old, new)


def test_a_folder_that_is_a_link_every_other_moment(theirs, victim):
    before = seen(victim), seen(victim / "site.key")
    (theirs / "other").symlink_to(victim)
    with Attack(lambda: swap(theirs / "tls", theirs / "other", theirs / "third")):
        done = all_the_time(*ours(theirs / "tls" / "site.key"))
    assert done["well"] + done["refused"] > 20
    assert (seen(victim), seen(victim / "site.key")) == before and os.listdir(victim) == ["site.key"]
    assert_nothing_is_told(theirs)


def test_a_file_that_is_a_link_a_pipe_or_another_file_every_other_moment(theirs, victim):
    before = seen(victim), seen(victim / "site.key")
    path, spare = theirs / "tls" / "site.key", theirs / "tls" / "spare"

    def link():
        os.symlink(victim / "site.key", spare)
        os.rename(spare, path)

    def pipe():
        os.mkfifo(spare)
        os.rename(spare, path)

    def own():
        with open(spare, "wb") as stream:
            stream.write(b"of theirs")
        os.rename(spare, path)

    def twice():
        own()
        os.link(path, spare)

    with Attack(link, pipe, own, twice, lambda: os.unlink(spare), lambda: os.unlink(path)):
        done = all_the_time(*ours(path))
    assert done["well"] + done["refused"] > 20
    assert (seen(victim), seen(victim / "site.key")) == before and os.listdir(victim) == ["site.key"]
    assert_nothing_is_told(theirs)


def test_a_subfolder_that_is_renamed_and_replaced_all_the_time(theirs, victim):
    before = seen(victim), seen(victim / "site.key")
    folder = theirs / "tls"

    def away():
        os.rename(folder / AREA, folder / ("away-%d" % time.monotonic_ns()))

    def link():
        os.symlink(victim, folder / AREA)

    def own():
        os.mkdir(folder / AREA, 0o777)

    def back():
        (one, *_rest) = [name for name in os.listdir(folder) if name.startswith("away")] or [""]
        os.rename(folder / one, folder / AREA)

    def free():
        with contextlib.suppress(OSError):
            os.unlink(folder / AREA)
        os.rmdir(folder / AREA)

    with Attack(away, link, free, back, away, own, free, back, free):
        done = all_the_time(*ours(folder / "site.key"))
    assert done["well"] + done["refused"] > 20
    assert (seen(victim), seen(victim / "site.key")) == before and os.listdir(victim) == ["site.key"]
    assert_nothing_is_told(theirs)


def test_folders_that_are_made_and_taken_away_where_links_come_and_go(theirs, victim):
    before = seen(victim), seen(victim / "site.key")
    folder = theirs / "tls" / "new"

    def link():
        os.symlink(victim, folder)

    def own():
        os.mkdir(folder, 0o777)

    def free():
        with contextlib.suppress(OSError):
            os.unlink(folder)
        os.rmdir(folder)

    with Attack(link, free, own, free, lambda: swap(theirs / "tls", theirs / "other", theirs / "third")):
        done = all_the_time(
            lambda: folders.make(str(folder / "inner"), marked=True),
            lambda: folders.take_away([str(folder / "inner"), str(folder)]),
            lambda: places.remove(str(folder / "site.key")),
            lambda: places.is_ours(str(folder / "site.key")),
        )
    assert done["well"] + done["refused"] > 20
    assert (seen(victim), seen(victim / "site.key")) == before and os.listdir(victim) == ["site.key"]


def test_in_tmp_where_everybody_may_leave_what_they_like(open_folder, victim):
    before = seen(victim), seen(victim / "site.key")
    sticky = folder_of(open_folder / "tmp", 0, 0o1777)
    spoils = [sticky / name for name in (AREA, ".site.key.stepca-new", "site.key", ".site.key.stepca.backup")]

    def plant(path):
        os.symlink(victim / "site.key", path)

    acts = [lambda path=path: plant(path) for path in spoils] + [lambda path=path: os.unlink(path) for path in spoils]
    with Attack(*acts):
        done = all_the_time(*ours(sticky / "site.key"))
    assert done["well"] + done["refused"] > 20
    assert (seen(victim), seen(victim / "site.key")) == before and os.listdir(victim) == ["site.key"]
    assert_nothing_is_told(sticky)

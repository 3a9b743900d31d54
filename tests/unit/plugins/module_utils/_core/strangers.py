# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Other users of the host: what is theirs, what they may write to, what they do meanwhile, and what runs as one of them."""

from __future__ import annotations

import errno
import grp
import os
import pickle
import pwd
import signal
import struct
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import (
    acl,
    areas,
    attributes,
    folders,
    locks,
    places,
    reading,
    replacing,
    staging,
)

#: Loaded before one becomes a user without rights: in a home of root's nobody else can import anything.
LOADED = (acl, areas, attributes, folders, locks, places, reading, replacing, staging)

#: Users that no host has, so that errors name them by number.
MALLORY, ALICE = 54321, 54322
NOBODY = 65534

root_only = pytest.mark.skipif(
    os.geteuid() != 0 or not sys.platform.startswith("linux"),
    reason="only root can give files away, and be somebody else; and only Linux has all that is tried",
)


def name_of(uid: int) -> str:
    """How errors call a user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "the user %d" % uid


def group_that_is(name: str):
    """The number of a group; the test is skipped where there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        pytest.skip("not applicable: no group %s here" % name)


# what is theirs


def folder_of(path: Path, uid: int = MALLORY, mode: int = 0o755) -> Path:
    """A folder of somebody else's: a foreign place."""
    path.mkdir()
    return give(path, uid, mode)


def file_of(path: Path, content=b"theirs", uid: int = MALLORY, mode: int = 0o644) -> Path:
    """A file of somebody else's."""
    path.write_bytes(content)
    return give(path, uid, mode)


def give(path: Path, uid: int = MALLORY, mode: int = 0o755) -> Path:
    """Give it to somebody else."""
    os.chown(path, uid, uid)
    os.chmod(path, mode)
    return path


def link_of(path: Path, leads_to, uid: int = MALLORY) -> Path:
    """A symbolic link of somebody else's."""
    path.symlink_to(leads_to)
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def seen(path) -> tuple:
    """Owner, group, mode and content of what lies there: what we may not change of what is somebody else's."""
    status = os.lstat(path)
    content = Path(path).read_bytes() if os.path.isfile(path) and not os.path.islink(path) else None
    return status.st_uid, status.st_gid, status.st_mode, status.st_ino, content


# what they may do by an ACL (posix_acl_xattr.h of Linux)

_TAGS = {"user": 2, "group": 8}


def acl_of(mode: int, *named) -> bytes:
    """An ACL; named: (user or group, id, permissions), none for a mode that says all."""
    entries = [(1, mode >> 6 & 7, -1), (4, mode >> 3 & 7, -1), (32, mode & 7, -1)]
    entries += [(_TAGS[kind], permissions, number) for kind, number, permissions in named]
    entries += [(16, 7, -1)] if named else []
    entries.sort(key=lambda one: (one[0], one[2]))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *one) for one in entries)


def give_acl(path, content: bytes, default: bool = False) -> None:
    """Set an ACL, or what a folder hands on; the test is skipped where the file system has none."""
    if not hasattr(os, "setxattr"):
        pytest.skip("not applicable: no ACLs as Linux has them")
    try:
        os.setxattr(path, "system.posix_acl_%s" % ("default" if default else "access"), content)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("this file system has no ACLs")


def has_acl(path, default: bool = False) -> bool:
    """Whether it has one."""
    return "system.posix_acl_%s" % ("default" if default else "access") in os.listxattr(path)


# what they do meanwhile


def meanwhile(monkeypatch, name: str, act, number: int = 1, after: bool = False, when=None) -> list:
    """Have act() done at this call of os.<name>, before it or after; returns the arguments of the calls seen.

    when(*arguments): which calls count.
    """
    real = getattr(os, name)
    calls = []

    def call(*args, **kwargs):
        counts = when is None or when(*args)
        if counts:
            calls.append(args)
        due = counts and len(calls) == number
        if due and not after:
            act()
        answer = real(*args, **kwargs)
        if due and after:
            act()
        return answer

    monkeypatch.setattr(os, name, call)
    return calls


@contextmanager
def in_time(seconds: int = 20):
    """AssertionError where it takes longer: something waits for what never comes."""

    def end(_signal, _frame):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# what runs as one of them


def as_user(uid: int, act, *arguments):
    """What act(*arguments) returns, or raises, where another user calls it."""
    reading_end, writing_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: of xdist, which this process does not go on with
        pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                answer = (act(*arguments), None)
            except Exception as error:
                answer = (None, error)
            os.write(writing_end, pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(writing_end)
    with os.fdopen(reading_end, "rb") as stream:
        content = stream.read()
    os.waitpid(pid, 0)
    answer, error = pickle.loads(content)
    if error is not None:
        raise error
    return answer

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""One run at a time for the files of a folder.

Root locks files of its own, which nobody else can open and so nobody else can hold. Other users lock a dot-file of theirs
beside their files, and remove it. Root does not wait for that: between users the digest of the set decides.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from contextlib import contextmanager, suppress

from ..errors import HostFileError
from . import places

_PATIENCE = 30.0
_PATIENCE_WITH_OLDER = 3.0


@contextmanager
def locked(path: str, patience: float = _PATIENCE, patience_with_older: float = _PATIENCE_WITH_OLDER):
    """Hold the folder of this file against other runs; HostFileError if another one holds it for too long.

    patience: seconds; patience_with_older: the same for runs of older versions, after which we go on.
    """
    with places.explained("lock", os.path.dirname(path)), places.opened(path) as place:
        folder = os.path.dirname(place.path)
    lock = _path_of(folder)
    descriptor = _obtain(lock, folder, time.monotonic() + patience)
    try:
        with _held_as_before(folder, patience_with_older):
            yield
    finally:
        if descriptor is not None:
            if os.geteuid() != 0:
                with suppress(HostFileError):  # a file too many harms nobody
                    places.remove(lock)
            os.close(descriptor)


@contextmanager
def _held_as_before(folder: str, patience: float):
    """Older versions, whose renewer may be under way, lock the folder itself. So may anybody: we do not wait for long."""
    descriptor = None
    if os.geteuid() == 0:
        with suppress(OSError, HostFileError), places.entered(folder) as there:
            if there:
                with there.readable() as readable:
                    descriptor = os.dup(readable)
    try:
        if descriptor is not None:
            with suppress(HostFileError):
                _wait(descriptor, folder, time.monotonic() + patience)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _path_of(folder: str) -> str:
    """The file that is locked for this folder."""
    if os.geteuid() != 0:
        return os.path.join(folder, ".stepca.%d.lock" % os.geteuid())
    digest = hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()
    return os.path.join(places.STATE, "locks", digest[:32])


def _obtain(lock: str, folder: str, deadline: float):
    """The descriptor that holds the lock; None where this user can change nothing there anyway."""
    while True:
        try:
            with places.explained("lock", folder):
                descriptor = _open(lock)
        except _Powerless:
            return None
        try:
            _wait(descriptor, folder, deadline)
            if _is(descriptor, lock):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has removed it: there may be another one by now


class _Powerless(Exception):
    """This user may not write there."""


def _open(lock: str) -> int:
    root = os.geteuid() == 0
    with places.opened(lock) as place:
        if place.missing and root:
            return _make_folder(lock)
        place.require_folder()
        if root and not place.ours:
            raise HostFileError(
                "The folder %s of root's locks can be changed by others (%s). Give it back to root, mode 0700."
                % (os.path.dirname(lock), place.why_foreign())
            )
        try:
            descriptor = _open_in(place)
        except OSError as error:
            if not root and place.status is None and error.errno in (errno.EACCES, errno.EROFS):
                raise _Powerless from None
            raise
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        if status.st_nlink == 0:
            return _open(lock)
        raise HostFileError("%s is no lock of ours, and stands in our way: remove it." % lock)
    return descriptor


def _open_in(place: places.Place) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(place.name, flags, dir_fd=place.folder.descriptor)
    except FileNotFoundError:
        return os.open(place.name, flags | os.O_CREAT, 0o600, dir_fd=place.folder.descriptor)


def _make_folder(lock: str) -> int:
    from . import folders

    folders.make(os.path.dirname(lock), 0o700)
    return _open(lock)


def _wait(descriptor: int, folder: str, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HostFileError(
                    "Another run is replacing certificates in %s. Run again when it is done." % folder
                ) from None
            time.sleep(0.05)


def _is(descriptor: int, lock: str) -> bool:
    """Whether the file that is locked still has this name."""
    with places.explained("lock", lock), places.opened(lock) as place:
        return place.status is not None and os.path.samestat(os.fstat(descriptor), place.status)

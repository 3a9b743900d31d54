# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What lies in a file, whoever put it there: no pipe makes us wait, no device is opened, no link leads us elsewhere."""

from __future__ import annotations

import os
import stat

from ..errors import HostFileError
from . import places

_LARGEST = 1024 * 1024
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISLNK, "a symbolic link"), (stat.S_ISFIFO, "a pipe"))


def read(path: str):
    """The content of a file, or None where there is none. HostFileError if it cannot be read."""
    return load(path)[0]


def load(path: str) -> tuple:
    """(content, os.stat_result) of a file; (None, None) where there is none. HostFileError if it cannot be read."""
    with places.explained("read", path), places.opened(path) as place:
        if place.status is None:
            return None, None
        return load_in(place.folder, place.name, path)


def load_in(folder: places.Folder, name: str, path: str) -> tuple:
    """The same for a name in a folder that is open. path: as errors call it. OSError, HostFileError."""
    with os.fdopen(open_regular(folder, name, path), "rb") as stream:
        status = os.fstat(stream.fileno())
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise HostFileError("%s is larger than 1 MiB: it is no key and no certificate." % path)
    return content, status


def open_regular(folder: places.Folder, name: str, path: str) -> int:
    """A descriptor that reads this file; HostFileError for what is no file, or in a foreign place one with other names."""
    only_named = not folder.ours and hasattr(os, "O_PATH")
    # Without O_NONBLOCK, a pipe waits for its writer.
    found = _open(name, os.O_PATH if only_named else os.O_RDONLY | os.O_NONBLOCK, folder)
    try:
        status = os.fstat(found)
        refuse_other(status, path)
        if folder.ours:
            return found
        if status.st_nlink > 1 + _own_links(folder, name, status):
            raise HostFileError(
                "%s has another name somewhere (a hard link), and %s: it may be anybody's file. Replace it by a copy of its own."
                % (path, folder.stranger or "others can change that folder")
            )
        return _reopen(folder, name, found, status, path) if only_named else found
    except BaseException:
        os.close(found)
        raise


def _reopen(folder: places.Folder, name: str, found: int, status, path: str) -> int:
    """The file of a descriptor that only names it, for reading; the descriptor is closed."""
    try:
        again = os.open("/proc/self/fd/%d" % found, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # no /proc here, or no right to it
        again = _open(name, os.O_RDONLY | os.O_NONBLOCK, folder)
    if not os.path.samestat(os.fstat(again), status):
        os.close(again)
        raise HostFileError("%s was replaced while it was read: somebody else is at work there." % path)
    os.close(found)
    return again


def _open(name: str, flags: int, folder: places.Folder) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.descriptor)


def refuse_other(status, path: str) -> None:
    """HostFileError for what is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for fits, words in _KINDS if fits(status.st_mode)), "a device or socket")
        raise HostFileError("%s is no file, but %s." % (path, kind))


def _own_links(folder: places.Folder, name: str, status) -> int:
    """How many further names of this file are ours: what a run that is under way, or ended midway, keeps it by."""
    from . import areas

    return areas.own_links(folder, name, status)

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Folders that are made for files of ours, and go with the last file in them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ..errors import HostFileError
from . import acl, areas, places

#: The file that marks a folder as made for certificates: it goes with the last of them.
MARK = ".stepca.folder"
_SAID = b"Made by privatepki.stepca for certificates. Goes with the last certificate in it.\n"
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def missing(folder: str) -> list:
    """This folder and those above it, as far as they do not exist, the topmost first. HostFileError."""
    folder = os.path.abspath(folder)
    found = []
    with places.explained("reach", folder):
        while folder != "/":
            with places.entered(folder) as there:
                if there:
                    break
            found.insert(0, folder)
            folder = os.path.dirname(folder)
    return found


def make(folder: str, mode: int = 0o755, marked: bool = False) -> None:
    """Make a folder, and those above it (0755), where they are missing; they belong to us. HostFileError.

    marked: they go with the last certificate in them.
    """
    wanted = missing(folder)
    for one in wanted:
        with places.explained("make", one), places.opened(one) as place:
            if place.status is None:
                _make(place, mode if one == wanted[-1] else 0o755, marked)
            elif not place.is_folder:
                raise HostFileError("%s is no folder." % one)


def _make(place: places.Place, mode: int, marked: bool) -> None:
    """Made and marked where nobody else can reach it, then put in its place."""
    with areas.area_of(place, make=True) as area:
        name = areas.staged_name(place.name, "new-%d" % os.getpid())
        os.mkdir(name, 0o700, dir_fd=area.descriptor)
        descriptor = os.open(name, _LIST, dir_fd=area.descriptor)
        try:
            areas.refuse_nobody(os.fstat(descriptor), place.folder)
            if not place.ours:
                acl.drop(descriptor, default=True)
                acl.drop(descriptor)
            if marked:
                _mark(descriptor)
            os.chmod(descriptor, mode)  # whatever the umask
            os.rename(name, place.name, src_dir_fd=area.descriptor, dst_dir_fd=place.folder.descriptor)
        except OSError:
            with suppress(OSError):
                os.unlink(MARK, dir_fd=descriptor)
            with suppress(OSError):
                os.rmdir(name, dir_fd=area.descriptor)
            found = place.folder.look(place.name)
            if not found or not stat.S_ISDIR(found.st_mode):  # else another run has just made it
                raise
        finally:
            os.close(descriptor)


def _mark(descriptor: int) -> None:
    mark = os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=descriptor)
    with os.fdopen(mark, "wb") as stream:
        stream.write(_SAID)


def left_alone(folders: list) -> list:
    """Those in which nothing is but our mark."""
    found = []
    for folder in folders:
        with suppress(OSError, HostFileError), places.entered(folder) as here:
            owners = {one.st_uid for one in (here.status, here.look(MARK)) if one} if here else set()
            if here and owners <= {0, os.geteuid()} and here.names() == [MARK]:
                found.append(folder)
    return found


def take_away(folders: list) -> None:
    """Remove those that nothing is in but our mark, and in turn those above them."""
    for folder in left_alone(folders):
        with suppress(OSError, HostFileError):  # somebody else has just put something there
            places.remove(os.path.join(folder, MARK))
            remove_empty(folder)
            take_away([os.path.dirname(folder)])


def remove_empty(folder: str) -> None:
    """Remove a folder in which nothing is; OSError, HostFileError."""
    with places.opened(folder) as place:
        os.rmdir(place.name, dir_fd=place.folder.descriptor)

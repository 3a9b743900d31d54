# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""New files, written and dressed where nobody else can reach them, until replacing.py puts them in their places."""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager, suppress

from ..errors import HostFileError
from . import areas, attributes, places, reading

_STALE_SECONDS = 3600
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Staged:
    """A file that waits to become target.

    path: for those who need one; it leads to this very file while it is handed over; descriptor: the same, open; ours:
    whether the place is; former: attributes.Former of the file that it replaces, None for none or none to inherit from.
    """

    def __init__(self, place: places.Place, area: places.Folder, name: str, descriptor: int):
        self.target = place.path
        self.ours = place.ours
        self.descriptor = descriptor
        self.path = area.join(name)
        self.former = None
        if place.ours and place.status is not None:
            self.former = attributes.Former(place.path)
        if not place.ours:
            # Names lead astray there; this leads to the area that is open, whatever became of its name.
            self.path = "/proc/self/fd/%d/%s" % (area.descriptor, name)

    def require_path(self) -> None:
        """HostFileError where path does not lead to this file: there is no /proc here."""
        with suppress(OSError):
            if os.path.samestat(os.stat(self.path, follow_symlinks=False), os.fstat(self.descriptor)):
                return
        raise HostFileError(
            "%s lies in a folder that others can change, and without /proc no file can be given its owner and mode there in "
            "safety. Mount /proc, or name a folder that only root can write to, as are those above it." % self.target
        )


def stage(target: str, content: bytes, tag: str, dress=None) -> list:
    """Write content, safely on disk and readable by nobody else, where it waits to become target; HostFileError.

    dress(Staged) gives it its attributes; returns what that returned, else [].
    """
    with places.explained("write", target), places.opened(target) as place:
        place.require_folder()
        _refuse_open_folder(place.folder)
        with areas.area_of(place, make=True) as area:
            return stage_in(place, area, content, tag, dress)


def stage_in(place: places.Place, area: places.Folder, content: bytes, tag: str, dress=None) -> list:
    """The same where place and area are open; OSError, HostFileError."""
    name = areas.staged_name(place.name, tag)
    area.remove(name)
    descriptor = os.open(name, _NEW, 0o600, dir_fd=area.descriptor)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            areas.refuse_nobody(os.fstat(descriptor), place.folder)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            return dress(Staged(place, area, name, descriptor)) if dress else []
    except BaseException:
        with suppress(OSError):  # what failed first is the news
            area.remove(name)
        raise


def redress(target: str, tag: str, dress) -> list:
    """Give what waits already its attributes; what dress(Staged) returns. HostFileError."""
    with places.explained("set owner or mode of", target), places.opened(target) as place, areas.area_of(place) as area:
        if area is None:
            raise HostFileError("What waited to become %s is gone. Run again." % target)
        name = areas.staged_name(place.name, tag)
        descriptor = reading.open_regular(area, name, area.join(name))
        try:
            return dress(Staged(place, area, name, descriptor))
        finally:
            os.close(descriptor)


def read(target: str, tag: str):
    """The content of what waits to become target, None where nothing does or it is not of ours. HostFileError."""
    with places.explained("read", target), _area(target, tidy=False) as (target_name, area):
        name = areas.staged_name(target_name, tag)
        status = area.look(name) if area else None
        if status is None or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            return None
        return reading.load_in(area, name, area.join(name))[0]


@contextmanager
def _area(target: str, tidy: bool = True):
    """(name of the target, Folder where files wait for it or None); OSError, HostFileError."""
    with places.opened(target) as place:
        if place.missing:
            yield place.name, None
            return
        with areas.area_of(place, tidy=tidy) as area:
            yield place.name, area


def _refuse_open_folder(folder: places.Folder) -> None:
    """Where others may rename files, they may swap ours (the sticky bit forbids it)."""
    if folder.status.st_mode & stat.S_IWOTH and not folder.status.st_mode & stat.S_ISVTX:
        raise HostFileError(
            "Everybody may write to the folder %s, so no key can be kept there. Make it 0755 or stricter." % folder.path
        )


def forget(target: str, tag: str) -> None:
    """Remove what waits to become target, where it does. HostFileError."""
    with places.explained("remove", target), places.opened(target) as place:
        if place.missing:
            return
        with areas.area_of(place) as area:
            if area:
                area.remove(areas.staged_name(place.name, tag))
        for left, name in areas.left_beside(place):
            if left == tag:
                place.folder.remove(name)


def forget_stale(target: str) -> None:
    """Remove what earlier runs left waiting to become target, under the lock.

    What is staged under the lock was left by a run that ended midway. A key waits without it for its certificate, so
    it is left only after an hour.
    """
    with suppress(OSError, HostFileError), places.opened(target) as place:  # tidying up is no reason to fail
        with areas.area_of(place) as area:
            for tag in areas.tags(area, place.name):
                name = areas.staged_name(place.name, tag)
                if tag in areas.UNDER_LOCK or _is_stale(area, name):
                    area.remove(name)
        for _tag, name in areas.left_beside(place):
            if _is_stale(place.folder, name):  # else an older renewer may be at work, which knows nothing of our locks
                place.folder.remove(name)


def _is_stale(folder: places.Folder, name: str) -> bool:
    status = folder.look(name)
    return status is not None and time.time() - status.st_mtime > _STALE_SECONDS

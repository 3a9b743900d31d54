# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Where files wait to become others, and what they are called there.

In a place that is ours they wait beside their targets. In a foreign one they wait in a subfolder that only we can enter,
opened by descriptor and proved by fstat: whoever owns the folder can rename that, and cannot look or write into it. All
files of ours begin with a dot and carry the name of their target.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress

from ..errors import HostFileError
from . import acl, places

_MARK = ".stepca-"
_BACKUP = ".stepca.backup"
_AREA = ".stepca.%d"  # the user, since several may work in one folder
_NUMBERED = re.compile("-[0-9]+")
#: Tags of what is staged under the lock, of links to what it replaces, and of those that become backups.
UNDER_LOCK = ("new", "old", "backup")


class _Area(places.Folder):
    """A subfolder of a foreign folder that only we can enter."""

    @property
    def ours(self) -> bool:
        return True


@contextmanager
def area_of(place: places.Place, make: bool = False, tidy: bool = True):
    """The Folder where files wait to become those of this place; None where there is none, unless make. OSError.

    tidy: whether it is removed once it is empty.
    """
    if place.folder.ours:
        yield place.folder
        return
    name = _AREA % os.geteuid()
    area = _enter_area(place.folder, name, make)
    try:
        yield area
    finally:
        if area:
            os.close(area.descriptor)
            if tidy:
                with suppress(OSError):  # something waits in it
                    os.rmdir(name, dir_fd=place.folder.descriptor)


def _enter_area(folder: places.Folder, name: str, make: bool):
    """_Area of this name, proved to be ours; HostFileError."""
    made = False
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder.descriptor)
            made = True
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        area = _Area(folder.join(name), os.open(name, flags, dir_fd=folder.descriptor), folder)
    except FileNotFoundError:
        if make:
            raise
        return None
    except NotADirectoryError:
        raise HostFileError("%s is no folder of ours, and stands in our way: remove it." % folder.join(name)) from None
    if area.status.st_uid != os.geteuid() or area.status.st_mode & 0o777 != 0o700:
        os.close(area.descriptor)
        if made:
            refuse_nobody(area.status, folder)
        raise HostFileError(
            "%s is no folder of ours (it belongs to %s, mode %04o), and stands in our way: remove it."
            % (area.path, places.user(area.status.st_uid), area.status.st_mode & 0o777)
        )
    acl.drop(area.descriptor, default=True)
    acl.drop(area.descriptor)
    return area


def refuse_nobody(status, folder: places.Folder) -> None:
    """HostFileError where what we have just made does not belong to us."""
    if status.st_uid != os.geteuid():
        raise HostFileError(
            "%s is nobody here: what it makes in %s belongs to %s (NFS with root_squash, CIFS, unmapped ids). Run this task with "
            "`become_user: %s`."
            % (
                places.user(os.geteuid()),
                folder.path,
                places.user(status.st_uid),
                places.user(folder.status.st_uid),
            )
        )


def staged_name(name: str, tag: str) -> str:
    """What a file is called that waits to become the one of this name."""
    return ".%s%s%s" % (name, _MARK, tag)


def backup_name(name: str) -> str:
    """What the former file of this name is called."""
    return ".%s%s" % (name, _BACKUP)


def _is_name_of_ours(name: str) -> bool:
    """Whether staged_name() or backup_name() could have made it."""
    return name.startswith(".") and (_MARK in name or _BACKUP in name)


def path_of(target: str, tag: str) -> str:
    """Where something waits to become target, for people."""
    folder, name = os.path.split(target)
    return os.path.join(folder, "" if places.is_ours(target) else _AREA % os.geteuid(), staged_name(name, tag))


def waiting(target: str, tidy: bool = False) -> list:
    """The tags of what waits to become target. tidy: whether an area in which nothing waits is removed."""
    try:
        with places.opened(target) as place:
            if place.missing:
                return []
            with area_of(place, tidy=tidy) as area:
                return tags(area, place.name) + [tag for tag, _name in left_beside(place)]
    except (OSError, HostFileError):
        return []


def tags(area, name: str) -> list:
    """The tags of what waits in an area (or None) to become what has this name; OSError."""
    prefix = staged_name(name, "")
    return [entry[len(prefix) :] for entry in area.names() if entry.startswith(prefix)] if area else []


def left_beside(place: places.Place) -> list:
    """[(tag, name)] of what older versions left waiting in a foreign folder itself; OSError.

    It is ours where we own it, or it is a second name of the file in its place.
    """
    if place.folder.ours:
        return []
    found = [(tag, staged_name(place.name, tag)) for tag in tags(place.folder, place.name)]
    return [one for one in found if _is_ours(place, place.folder.look(one[1]))]


def _is_ours(place: places.Place, status) -> bool:
    if not status:
        return False
    return status.st_uid == os.geteuid() or bool(place.status and os.path.samestat(status, place.status))


def backups(folder: places.Folder, name: str) -> list:
    """The names of all backups of the file of this name; OSError."""
    first = backup_name(name)
    return [
        one for one in folder.names() if one == first or _NUMBERED.fullmatch(one[len(first) :] * one.startswith(first))
    ]


def own_links(folder: places.Folder, name: str, status) -> int:
    """How many further names of a file in a foreign folder are ours: backups, and what a run keeps it by to put it back. OSError.

    Those of other targets count as well, since whoever owns the folder may have exchanged its files meanwhile. Nobody gains
    by such a name: a file that lies elsewhere, too, has one more. Its own name never counts.
    """
    links = [folder.look(one) for one in folder.names() if one != name and _is_name_of_ours(one)]
    with area_of(places.Place(folder, name, [], status), tidy=False) as area:
        links += [area.look(one) for one in area.names()] if area else []
    return sum(1 for link in links if link and os.path.samestat(link, status))

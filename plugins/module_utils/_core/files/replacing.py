# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Put staged files in their places as a set, and keep former ones.

Two renames cannot be one. So a set has a commit point, the rename of the certificate: before it nothing has changed;
after it the key that belongs to the certificate waits, and the next run finishes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from contextlib import ExitStack, contextmanager, suppress

from ..errors import HalfReplaced, HostFileError
from . import areas, places, reading, staging

#: FS_IOC_GETFLAGS of Linux, _IOR('f', 1, long), and the flags of ioctl_iflags(2) that forbid a replacement.
_GET_FLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_FORBIDDING = ((0x10, "i", "immutable"), (0x20, "a", "append-only"))
#: A file system without hard links, one name too many, or a file of others (protected_hardlinks, proc(5)).
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
#: The same on BSD and macOS (chflags(2)).
_BSD_FLAGS = sum(getattr(stat, name, 0) for name in ("UF_IMMUTABLE", "UF_APPEND", "SF_IMMUTABLE", "SF_APPEND"))


class _Way:
    """One staged file on its way to its place, which stays open until the whole set is there."""

    def __init__(self, target: str, tag: str, place: places.Place, area: places.Folder):
        self.target = target
        self._place = place
        self._area = area
        self._staged = areas.staged_name(place.name, tag)
        self._old = ""
        self._done = False

    def keep(self) -> None:
        """Keep the former file, to put it back from; HostFileError."""
        with places.explained("replace", self.target):
            self._old = _keep(self._place, self._area, "old", self.target)

    def put(self) -> None:
        """Put the staged file in its place; HostFileError."""
        with places.explained("replace", self.target):
            folder, name = self._place.folder, self._place.name
            staged = self._area.look(self._staged)
            _rename(self._area, self._staged, folder, name)
            self._done = True
            _refuse_another(folder, name, staged, self.target)
            folder.sync()

    def put_back(self) -> None:
        """Undo it: the new file waits again, so that a run which ends right here can still be finished. OSError."""
        if not self._done:
            return
        folder, name = self._place.folder, self._place.name
        try:
            self._area.remove(self._staged)
            _link(folder, name, self._area, self._staged)
        except OSError:  # hard links are not to be had here
            _rename(folder, name, self._area, self._staged)
        if self._old:
            _rename(self._area, self._old, folder, name)
        else:
            folder.remove(name)

    def forget_old(self) -> None:
        if self._old:
            with suppress(OSError):  # a link too many harms nobody, and the next run removes it
                self._area.remove(self._old)


def replace_set(moves) -> None:
    """Put staged files in their places, all or none: moves is [(target, tag)], the first of them commits.

    A call that fails midway puts the former files back; a crash midway is finished by the next run. HostFileError.
    """
    with ExitStack() as stack:
        ways = [stack.enter_context(_way(*move)) for move in moves]
        try:
            for way in ways:
                way.keep()
            for way in ways:
                way.put()
        except HostFileError as error:
            try:
                for way in reversed(ways):
                    way.put_back()
            except OSError:
                raise HalfReplaced(
                    "%s and the files that belong to it are replaced in part (%s), and could not be put back. Mend the disk, "
                    "then run again: the next run finishes." % (moves[0][0], str(error).rstrip("."))
                ) from None
            for way in ways:
                way.forget_old()
            raise
        for way in ways:
            way.forget_old()


@contextmanager
def _way(target: str, tag: str):
    with places.explained("replace", target):
        stack = ExitStack()
        place = stack.enter_context(places.opened(target))
        area = stack.enter_context(areas.area_of(place))
    with stack:
        if area is None:
            raise HostFileError("What waited to become %s is gone: somebody else is at work there. Run again." % target)
        yield _Way(target, tag, place, area)


def put(path: str, content: bytes, mode: int) -> None:
    """Replace one file, or make it, with this mode; it belongs to us. HostFileError."""

    def dress(staged) -> list:
        os.chmod(staged.descriptor, mode)
        return []

    staging.stage(path, content, "new", dress)
    try:
        replace_set([(path, "new")])
    except HostFileError:
        with suppress(HostFileError):  # what failed first is the news
            staging.forget(path, "new")
        raise


def probe(target: str, dress) -> list:
    """HostFileError unless target can be replaced, as it will be, and what replaces it be given its attributes.

    Returns what dress(staging.Staged) returned.
    """
    tag = "probe-%d" % os.getpid()
    with places.explained("replace", target), places.opened(target) as place:
        place.require_folder()
        _refuse_flags_of_folder(place.folder)
        if place.status is not None:
            _refuse_obstacles(place, target)
            with areas.area_of(place, make=True) as area:
                area.remove(_keep(place, area, tag, target))
    said = staging.stage(target, b"", tag, dress)
    staging.forget(target, tag)
    return said


def back_up(target: str, spared) -> str:
    """Keep a file as it is, with owner and mode, in place of an earlier backup; returns where. HostFileError.

    spared: paths of backups that are left alone; None where nobody knows, and then all are.
    """
    with places.explained("back up", target), places.opened(target) as place, areas.area_of(place, make=True) as area:
        kept = _keep(place, area, "backup", target)
        backup = _free_name(place, area, kept, spared)
        try:
            _rename(area, kept, place.folder, backup)
        finally:
            area.remove(kept)  # two names of one file: then rename does nothing
        place.folder.sync()
        return place.folder.join(backup)


def _free_name(place: places.Place, area: places.Folder, kept: str, spared) -> str:
    """The first name for a backup that nothing has which is to be left alone."""
    content = reading.load_in(area, kept, place.path)[0]
    backup = first = areas.backup_name(place.name)
    number = 1
    while place.folder.look(backup) is not None and (spared is None or place.folder.join(backup) in spared):
        with suppress(HostFileError):  # what cannot be read is another
            if reading.load_in(place.folder, backup, place.folder.join(backup))[0] == content:
                break  # the same, kept once more
        number += 1
        backup = "%s-%d" % (first, number)
    return backup


def backups(target: str) -> list:
    """The paths of all backups of this file that are there. HostFileError."""
    with places.explained("list", os.path.dirname(target)), places.opened(target) as place:
        if place.missing:
            return []
        return [place.folder.join(name) for name in areas.backups(place.folder, place.name)]


def _keep(place: places.Place, area: places.Folder, tag: str, path: str) -> str:
    """A further name in the area of the file as it is, or a copy where there can be none; "" where there is no file."""
    kept = areas.staged_name(place.name, tag)
    area.remove(kept)
    if place.folder.look(place.name) is None:
        return ""
    try:
        _link(place.folder, place.name, area, kept)
    except OSError as error:
        if error.errno == errno.EXDEV and _is_mounted(place):
            raise HostFileError(
                "%s is mounted by itself (a bind mount, as containers have it), so it cannot be replaced: who mounted it would "
                "go on with the former file. Mount its folder instead." % path
            ) from None
        if error.errno not in _NO_LINKS:
            raise
        _copy(place, area, tag, path)
    status = area.look(kept)
    if not stat.S_ISREG(status.st_mode):  # put there since we looked
        area.remove(kept)
        reading.refuse_other(status, path)
    return kept


def _copy(place: places.Place, area: places.Folder, tag: str, path: str) -> None:
    """A copy of the file in the area, with its owner and mode as far as we may give them; OSError, HostFileError."""
    content, status = reading.load_in(place.folder, place.name, path)

    def dress(staged) -> list:
        with suppress(OSError):  # only root can give files away
            os.chown(staged.descriptor, status.st_uid, status.st_gid)
        os.chmod(staged.descriptor, status.st_mode & 0o777)
        return []

    staging.stage_in(place, area, content, tag, dress)


def _refuse_obstacles(place: places.Place, path: str) -> None:
    """HostFileError for a file that cannot be replaced, whatever the rights to its folder."""
    reading.refuse_other(place.status, path)
    with suppress(PermissionError):  # who may not read it may replace it all the same
        descriptor = reading.open_regular(place.folder, place.name, path)
        try:
            _refuse_flags(descriptor, path)
        finally:
            os.close(descriptor)
    folder, me = place.folder.status, os.geteuid()
    if folder.st_mode & stat.S_ISVTX and me not in (0, folder.st_uid, place.status.st_uid):
        raise HostFileError(
            "%s belongs to %s, and in the sticky folder %s only its owner may replace it. Run this task with `become_user: %s`, "
            "or name another path."
            % (path, places.user(place.status.st_uid), place.folder.path, places.user(place.status.st_uid))
        )


def _refuse_flags_of_folder(folder: places.Folder) -> None:
    with suppress(PermissionError), folder.readable() as descriptor:
        _refuse_flags(descriptor, folder.path)


def _refuse_flags(descriptor: int, path: str) -> None:
    for bit, letter, name in _FORBIDDING:
        if _flags(descriptor) & bit:
            raise HostFileError(
                "%s is %s (lsattr shows the attribute %s), so nothing can be replaced there. Take that off first: chattr -%s %s"
                % (path, name, letter, letter, path)
            )
    if getattr(os.fstat(descriptor), "st_flags", 0) & _BSD_FLAGS:
        raise HostFileError(
            "%s has a flag that forbids changes (ls -lO shows it). Take that off first: chflags." % path
        )


def _flags(descriptor: int) -> int:
    try:
        return struct.unpack("I", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8))[:4])[0]
    except OSError:  # this file system has none
        return 0


def _is_mounted(place: places.Place) -> bool:
    """Whether a file is a mount of its own."""
    descriptor = os.open(place.name, getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW, dir_fd=place.folder.descriptor)
    try:
        return _mount_of(descriptor) != _mount_of(place.folder.descriptor)
    except OSError:  # no /proc here
        return True
    finally:
        os.close(descriptor)


def _mount_of(descriptor: int) -> str:
    with open("/proc/self/fdinfo/%d" % descriptor, encoding="ascii") as stream:
        return next(line for line in stream if line.startswith("mnt_id:"))


def _refuse_another(folder: places.Folder, name: str, status, path: str) -> None:
    """HostFileError unless the name leads to the file of this status."""
    found = folder.look(name)
    if found is None or not os.path.samestat(found, status):
        raise HostFileError(
            "%s was swapped as soon as it was put in its place: somebody else is at work in %s." % (path, folder.path)
        )


def _link(from_folder: places.Folder, name: str, to_folder: places.Folder, new: str) -> None:
    descriptors = {"src_dir_fd": from_folder.descriptor, "dst_dir_fd": to_folder.descriptor}
    os.link(name, new, follow_symlinks=False, **descriptors)


def _rename(from_folder: places.Folder, name: str, to_folder: places.Folder, new: str) -> None:
    os.rename(name, new, src_dir_fd=from_folder.descriptor, dst_dir_fd=to_folder.descriptor)

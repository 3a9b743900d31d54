# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The way to a file, walked folder by folder with descriptors, so that nobody can swap a part of it under our hands.

A place is ours when each folder from / on belongs to root or the task's user and nobody else may write to it; all others
are foreign (SECURITY.md). A link is followed only where it belongs to root or the task's user and lies in a place that is
ours. In a sticky folder of root's (/tmp) others may put files, but not take away a folder of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress

from ..errors import HostFileError, OptionError

#: Where root keeps what is no certificate: locks, records of foreign places, what the renewer remembers.
STATE = "/var/lib/stepca"
#: We enter a folder where we may, and read it only where we must.
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_MOST_LINKS = 40  # as Linux
_ADVICE = {
    errno.ENOENT: "Make the folder first (ansible.builtin.file with state: directory).",
    errno.ENOTDIR: "A part of the path is a file.",
    errno.EACCES: "The task's user may not do this: use become, or another path.",
    errno.EPERM: "The task's user may not do this: use become, or another path.",
    errno.EROFS: "The file system is read-only: mount it writable, or use another path.",
    errno.ENOSPC: "The disk is full: make room, then run again.",
    errno.EDQUOT: "The quota is used up: make room, then run again.",
    errno.EIO: "The disk, or the way to it, fails: look at the kernel's log, mend it, then run again.",
    errno.EISDIR: "It is a folder: name a file in it.",
    errno.ELOOP: "Symbolic links go in a circle there.",
    errno.EAGAIN: "Somebody holds a lease on it (fcntl(2)): end that, then run again.",
}


class Folder:
    """A folder that is open: whatever is called so by now, the descriptor is the one that we came to.

    path: without links; descriptor: to be handed as dir_fd; named_by_us: whether only root or the task's user can put
    another folder in its place; stranger: who else may change what is in it, in words, "" for nobody.
    """

    def __init__(self, path: str, descriptor: int, above=None):
        self.path = path
        self.descriptor = descriptor
        self.status = os.fstat(descriptor)
        self.named_by_us = above is None or above.keeps(self.status)
        self.stranger = _stranger(path, descriptor, self.status)
        self._renamed_by = "" if self.named_by_us else above.why_foreign()

    @property
    def ours(self) -> bool:
        """Whether nobody but root and the task's user can change what is in it."""
        return self.named_by_us and not self.stranger

    def why_foreign(self) -> str:
        """Who else can change what is in it, a part of a sentence; "" for one that is ours."""
        return "" if self.ours else self.stranger or self._renamed_by

    @property
    def sticky(self) -> bool:
        """Whether it is root's, and others may add to it and not take away what they do not own."""
        return self.named_by_us and self.status.st_uid == 0 and bool(self.status.st_mode & stat.S_ISVTX)

    def keeps(self, status) -> bool:
        """Whether only root or the task's user can take something with this status out of it."""
        return self.ours or (self.sticky and _trusted(status.st_uid))

    def join(self, name: str) -> str:
        """The path of what is called so in it."""
        return os.path.join(self.path, name)

    def look(self, name: str):
        """os.stat_result of what is called so in it, a link itself; None where there is nothing."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def enter(self, name: str) -> Folder:
        """The real folder of this name in it; OSError, for a link too."""
        descriptor = os.open(name, _FOLDER, dir_fd=self.descriptor)
        try:
            return Folder(self.join(name), descriptor, self)
        except BaseException:
            os.close(descriptor)
            raise

    def names(self) -> list:
        """What is in it; OSError."""
        with self.readable() as descriptor:
            return sorted(os.listdir(descriptor))

    def remove(self, name: str) -> None:
        """Remove the file of this name, or the link, where there is one; OSError."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Have its names reach the disk; OSError."""
        with self.readable() as descriptor:
            os.fsync(descriptor)

    @contextmanager
    def readable(self):
        """A descriptor by which it can be read, not only entered; OSError."""
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class Place:
    """Where a file is, or will be: the folder that is open, and its name in it.

    missing: names of the folders that are not there, the topmost first: then folder is the deepest that is; status: of what
    has the name (os.stat_result), None where there is nothing.
    """

    def __init__(self, folder: Folder, name: str, missing: list, status):
        self.folder = folder
        self.name = name
        self.missing = missing
        self.status = status

    @property
    def path(self) -> str:
        """Without links."""
        return os.path.join(self.folder.path, *(self.missing + [self.name]))

    @property
    def ours(self) -> bool:
        """Whether the place is ours; of a folder that is missing: whether it will be once we have made it."""
        return self.folder.ours or bool(self.missing and self.folder.sticky)

    @property
    def is_folder(self) -> bool:
        """Whether a folder lies there."""
        return bool(self.status) and stat.S_ISDIR(self.status.st_mode)

    def why_foreign(self) -> str:
        """Who else can change what lies there, a part of a sentence; "" for a place that is ours."""
        return "" if self.ours else self.folder.why_foreign()

    def require_folder(self) -> None:
        """FileNotFoundError where the folder of the file is missing."""
        if self.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)


@contextmanager
def opened(path: str):
    """The Place of this absolute path. OSError, and HostFileError for a link that must not be followed."""
    walk = _Walk(path)
    try:
        yield walk.place()
    finally:
        walk.close()


@contextmanager
def entered(path: str):
    """The Folder of this absolute path; None where it, or one above it, is missing. OSError, HostFileError as opened."""
    walk = _Walk(path)
    try:
        yield walk.folder()
    finally:
        walk.close()


class _Walk:
    """One way from / to a file, or a folder. Links that may be followed are replaced by the way to what they lead to."""

    def __init__(self, path: str):
        self._way = [Folder("/", os.open("/", _FOLDER))]
        self._todo = _parts(path)
        self._links = 0

    def place(self) -> Place:
        while self._todo:
            name = self._todo.pop(0)
            if name == "..":
                self._leave()
                continue
            if not self._todo:
                status = self._here.look(name)
                if not status or not stat.S_ISLNK(status.st_mode):
                    return Place(self._here, name, [], status)
                self._follow(name, status)
            elif not self._enter(name):
                return Place(self._here, self._todo[-1], [name] + self._todo[:-1], None)
        return Place(self._here, ".", [], self._here.status)

    def folder(self):
        while self._todo:
            name = self._todo.pop(0)
            if name == "..":
                self._leave()
            elif not self._enter(name):
                return None
        return self._here

    @property
    def _here(self) -> Folder:
        return self._way[-1]

    def _enter(self, name: str) -> bool:
        """Go down; False where there is nothing of this name."""
        try:
            self._way.append(self._here.enter(name))
        except FileNotFoundError:
            if ".." in self._todo:
                raise
            return False
        except OSError as error:
            status = self._here.look(name) if error.errno in (errno.ENOTDIR, errno.ELOOP) else None
            if not status or not stat.S_ISLNK(status.st_mode):
                raise
            self._follow(name, status)
        return True

    def _follow(self, name: str, status) -> None:
        link = self._here.join(name)
        if not (self._here.ours and _trusted(status.st_uid)):
            raise HostFileError(
                "%s is a symbolic link of %s%s, so it is not followed. Name what it leads to, or have root replace it by a "
                "folder or file." % (link, user(status.st_uid), self._why_not_here())
            )
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), link)
        leads_to = os.readlink(name, dir_fd=self._here.descriptor)
        if os.path.isabs(leads_to):
            while len(self._way) > 1:
                self._leave()
        self._todo = _parts(leads_to) + self._todo

    def _why_not_here(self) -> str:
        if self._here.ours:
            return ""
        return " in a folder that others can change (%s)" % self._here.why_foreign()

    def _leave(self) -> None:
        if len(self._way) > 1:
            os.close(self._way.pop().descriptor)

    def close(self) -> None:
        for folder in self._way:
            os.close(folder.descriptor)


def _parts(path: str) -> list:
    return [part for part in path.split("/") if part not in ("", ".")]


def _trusted(uid: int) -> bool:
    return uid in (0, os.geteuid())


def _stranger(path: str, descriptor: int, status) -> str:
    """Who else than root and the task's user may change what is in a folder, in words; "" for nobody."""
    if not _trusted(status.st_uid):
        return "%s belongs to %s" % (path, user(status.st_uid))
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write to %s" % path
    if not status.st_mode & stat.S_IWGRP:
        return ""
    from . import acl  # few folders need it

    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
    try:
        users, groups = acl.writers(readable, status)
    finally:
        os.close(readable)
    for uid in users:
        if not _trusted(uid):
            return "an ACL lets %s write to %s" % (user(uid), path)
    for gid in groups:
        if gid != 0 and not (group(gid) == "staff" and (path + "/").startswith("/usr/local/")):
            return "the group %s may write to %s" % (group(gid), path)
    return ""


def user(uid: int) -> str:
    """The name of a user, or the number where it has none here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "the user %d" % uid


def group(gid: int) -> str:
    """The name of a group, or the number where it has none here."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def resolve(path: str, option: str) -> str:
    """The file that this path means: absolute, links followed where they may be, and no folder. HostFileError."""
    if not os.path.isabs(path):
        raise OptionError("%s: %r is not an absolute path." % (option, path))
    try:
        with explained("follow", path), opened(path) as place:
            if not place.is_folder and not path.endswith("/"):
                return place.path
    except HostFileError as error:
        raise HostFileError("%s: %s" % (option, error)) from None
    raise HostFileError("%s: %s is a folder. Name a file in it." % (option, path))


def is_ours(path: str) -> bool:
    """Whether this file is in a place that is ours; HostFileError."""
    with explained("reach", path), opened(path) as place:
        return place.ours


def exists(path: str) -> bool:
    """Whether anything lies there; HostFileError."""
    with explained("look for", path), opened(path) as place:
        return place.status is not None


def is_there(path: str) -> bool:
    """Whether there is a file of this name, or a link. HostFileError."""
    folder, name = os.path.split(path)
    with explained("look for", path), entered(folder) as found:
        return found is not None and found.look(name) is not None


def remove(path: str) -> None:
    """Remove a file, a link itself where it is one, if it is there. HostFileError."""
    folder, name = os.path.split(path)
    with explained("remove", path), entered(folder) as found:
        if found:
            found.remove(name)


def missing_folder(path: str):
    """The folder of this file where it does not exist, else None. HostFileError."""
    folder = os.path.dirname(path)
    with explained("reach", path), entered(folder) as found:
        return None if found else folder


def _advice_for_root(number: int, path: str) -> str:
    """Root is refused only by a file system that does not take it for root, by a flag of a file, and by confinement."""
    if number == errno.EPERM:
        return "Even root may not do this: a flag of the file or its folder forbids it (lsattr shows it), or what confines root here."
    if number != errno.EACCES:
        return ""
    try:
        owner = user(os.stat(os.path.dirname(path)).st_uid)
    except OSError:
        owner = "the owner of the folder"
    if owner == "root":
        return "Root is confined here, or is nobody on that file system (NFS with root_squash): name another path."
    return (
        "Root is nobody here, as on NFS with root_squash, or is confined: run this task with `become_user: %s`, or name another "
        "path." % owner
    )


@contextmanager
def explained(verb: str, path: str):
    """An OSError becomes a HostFileError that says what could not be done to which file, and what to do next."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno, "")
        if os.geteuid() == 0:
            advice = _advice_for_root(error.errno, path) or advice
        raise HostFileError(("Cannot %s %s: %s. %s" % (verb, path, error.strerror or error, advice)).rstrip()) from None

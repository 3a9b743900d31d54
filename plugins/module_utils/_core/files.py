# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Files on the host: read, stage beside the target, and replace a set as one.

Two renames cannot be one. So a set has a commit point, the rename of the certificate: before it nothing has changed;
after it the key that belongs to the certificate lies staged beside its target, and the next run finishes.
All files of ours begin with a dot and carry the name of their target.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import time
from contextlib import contextmanager, suppress

from .errors import HalfReplaced, HostFileError, OptionError

_LARGEST = 1024 * 1024
_STALE_SECONDS = 3600
_MARK = ".stepca-"
_BACKUP = ".stepca.backup"
_CONTEXT = "security.selinux"
#: Tags of what is staged, of links to what it replaces, and of those that become backups.
_UNDER_LOCK = ("new", "old", "backup")
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
}


def resolve(path: str, option: str) -> str:
    """The file that this path means: absolute, symbolic links followed, and no folder."""
    if not os.path.isabs(path):
        raise OptionError("%s: %r is not an absolute path." % (option, path))
    real = os.path.realpath(path)
    if os.path.isdir(real):
        raise HostFileError("%s: %s is a folder. Name a file in it." % (option, path))
    return real


def read(path: str):
    """The content of a file, or None where there is none. HostFileError if it cannot be read."""
    with explained("read", path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without the flag, a pipe waits for its writer
        except FileNotFoundError:
            return None
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            os.close(descriptor)
            raise HostFileError(
                "%s is no file, but a %s." % (path, "folder" if stat.S_ISDIR(kind) else "pipe or device")
            )
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise HostFileError("%s is larger than 1 MiB: it is no key and no certificate." % path)
    return content


def is_private(path: str) -> bool:
    """Whether nobody but its owner may read or change this file. HostFileError if that cannot be seen."""
    with explained("read", path):
        return not os.stat(path).st_mode & 0o077


def probe(path: str, dress) -> None:
    """HostFileError unless a file can be made beside this one, and dress(staged) can give it its attributes."""
    staged = stage(path, b"", "probe-%d" % os.getpid())
    try:
        dress(staged)
    finally:
        forget(staged)


def missing_folder(path: str):
    """The folder of this file where it does not exist, else None."""
    folder = os.path.dirname(path)
    return None if os.path.isdir(folder) else folder


def missing_folders(folder: str) -> list:
    """This folder and those above it, as far as they do not exist, the topmost first."""
    missing, folder = [], os.path.abspath(folder)
    while not os.path.isdir(folder):
        missing.insert(0, folder)
        folder = os.path.dirname(folder)
    return missing


def make_folder(folder: str) -> None:
    """Make a folder, 0755, and those above it."""
    for one in missing_folders(folder):
        with explained("make", one):
            try:
                os.mkdir(one)
                os.chmod(one, 0o755)  # whatever the umask
            except FileExistsError:
                if not os.path.isdir(one):  # else another run has just made it
                    raise


def staged_path(target: str, tag: str) -> str:
    """Where a file waits to become this target."""
    folder, name = os.path.split(target)
    return os.path.join(folder, ".%s%s%s" % (name, _MARK, tag))


def stage(target: str, content: bytes, tag: str) -> str:
    """Write content, safely on disk and readable by nobody else, beside its target; returns where."""
    path = staged_path(target, tag)
    _refuse_open_folder(os.path.dirname(target))
    with explained("write", path):
        _forget(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            _forget(path)
            raise
    return path


def put(path: str, content: bytes, mode: int) -> None:
    """Replace one file, or make it, with this mode; HostFileError."""
    staged = stage(path, content, "new")
    with explained("write", path):
        try:
            os.chmod(staged, mode)
            os.rename(staged, path)
        except OSError:
            with suppress(OSError):  # what failed first is the news
                _forget(staged)
            raise


def inherit_owner(path: str, target: str) -> None:
    """Give a staged file the owner and group of the file that it replaces, as far as we may."""
    try:
        old = os.stat(target)
        os.chown(path, old.st_uid, old.st_gid)
    except OSError:
        pass  # no such file yet, or not root: the task's user owns what it writes


def inherit(path: str, target: str, model: str, mode: int) -> None:
    """Give a staged file owner, mode and SELinux context of the file that it replaces, else of model; mode if neither is."""
    source = next((one for one in (target, model) if os.path.exists(one)), None)
    with explained("set owner or mode of", target):
        if source:
            inherit_owner(path, source)
            mode = stat.S_IMODE(os.stat(source).st_mode)
        os.chmod(path, mode)
    if source:
        with suppress(OSError, AttributeError):  # no SELinux here
            os.setxattr(path, _CONTEXT, os.getxattr(source, _CONTEXT))


def dress(path: str, attributes: dict) -> None:
    """Give a staged file owner and group (names or numbers) and mode (octal; another notation is Ansible's own)."""
    owner, group, mode = [attributes.get(name) for name in ("owner", "group", "mode")]
    with explained("set owner or mode of", path):
        try:
            if owner or group:
                shutil.chown(path, _number(owner), _number(group))
        except LookupError as error:
            raise HostFileError("Cannot set the owner of %s: %s." % (path, error)) from None
        if re.match("[0-7]{3,4}$", str(mode)):
            os.chmod(path, int(mode, 8))


def _number(owner):
    return int(owner) if str(owner).isdigit() else owner


def replace_set(moves) -> None:
    """Put staged files in their places, all or none: moves is [(staged, target)], the first of them commits.

    A call that fails midway puts the former files back; a crash midway is finished by the next run.
    """
    kept = []
    done = []
    with explained("replace", moves[0][1]):
        try:
            for _staged, target in moves:
                kept.append((_keep(target), target))
            for staged, target in moves:
                os.rename(staged, target)
                done.append(target)
                _sync_folder(target)
        except OSError as error:
            try:
                for (staged, target), (old, _target) in reversed(list(zip(moves, kept))):
                    if target in done:
                        _put_back(staged, target, old)
            except OSError:
                raise HalfReplaced(
                    "%s and the files that belong to it are replaced in part (%s), and could not be put back. Mend the disk, "
                    "then run again: the next run finishes." % (moves[0][1], error.strerror)
                ) from None
            _forget_all(kept)
            raise
        _forget_all(kept)


@contextmanager
def locked(path: str, patience: float = 30.0):
    """Hold the folder of this file against other runs; HostFileError if another one holds it for too long."""
    folder = os.path.dirname(path)
    with explained("lock", folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with explained("lock", folder):
            _wait_for_lock(descriptor, folder, time.monotonic() + patience)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, folder: str, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HostFileError(
                    "Another run is replacing certificates in %s. Run again when it is done." % folder
                ) from None
            time.sleep(0.05)


def forget(path: str) -> None:
    """Remove a file of ours, where it is."""
    with explained("remove", path):
        _forget(path)


def forget_stale(target: str) -> None:
    """Remove what earlier runs left beside this target, under the lock.

    What is staged under the lock was left by a run that ended midway. A key waits without it for its certificate, so
    it is left only after an hour.
    """
    under_lock = [staged_path(target, tag) for tag in _UNDER_LOCK]
    for path in waiting(target):
        with suppress(OSError):  # tidying up is no reason to fail
            if path in under_lock or time.time() - os.lstat(path).st_mtime > _STALE_SECONDS:
                _forget(path)


def waiting(target: str) -> list:
    """What runs left staged beside this target."""
    folder, name = os.path.split(target)
    prefix = ".%s%s" % (name, _MARK)
    try:
        return sorted(os.path.join(folder, entry) for entry in os.listdir(folder) if entry.startswith(prefix))
    except OSError:
        return []


def backup_path(target: str) -> str:
    """Where the former file of this target is kept."""
    folder, name = os.path.split(target)
    return os.path.join(folder, ".%s%s" % (name, _BACKUP))


def back_up(target: str) -> str:
    """Keep a file as it is, with owner and mode, in place of an earlier backup; returns where."""
    backup = backup_path(target)
    with explained("back up", target):
        kept = _keep(target, "backup")
        try:
            os.rename(kept, backup)
        finally:
            _forget(kept)  # two names of one file: then rename does nothing
        _sync_folder(backup)
    return backup


def _put_back(staged: str, target: str, old) -> None:
    """Undo one rename: the new file waits again, so that a run which ends right here can still be finished."""
    _forget(staged)
    os.link(target, staged)
    os.rename(old, target) if old else os.unlink(target)


def _keep(target: str, tag: str = "old"):
    """A hard link to the file as it is, to put it back from; None where there is none."""
    old = staged_path(target, tag)
    _forget(old)
    try:
        os.link(target, old)
    except FileNotFoundError:
        return None
    return old


def _forget_all(kept) -> None:
    for old, _target in kept:
        if old:
            with suppress(OSError):  # a link too many harms nobody, and the next run removes it
                _forget(old)


def _forget(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _sync_folder(path: str) -> None:
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_open_folder(folder: str) -> None:
    """Where others may rename files, they may swap ours (the sticky bit forbids it)."""
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return  # the write itself will say what is wrong
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise HostFileError(
            "Everybody may write to the folder %s, so no key can be kept there. Make it 0755 or stricter." % folder
        )


@contextmanager
def explained(verb: str, path: str):
    """An OSError becomes a HostFileError that says what could not be done to which file, and what to do next."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno, "")
        raise HostFileError(("Cannot %s %s: %s. %s" % (verb, path, error.strerror or error, advice)).rstrip()) from None

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Owner, group, mode, ACL and SELinux context of a file that replaces another.

Where the place is ours only root or the task's user can have set those of the former file: what nobody names stays. In a
foreign place nothing is taken from what lies there. A named owner or mode drops the former ACL.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ..errors import HostFileError
from . import acl, places

#: Modes where neither task nor former file says another.
MODES = {"key": 0o600}
_ELSE = 0o644
_CONTEXT = "security.selinux"


class Former:
    """What a file has that is to be replaced: status (os.stat_result), acl and context (bytes, None for none)."""

    def __init__(self, path: str):
        self.status = os.stat(path, follow_symlinks=False)
        self.acl = acl.read(path)
        self.context = acl.attribute(path, _CONTEXT)

    @property
    def mode(self) -> int:
        """Its mode without the ACL, whose mask stands where the group's part would be."""
        return acl.base_mode(self.acl) if self.acl else self.status.st_mode & 0o777


def default_mode(kind: str) -> int:
    """The mode of a file of this kind where nobody names one."""
    return MODES.get(kind, _ELSE)


def names_mode(given: dict) -> bool:
    """Whether a task names owner or mode, and so settles who may read the file. given: {"owner", "group", "mode", ...}."""
    return any(given.get(name) not in (None, "") for name in ("owner", "mode"))


def inherit(staged, given: dict) -> list:
    """Give a staged file what nobody names: of the former file, or the task's user's own. Returns warnings.

    staged: staging.Staged; given: what the task names.
    """
    former, descriptor = staged.former, staged.descriptor
    if former or not staged.ours:
        _chown(descriptor, *((former.status.st_uid, former.status.st_gid) if former else (os.geteuid(), os.getegid())))
    if keeps_acl(staged, given):
        try:
            acl.write(descriptor, former.acl)
        except OSError as error:
            return [
                "The ACL of %s cannot be carried over to its successor: %s. Who may read it by that ACL alone will lose access."
                % (staged.target, error.strerror)
            ]
    elif former or names_mode(given) or not staged.ours:
        acl.drop(descriptor)
    if former and former.context:
        with suppress(OSError):  # what policy forbids here it will set itself
            os.setxattr(descriptor, _CONTEXT, former.context)
    return []


def _chown(descriptor: int, uid: int, gid: int) -> None:
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (uid, gid):
        with suppress(OSError):  # who is not root owns what it writes
            os.chown(descriptor, uid, gid)


def keeps_acl(staged, given: dict) -> bool:
    """Whether the mode of a staged file is that of the ACL which it inherited."""
    return bool(staged.former and staged.former.acl and not names_mode(given))


def dress(staged, given: dict, kind: str) -> list:
    """inherit, and then what is named: owner and group (names or numbers) and mode (octal). Returns warnings; HostFileError."""
    descriptor, former = staged.descriptor, staged.former
    owner, group, mode = [given.get(name) for name in ("owner", "group", "mode")]
    with places.explained("set owner or mode of", staged.target):
        warnings = inherit(staged, given)
        for name, number in ((owner, number_of_user), (group, _number_of_group)):
            if name and number(name) < 0:
                raise HostFileError("Cannot set the owner of %s: nobody here is called %s." % (staged.target, name))
        if owner or group:
            os.chown(descriptor, number_of_user(owner) if owner else -1, _number_of_group(group) if group else -1)
        if mode is not None and re.match("[0-7]{3,4}$", str(mode)):
            os.chmod(descriptor, int(mode, 8))
        elif not keeps_acl(staged, given):
            os.chmod(descriptor, former.mode if former else default_mode(kind))
    return warnings


def number_of_user(owner) -> int:
    """The uid of a user named by name or number; -1 for a name that nobody has here."""
    import pwd

    try:
        return int(owner) if str(owner).isdigit() else pwd.getpwnam(owner).pw_uid
    except KeyError:
        return -1


def _number_of_group(name) -> int:
    import grp

    try:
        return int(name) if str(name).isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        return -1

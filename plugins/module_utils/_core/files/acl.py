# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""POSIX ACLs as Linux keeps them (acl(5)): who may write to a folder, and what a file's mode is without its ACL."""

from __future__ import annotations

import os
import struct
from contextlib import suppress

_ACL = "system.posix_acl_access"
_DEFAULT_ACL = "system.posix_acl_default"
#: posix_acl_xattr.h of Linux: a version, then entries of tag, permissions and id.
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_SHIFTS = {_USER_OBJ: 6, _GROUP_OBJ: 3, _OTHER: 0}
_WRITE = 2


def read(file):
    """The ACL of a file (path, links not followed, or descriptor) as the kernel keeps it; None where its mode says all."""
    return attribute(file, _ACL)


def write(file, acl: bytes) -> None:
    """Give a file this ACL; OSError."""
    os.setxattr(file, _ACL, acl)


def base_mode(acl: bytes) -> int:
    """The mode that a file with this ACL had without it: of owner, owning group and others. In its place stands the mask."""
    return sum(permissions << _SHIFTS[tag] for tag, permissions, _id in _entries(acl) if tag in _SHIFTS)


def set_base_mode(file, acl: bytes, mode: int) -> None:
    """Change that mode and leave the rest of the ACL; OSError."""
    entries = [
        (tag, mode >> _SHIFTS[tag] & 7 if tag in _SHIFTS else permissions, number)
        for tag, permissions, number in _entries(acl)
    ]
    write(file, acl[: _HEADER.size] + b"".join(_ENTRY.pack(*one) for one in entries))


def drop(file, default: bool = False) -> None:
    """Take the ACL away from a file or, with default, what a folder hands on to what is made in it."""
    with suppress(OSError, AttributeError):  # there is none, or no ACL at all on this system
        os.removexattr(file, _DEFAULT_ACL if default else _ACL)


def writers(descriptor: int, status) -> tuple:
    """(user ids, group ids) that may write to a folder which its group, or the mask of an ACL, lets write."""
    acl = read(descriptor)
    if not acl:
        return [], [status.st_gid]
    entries = _entries(acl)
    mask = next((permissions for tag, permissions, _id in entries if tag == _MASK), 7)
    writing = [(tag, number) for tag, permissions, number in entries if permissions & mask & _WRITE]
    groups = [number for tag, number in writing if tag == _GROUP]
    groups += [status.st_gid] if any(tag == _GROUP_OBJ for tag, _id in writing) else []
    return [number for tag, number in writing if tag == _USER], groups


def attribute(file, name: str):
    """An extended attribute of a file (bytes), None where it has none."""
    try:
        if isinstance(file, int):
            return os.getxattr(file, name)
        return os.getxattr(file, name, follow_symlinks=False)
    except (OSError, AttributeError):  # there is none, or nothing of the kind on this system
        return None


def _entries(acl: bytes) -> list:
    return [_ENTRY.unpack_from(acl, offset) for offset in range(_HEADER.size, len(acl) - _ENTRY.size + 1, _ENTRY.size)]

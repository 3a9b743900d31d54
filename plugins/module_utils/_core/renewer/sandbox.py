# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What the units of the renewer may say of paths: nothing but what the play said, and no folder that others can rename.

systemd follows links where it opens a folder for writing (ReadWritePaths= of systemd.exec(5)), as root, at each start.
"""

from __future__ import annotations

import os
import re

from ..errors import HostFileError, OptionError
from ..files import places

#: Whoever may write there may do anything.
_TOO_WIDE = ("/", "/etc", "/usr")
#: What ends a line or a quoted word, somewhere between a template and systemd or cron.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029'\"\\\\]")


def refuse_odd(path: str, option: str) -> None:
    """OptionError for a path that cannot stand in a unit or in a line of cron."""
    found = _ODD.search(path)
    if found:
        raise OptionError(
            "%s: %r has the character %r. What the renewer's unit or cron line names may hold no quote, backslash, line break "
            "or other control character: give another path." % (option, path, found.group())
        )


def folder_of(path: str, option: str) -> str:
    """The folder to be opened for writing so that this file can be replaced: the deepest on the way as the play names it
    whose name only root can change, and that the file lies in, links followed. HostFileError where that is too wide.
    """
    refuse_odd(path, option)
    with places.explained("reach", path), places.opened(path) as place:
        real = os.path.dirname(place.path)
    folder = os.path.dirname(os.path.normpath(path))
    while not _holds(folder, real):
        folder = os.path.dirname(folder)
    if os.path.realpath(folder) in _TOO_WIDE:
        raise HostFileError(
            "%s: to renew %s, the renewer would have to be let write to all of %s. Put the file into a folder of its own, such as "
            "%s." % (option, path, folder, _proposal(path, real, folder))
        )
    return folder


def _holds(folder: str, real: str) -> bool:
    """Whether nobody but root can rename this folder, and the real one lies in it or is it."""
    if folder == "/":
        return True
    with places.explained("reach", folder), places.entered(folder) as there:
        if there:
            fixed, path = there.named_by_us, there.path
    if not there:  # root will make it
        with places.explained("reach", folder), places.opened(os.path.join(folder, "file")) as place:
            fixed, path = place.ours, os.path.dirname(place.path)
    return fixed and (real + "/").startswith(path.rstrip("/") + "/")


def _proposal(path: str, real: str, folder: str) -> str:
    name = os.path.basename(path)
    if real not in _TOO_WIDE and os.path.dirname(path) != real:
        return os.path.join(real, name)  # it is a link that leads there
    return os.path.join(folder, os.path.splitext(name)[0] or "tls", name)

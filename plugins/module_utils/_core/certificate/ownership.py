# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Whose a key shall be, where others could have put there what lies there now."""

from __future__ import annotations

import os

from ..errors import HostFileError
from ..files import attributes, places


def refuse_unowned(wanted) -> None:
    """HostFileError for a key of somebody else's in a foreign place, while nobody says whose it shall be.

    Written by us it would be ours, and whoever reads it today could not; given to its owner of today, it would be given to
    whoever put it there.
    """
    if (wanted.attributes.get("key") or {}).get("owner"):
        return
    for option, path, kind in wanted.written():
        if kind != "key":
            continue
        with places.explained("reach", path), places.opened(path) as place:
            if place.ours or place.status is None or place.status.st_uid in (0, os.geteuid()):
                continue
            owner = places.user(place.status.st_uid)
            raise HostFileError(
                "%s: %s belongs to %s, in a place that others can change (%s), so it is left alone: only you can say whose it "
                "shall be. Set key_owner: %s, or have root own it." % (option, path, owner, place.why_foreign(), owner)
            )


def unproven(wanted, status, fingerprint: str, kept) -> str:
    """Why a key that lies in a foreign place is not taken for this certificate's, a part of a sentence; "" where it is.

    Whoever owns the folder could have put there a key of root's that they cannot read, to have it given to them. It is used
    where they own it anyway, or root's record of this certificate knows it. status: of the file that was read; fingerprint: of
    the key; kept: the record, or None.
    """
    if os.geteuid() != 0 or places.is_ours(wanted.key_path) or (kept and kept["key_sha256"] == fingerprint):
        return ""
    owner = (wanted.attributes.get("key") or {}).get("owner")
    if status.st_uid != 0 and owner and status.st_uid == attributes.number_of_user(owner):
        return ""
    return (
        "the private key %s belongs to %s, in a place that others can change, and no record of root's says that it is this "
        "certificate's" % (wanted.key_path, places.user(status.st_uid))
    )

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A play notifies those who use what it replaced. What it could not tell them, the next play or renewal does."""

from __future__ import annotations

import os
from contextlib import suppress

from ..certificate import record
from ..errors import HostFileError
from ..files import folders, locks
from . import configuration, history, services

#: How long a renewal that is under way is waited for before services are notified without it, in seconds.
_PATIENCE = 10.0


def notify(entries: list, replaced: list, dry: bool) -> tuple:
    """Notify the users of each certificate that was replaced, now or by a run that did not get so far.

    entries: of stepca_renewer; replaced: paths of the certificates that this play has replaced; dry: do nothing.
    Returns (what was to be done, in sentences; {certificate_path: what failed, in sentences}).
    """
    known = [configuration.hooked(entry) for entry in entries]
    used = [one for one in known if one.reload or one.run_after]
    due = [one for one in used if one.certificate_path in replaced or _past(one).pending]
    if not due:
        return [], {}
    if not dry:
        _remember(due, True)  # whatever becomes of this run
    done, failed = services.tell(due, dry)
    if not dry:
        _remember([one for one in due if one.certificate_path not in failed], False)
    return done, failed


def _past(one) -> history.History:
    return history.load(history.FOLDER, record.name_of(one.certificate_path))


def _remember(certificates: list, pending: bool) -> None:
    """Write down whether their users are still to be notified, as far as this user may; a renewal writes there, too."""
    if os.geteuid() != 0:
        return
    with suppress(HostFileError):
        folders.make(history.FOLDER)
        with locks.locked(os.path.join(history.FOLDER, "renewals"), _PATIENCE):
            for one in certificates:
                past = _past(one)
                past.pending = pending
                past.save()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_host_info: names what to look at and whom to trust, and reads the answer with care."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations, wire
from ..module_utils._core.errors import CsrError
from ..module_utils._core.inspection import survey
from ..module_utils._core.renewer import status
from ..plugin_utils import _answers
from ..plugin_utils._action import StepCAAction, roots_pem

#: The rest of an entry is no business of the host's here, and may be secret.
_SENT = ("certificate_path", "key_path", "renew_before")
_ROW = wire.shape(
    certificate_path=wire.text,
    problem=wire.word,
    known_by=wire.choice(survey.KNOWN_BY, "folder"),
    state=wire.choice(status.STATES, "failing"),
    not_after=wire.text,
    days_left=wire.number,
    served=wire.known,
    last_success=wire.text,
    last_error=wire.text,
    certificate=wire.facts,
)
#: A report of a fleet is made of these: one host must not fill it.
_MOST, _LONGEST = 1000, 2 * 1024 * 1024
_ROWS = wire.table(_ROW, _MOST, _LONGEST)
_INCOMPLETE = (
    "The host does not tell how this certificate is. Is another version of this collection's module in the way?"
)


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_host_info.py for what users are told."""

    OPTIONS = _options.HOST_INFO

    def act(self) -> dict:
        present = [entry for entry in self.options["certificates"] if entry.get("state") != "absent"]
        named = [{name: entry[name] for name in _SENT if entry.get(name)} for entry in present]
        told = self.execute(dict(self.options, certificates=named), self._trust())
        return dict(_read(told), changed=False)

    def _trust(self) -> dict:
        """Whom to trust, where any option says so: a report is worth having without."""
        trusts = self.settings.nearest("ca_fingerprint", "ca_root", "ca_root_path")
        connection = self.settings.connection() if trusts else None
        return {
            "now": durations.format_time(durations.now()),
            "fingerprints": connection.fingerprints if connection else [],
            "roots": roots_pem(connection.roots) if connection else None,
        }


def _read(told: dict) -> dict:
    """What the host says; CsrError for what is no answer of our module."""
    if not isinstance(told.get("certificates"), list):
        raise CsrError(_answers.NOT_OURS)
    rows, left_out = _ROWS(told["certificates"])
    problems = wire.texts(told.get("problems"))
    if left_out:
        problems.append("%d more certificates that this host lists were left out." % left_out)
    return {"certificates": [_whole(row) for row in rows], "problems": problems}


def _whole(row: dict) -> dict:
    """The row; failing where its state cannot be known, because it lacks what a certificate in such a state has."""
    if row["state"] == "failing" or None not in (row["days_left"], row["not_after"], row["certificate"]):
        return row
    return dict(row, state="failing", problem=row["problem"] or _INCOMPLETE)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_host_info: names what to look at and whom to trust, and reads the answer with care."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations
from ..module_utils._core.inspection import survey
from ..module_utils._core.renewer import status
from ..plugin_utils import _answers
from ..plugin_utils._action import StepCAAction, roots_pem

#: The rest of an entry is no business of the host's here, and may be secret.
_SENT = ("certificate_path", "key_path", "renew_before")
_TEXTS = ("certificate_path", "problem", "not_after", "last_success", "last_error")


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_host_info.py for what users are told."""

    OPTIONS = _options.HOST_INFO

    def act(self) -> dict:
        present = [entry for entry in self.options["certificates"] if entry.get("state") != "absent"]
        named = [{name: entry[name] for name in _SENT if entry.get(name)} for entry in present]
        told = self.execute(dict(self.options, certificates=named), self._trust())
        listed = told.get("certificates") if isinstance(told.get("certificates"), list) else []
        rows = [_row(one) for one in listed if isinstance(one, dict)]
        return {"changed": False, "certificates": rows, "problems": _answers.texts(told.get("problems"))}

    def _trust(self) -> dict:
        """Whom to trust, where any option says so: a report is worth having without."""
        trusts = self.settings.nearest("ca_fingerprint", "ca_root", "ca_root_path")
        connection = self.settings.connection() if trusts else None
        return {
            "now": durations.format_time(durations.now()),
            "fingerprints": connection.fingerprints if connection else [],
            "roots": roots_pem(connection.roots) if connection else None,
        }


def _row(one: dict) -> dict:
    """A row of a host's, by known keys."""
    row = {name: _answers.text(one.get(name)) for name in _TEXTS}
    left = one.get("days_left")
    return dict(
        row,
        problem=row["problem"] or "",
        known_by=one.get("known_by") if one.get("known_by") in survey.KNOWN_BY else "folder",
        state=one.get("state") if one.get("state") in status.STATES else "failing",
        days_left=left if isinstance(left, float) else None,
        served=one.get("served") if isinstance(one.get("served"), bool) else None,
        certificate=_answers.facts(one.get("certificate")),
    )

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_host_info: names what to look at and whom to trust, and reads the answer with care."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations, wire
from ..module_utils._core.inspection import survey
from ..module_utils._core.renewer import status
from ..plugin_utils._action import StepCAAction, roots_pem

#: The rest of an entry is no business of the host's here, and may be secret.
_SENT = ("certificate_path", "key_path", "renew_before")
_ROW = wire.shape(
    certificate_path=wire.text,
    problem=wire.word,
    known_by=wire.choice(survey.KNOWN_BY, "folder"),
    state=wire.choice(status.STATES, "failing"),
    not_after=wire.text,
    days_left=lambda given: given if isinstance(given, float) else None,
    served=wire.known,
    last_success=wire.text,
    last_error=wire.text,
    certificate=wire.facts,
)
_FOUND = wire.shape(certificates=wire.listed(_ROW, most=10000), problems=wire.texts)


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_host_info.py for what users are told."""

    OPTIONS = _options.HOST_INFO

    def act(self) -> dict:
        present = [entry for entry in self.options["certificates"] if entry.get("state") != "absent"]
        named = [{name: entry[name] for name in _SENT if entry.get(name)} for entry in present]
        told = self.execute(dict(self.options, certificates=named), self._trust())
        return dict(_FOUND(told), changed=False)

    def _trust(self) -> dict:
        """Whom to trust, where any option says so: a report is worth having without."""
        trusts = self.settings.nearest("ca_fingerprint", "ca_root", "ca_root_path")
        connection = self.settings.connection() if trusts else None
        return {
            "now": durations.format_time(durations.now()),
            "fingerprints": connection.fingerprints if connection else [],
            "roots": roots_pem(connection.roots) if connection else None,
        }

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_certificate_info: knows the roots and, where asked, what is revoked."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations, wire
from ..module_utils._core.ca import connections
from ..plugin_utils import _answers
from ..plugin_utils._action import StepCAAction, roots_pem
from ..plugin_utils._ca import CA

_FOUND = wire.shape(
    exists=wire.known,
    certificate=wire.facts,
    key_matches=wire.known,
    chain_ok=wire.known,
    days_left=wire.number,
    due=wire.known,
    revoked=wire.known,
    problem=wire.text,
)


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_certificate_info.py for what users are told."""

    OPTIONS = _options.INFO

    def act(self) -> dict:
        durations.parse_threshold(self.options["renew_before"], "renew_before")
        ca = CA(self)
        by_host = self.settings.request_from() == "host"
        told = self._look(ca, by_host)
        if wire.flag(told.get("needs_roots")):
            ca.learn_roots()
            told = self._look(ca, by_host)
        result = _FOUND(told)
        if self.options["check_revocation"] and not by_host and result["certificate"]:
            result["revoked"] = bool(ca.revoked().sentence(_answers.serial(result["certificate"])))
        return dict(result, changed=False)

    def _look(self, ca: CA, by_host: bool) -> dict:
        exchange = {
            "now": durations.format_time(durations.now()),
            "fingerprints": ca.connection.fingerprints,
            "roots": roots_pem(ca.roots),
            "by_host": connections.describe(ca.connection) if by_host and ca.connection.urls else None,
        }
        return self.execute(self.given, exchange)

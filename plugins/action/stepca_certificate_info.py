# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_certificate_info: knows the roots and, where asked, what is revoked."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations
from ..module_utils._core.ca import connections
from ..plugin_utils import _answers
from ..plugin_utils._action import StepCAAction, roots_pem
from ..plugin_utils._signing import Signing


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_certificate_info.py for what users are told."""

    OPTIONS = _options.INFO
    _KNOWN = ("exists", "key_matches", "chain_ok", "days_left", "due", "revoked")

    def act(self) -> dict:
        durations.parse_threshold(self.options["renew_before"], "renew_before")
        signing = Signing(self)
        by_host = self.settings.request_from() == "host"
        told = self._look(signing, by_host)
        if told.get("needs_roots") is True:
            signing.learn_roots()
            told = self._look(signing, by_host)
        result = {name: told.get(name) for name in self._KNOWN}
        result["certificate"] = _answers.facts(told.get("certificate"))
        if self.options["check_revocation"] and not by_host and result["certificate"]:
            result["revoked"] = bool(signing.revoked().sentence(_answers.serial(result["certificate"])))
        return dict(result, changed=False)

    def _look(self, signing: Signing, by_host: bool) -> dict:
        exchange = {
            "now": durations.format_time(durations.now()),
            "fingerprints": signing.connection.fingerprints,
            "roots": roots_pem(signing.roots),
            "by_host": connections.describe(signing.connection) if by_host and signing.connection.urls else None,
        }
        return self.execute(self.given, exchange)

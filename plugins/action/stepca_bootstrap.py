# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_bootstrap: fetches the roots where the host does not have them yet."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core.ca import connections
from ..module_utils._core.errors import ApiError
from ..plugin_utils import _answers
from ..plugin_utils._action import StepCAAction


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_bootstrap.py for what users are told."""

    OPTIONS = _options.BOOTSTRAP

    def act(self) -> dict:
        connection = self.settings.connection()
        from_host = self.settings.request_from() == "host"
        result = self._run(connection, from_host)
        if result.get("needs_roots") is True:
            authority = self.authority(connection)
            connection.roots = authority.trust()
            if authority.absent_roots:
                raise ApiError("%s Nothing was changed." % " ".join(authority.warnings))
            result = self._run(connection, from_host)
        self.warn(_answers.texts(result.get("told")))
        known = ("changed", "reasons", "roots", "system_trust_path", "backup_files") + (
            ("diff",) if self._task.diff else ()
        )
        return {name: result.get(name) for name in known}

    def _run(self, connection: connections.Connection, from_host: bool) -> dict:
        exchange = dict(connections.describe(connection), ask_from_host=from_host and bool(connection.urls))
        return self.execute(self.given, exchange)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_bootstrap: fetches the roots where the host does not have them yet."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import wire
from ..module_utils._core.ca import connections
from ..module_utils._core.errors import ApiError
from ..plugin_utils._action import StepCAAction

_ROOT = wire.shape(fingerprint=wire.text, subject=wire.text, not_after=wire.text, system_trust_path=wire.text)
_DONE = wire.shape(
    changed=wire.flag,
    reasons=wire.texts,
    roots=wire.listed(_ROOT),
    system_trust_path=wire.text,
    backup_files=wire.texts,
    diff=wire.data,
)


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_bootstrap.py for what users are told."""

    OPTIONS = _options.BOOTSTRAP

    def act(self) -> dict:
        connection = self.settings.connection()
        from_host = self.settings.request_from() == "host"
        result = self._run(connection, from_host)
        if wire.flag(result.get("needs_roots")):
            authority = self.authority(connection)
            connection.roots = authority.trust()
            if authority.absent_roots:
                raise ApiError("%s Nothing was changed." % " ".join(authority.warnings))
            result = self._run(connection, from_host)
        self.warn(wire.texts(result.get("told")))
        done = _DONE(result)
        return done if self._task.diff else {name: value for name, value in done.items() if name != "diff"}

    def _run(self, connection: connections.Connection, from_host: bool) -> dict:
        exchange = dict(connections.describe(connection), ask_from_host=from_host and bool(connection.urls))
        return self.execute(self.given, exchange)

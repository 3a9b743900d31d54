# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_health: asks the CA itself, or has the host ask."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations, wire
from ..module_utils._core.ca import client, connections
from ..module_utils._core.errors import OptionError
from ..plugin_utils._action import StepCAAction

#: As client.health has them.
_FACTS = wire.shape(
    status=wire.text,
    url=wire.text,
    version=wire.text,
    clock_skew=wire.number,
    tls_not_after=wire.text,
    tried=wire.listed(wire.shape(url=wire.text, outcome=wire.text)),
)


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_health.py for what users are told."""

    OPTIONS = _options.HEALTH
    _requires_connection = False

    def act(self) -> dict:
        wait = durations.parse_duration(self.options["wait"], "wait")
        connection = self.settings.connection()
        if not connection.urls:
            raise OptionError("ca_url is required: no option says where the CA is.")
        if self.settings.request_from() == "host":
            told = self.execute({"wait": self.options["wait"]}, connections.describe(connection))
            return dict(_FACTS(told), changed=False)
        found = client.wait_until_healthy(lambda: self.authority(connection), wait.total_seconds())
        return dict(_FACTS(found), changed=False)

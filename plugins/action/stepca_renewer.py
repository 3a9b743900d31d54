# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_renewer: what the entries mean, where the CA is, when this host has its turn."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations, wire
from ..module_utils._core.ca import connections
from ..module_utils._core.certificate import options, request
from ..module_utils._core.errors import OptionError
from ..module_utils._core.renewer import configuration, sandbox
from ..plugin_utils._action import StepCAAction
from ..plugin_utils._certificates.entry import understand
from ..plugin_utils._schedule import schedule

_CERTIFICATE = "privatepki.stepca.stepca_certificate"


def _content(given) -> str:
    return wire.word(given, 100000)


_DONE = wire.shape(
    changed=wire.flag,
    reasons=wire.texts,
    path=_content,
    python=_content,
    folders=wire.texts,
    too_wide=wire.texts,
    configurations=wire.texts,
    backup_files=wire.texts,
    # One for each file of a host, which may have more certificates than other lists have members.
    diff=wire.listed(
        wire.shape(before_header=_content, after_header=_content, before=_content, after=_content), most=10000
    ),
)
#: What a renewal has no use for, and what the host need not hold twice.
_STAYS_HERE = ("pkcs12_password", "template_data")


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_renewer.py for what users are told."""

    OPTIONS = dict(_options.RENEWER, entries=dict(_options.RENEWER["entries"], options=_options.RENEWER_ENTRY))

    def act(self) -> dict:
        defaults = self.defaults_of(_CERTIFICATE)
        entries = [self._understood(entry, defaults) for entry in self.options["entries"]]
        request.refuse_shared_paths(entries)
        connection = self.settings.connection() if any(map(_is_present, entries)) else None
        if connection and not connection.urls:
            raise OptionError("ca_url is required: the renewer of the host has to know where the CA is.")
        for option in ("path", "config_path", "metrics_path", "python"):
            sandbox.refuse_odd(self.options[option] or "", option)
        interval = durations.parse_duration(self.options["interval"], "interval")
        turn = schedule(interval, str(self._task_vars.get("inventory_hostname", "")), "interval")
        result = self.execute(
            dict(self.options, entries=[_for_host(entry) for entry in entries]),
            {"connection": connection and connections.describe(connection)},
        )
        return dict(_DONE(result), schedule=turn, invocation={"module_args": self.shown()})

    def _understood(self, entry: dict, defaults: dict) -> dict:
        """One entry with the defaults that stepca_certificate has in this play, its names in normal form."""
        given = {name: defaults[name] for name in options.SHARED if name in defaults}
        entry = dict(entry, **{name: value for name, value in given.items() if entry.get(name) is None})
        wanted = understand(entry)
        for option, path, _kind in wanted.written():
            sandbox.refuse_odd(path, option)
        if wanted.state == "present":
            configuration.check_hooks(entry)
            entry["only_by_play"] = configuration.never_renewed(entry)
            if entry["only_by_play"] and self.options["unrenewable"] == "fail":
                raise OptionError(entry["only_by_play"])
        return entry


def _is_present(entry: dict) -> bool:
    return entry.get("state") != "absent"


def _for_host(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if value is not None and name not in _STAYS_HERE}

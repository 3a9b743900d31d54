# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_renewer: what the entries mean, where the CA is, when this host has its turn."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core import durations, wire
from ..module_utils._core.ca import connections
from ..module_utils._core.certificate import options, request
from ..module_utils._core.errors import OptionError
from ..module_utils._core.renewer import configuration, sandbox, window
from ..plugin_utils._action import StepCAAction, TaskFailed
from ..plugin_utils._certificates.entry import understand
from ..plugin_utils._schedule import schedule

_CERTIFICATE = "privatepki.stepca.stepca_certificate"


_CHANGED = {"changed": wire.flag, "reasons": wire.texts, "problems": wire.texts}
_NOTIFIED = wire.shape(**_CHANGED)
_DONE = wire.shape(
    **_CHANGED,
    path=wire.word,
    python=wire.word,
    folders=wire.texts,
    too_wide=wire.texts,
    configurations=wire.texts,
    backup_files=wire.texts,
    # One for each file of a host, which may have more certificates than other lists have members.
    diff=wire.listed(
        wire.shape(before_header=wire.word, after_header=wire.word, before=wire.lines, after=wire.lines), most=10000
    ),
)
#: What a renewal has no use for, and what the host need not hold twice.
_STAYS_HERE = ("pkcs12_password", "template_data")


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_renewer.py for what users are told."""

    OPTIONS = dict(_options.RENEWER, entries=dict(_options.RENEWER["entries"], options=_options.RENEWER_ENTRY))

    def act(self) -> dict:
        interval = durations.parse_duration(self.options["interval"], "interval")
        turn = schedule(interval, str(self._task_vars.get("inventory_hostname", "")), "interval")
        defaults = self.defaults_of(_CERTIFICATE)
        entries = [_with_defaults(entry, defaults) for entry in self.options["entries"]]
        if self.options["state"] == "checked":
            self._check(entries, interval)
            return {"changed": False, "schedule": turn, "reasons": []}
        entries = [self._understood(entry, interval) for entry in entries]
        self._check_notify(entries)
        request.refuse_shared_paths(entries)
        connection = self._place_of_ca(entries)
        for option in ("path", "config_path", "metrics_path", "python"):
            sandbox.refuse_odd(self.options[option] or "", option)
        result = self.execute(
            dict(self.options, entries=[_for_host(entry) for entry in entries]),
            {"connection": connection and connections.describe(connection)},
        )
        done = _NOTIFIED(result) if self.options["state"] == "notified" else _DONE(result)
        done = dict(done, schedule=turn, invocation={"module_args": self.shown()})
        problems = done.pop("problems")
        if problems:
            raise TaskFailed(dict(done, failed=True, msg=" ".join(problems)))
        return done

    def _place_of_ca(self, entries: list):
        """Where the renewer finds the CA; None where nothing is to be renewed."""
        if self.options["state"] != "present" or not any(map(_is_present, entries)):
            return None
        connection = self.settings.connection()
        if not connection.urls:
            raise OptionError("ca_url is required: the renewer of the host has to know where the CA is.")
        return connection

    def _check(self, entries: list, interval) -> None:
        """What the renewer could never renew. Whatever else is wrong with an entry is said by stepca_certificate."""
        problems = []
        for entry in entries:
            try:
                wanted = understand(entry)
            except OptionError:
                continue
            if wanted.state == "present":
                problems.append(configuration.never_renewed(entry) or _too_rare(wanted, interval))
        if any(problems):
            raise OptionError(" ".join(filter(None, problems)))

    def _check_notify(self, entries: list) -> None:
        known = [entry["certificate_path"] for entry in entries]
        for path in self.options["notify"]:
            if path not in known:
                raise OptionError("notify: no entry has the certificate_path %s." % path)

    def _understood(self, entry: dict, interval) -> dict:
        """The entry with its names in normal form, and what it means for the renewer."""
        wanted = understand(entry)
        for option, path, _kind in wanted.written():
            sandbox.refuse_odd(path, option)
        configuration.hooked(entry)
        if wanted.state == "present":
            entry["only_by_play"] = configuration.never_renewed(entry)
            problem = entry["only_by_play"] or _too_rare(wanted, interval)
            if problem and self.options["unrenewable"] == "fail" and self.options["state"] == "present":
                raise OptionError(problem)
        return entry


def _with_defaults(entry: dict, defaults: dict) -> dict:
    """An entry with the defaults that stepca_certificate has in this play."""
    given = {name: defaults[name] for name in options.SHARED if name in defaults}
    return dict(entry, **{name: value for name, value in given.items() if entry.get(name) is None})


def _too_rare(wanted: request.Request, interval) -> str:
    found = window.of_options(wanted)
    return window.problem(wanted.certificate_path, found, interval) if found else ""


def _is_present(entry: dict) -> bool:
    return entry.get("state") != "absent"


def _for_host(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if value is not None and name not in _STAYS_HERE}

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Base of the action plugins: settings, what goes to the host and what never does, errors as Ansible knows them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase

from ..module_utils import _options
from ..module_utils._core import wire
from ..module_utils._core.ca import client, connections
from ..module_utils._core.errors import OptionError, one_line, unforeseen
from ..module_utils._core.x509 import certificates
from . import _answers, _http, _libraries
from ._credentials import table
from ._settings import Settings, Source, of_controller, plain, plain_data

#: Of all certificates of a task together; each may have some.
_MOST_WARNINGS = 100
_GROUP = "group/privatepki.stepca.stepca"


class TaskFailed(Exception):
    """The end of a task. result: with failed and msg."""

    def __init__(self, result: dict):
        super().__init__(result["msg"])
        self.result = result


class StepCAAction(ActionBase):
    """The controller's half of a module.

    A subclass names its OPTIONS and says in `act` what it does. What goes to the host is built from these options
    alone: no option of connection or provisioner is among them.
    """

    _supports_check_mode = True
    _supports_async = False
    OPTIONS: dict = {}

    def run(self, tmp=None, task_vars=None):
        """Ansible's entry point; every error that a user can cause becomes a failed result here.

        It is returned, not raised: what an action raises never comes to until, retries and failed_when.
        """
        super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        self._warnings = []
        self.settings = None
        try:
            _libraries.require_cryptography()
            self._refuse_secrets_in_environment()
            self.settings = Settings(self._sources(), self._read_file)
            self.given, self.options = self._validated()
            self.warn(table.check(self.settings))
            result = self.act()
        except TaskFailed as failed:
            result = failed.result
        except AnsibleError:  # Ansible's own words: a host that is not reached, a variable that is not there
            raise
        except Exception as error:
            result = {"failed": True, "msg": str(unforeseen(error))}
        self.warn(self.settings.warnings if self.settings else [])
        warnings = list(dict.fromkeys([*(result.get("warnings") or []), *self._warnings]))
        if warnings:
            more = len(warnings) - _MOST_WARNINGS
            result["warnings"] = warnings[:_MOST_WARNINGS] + ["%d more warnings were left out." % more] * (more > 0)
        return result

    def act(self) -> dict:
        """The task's result."""
        raise NotImplementedError

    def warn(self, sentences) -> None:
        """Add warnings to the result."""
        self._warnings += map(one_line, sentences)

    def shown(self) -> dict:
        """The module's own options as given, fit to be shown."""
        return _masked(self.given, self.OPTIONS)

    def execute(self, arguments: dict, exchange: dict, tokens=None) -> dict:
        """Run the module of the same name on the host; a failure there is the task's failure.

        arguments: options of this module only; exchange: what the controller adds, nothing secret; tokens: for a host
        that asks the CA itself.
        """
        result = self._execute_module(
            module_name=self._task.resolved_action or self._task.action,
            module_args=dict(arguments, _exchange=exchange, **({"_tokens": tokens} if tokens else {})),
            task_vars=self._task_vars,
        )
        self.warn(wire.texts(result.pop("warnings", None)))
        if result.get("failed"):
            raise TaskFailed(dict(_answers.failure(result), failed=True, msg=_answers.reason(result)))
        return result

    def authority(self, connection: connections.Connection) -> client.StepCA:
        """The CA, asked from here; OptionError if no option says where it is."""
        if not connection.urls:
            raise OptionError("ca_url is required: a request to the CA is due, and no option says where it is.")
        return client.StepCA(connection, _http.Transport)

    def _validated(self) -> tuple:
        """(the module's own options as given, the same validated with defaults)."""
        reserved = set(_options.CONNECTION) | set(_options.PROVISIONER)
        given = {name: value for name, value in self._task.args.items() if name not in reserved}
        self._refuse_unknown(reserved | set(self.OPTIONS))
        validator = ArgumentSpecValidator(_options.for_controller(self.OPTIONS))
        outcome = validator.validate(given)
        if outcome.error_messages:
            unknown = isinstance(outcome.errors[0], UnsupportedError)
            raise OptionError("%s%s" % ("No such option: " if unknown else "", outcome.errors.msg))
        self._validate_reserved()
        return given, outcome.validated_parameters

    def _refuse_unknown(self, known: set) -> None:
        for name in self._task.args:
            if name not in known:
                close = difflib.get_close_matches(name, sorted(known), n=1)
                raise OptionError(
                    "%s: no such option.%s There are: %s."
                    % (name, " Is it %s?" % close[0] if close else "", ", ".join(sorted(known)))
                )

    def _validate_reserved(self) -> None:
        choice = self.settings.request_from()
        if choice not in ("controller", "host"):
            raise OptionError("request_from: %r is neither controller nor host." % choice)

    def _sources(self) -> list:
        """Task, module_defaults, variables, environment: nearest first."""
        args, defaults = self._task.args, self._defaults()

        def is_default(name):
            # Ansible has merged them by now; templated again, a default shows whether the task gave another value.
            return name in defaults and plain(self._templar.template(defaults[name])) == plain(args[name])

        def of_task(name):
            return name in args and not is_default(name)

        def of_defaults(name):
            return name in args and is_default(name)

        def has_variable(name):
            return "stepca_%s" % name in self._task_vars

        return [
            Source(lambda name: "the task", args.get, of_task),
            Source(lambda name: "module_defaults", args.get, of_defaults),
            Source(lambda name: "the variable stepca_%s" % name, self._variable, has_variable),
            of_controller(),
        ]

    def defaults_of(self, module: str) -> dict:
        """module_defaults that another module of this collection has in this play."""
        return plain_data(self._templar.template(self._defaults(module))) or {}

    def _defaults(self, module: str = "") -> dict:
        """module_defaults for this module (or another), not templated: those of the action group, then its own."""
        merged = {}
        for key in (_GROUP, module or self._task.resolved_action or self._task.action):
            for defaults in self._task.module_defaults or []:
                if isinstance(defaults.get(key), Mapping):
                    merged.update(defaults[key])
        return merged

    def _variable(self, name: str):
        return self._templar.template(self._task_vars["stepca_%s" % name])

    def _read_file(self, path: str) -> bytes:
        """A controller's file, looked up as `copy` does; vaulted ones are opened in memory."""
        try:
            found = self._find_needle("files", path)
            return self._loader._get_file_contents(found)[0]  # no public call opens a vaulted file in memory on 2.17
        except AnsibleError as error:
            raise OSError(0, str(error.message).split("\n", maxsplit=1)[0]) from None

    def _refuse_secrets_in_environment(self) -> None:
        for environment in self._task.environment or []:
            content = self._templar.template(environment) if isinstance(environment, str) else environment
            names = set(content or {}) & set(_options.SECRET_ENVIRONMENT)
            if names:
                raise OptionError(
                    "environment: %s would carry a secret to the host, and has no effect there. Set the variable stepca_..., or the "
                    "environment of the controller." % " and ".join(sorted(names))
                )


def _masked(given, options: dict):
    """A task's options without the values of those that are secret."""
    shown = {}
    for name, value in given.items():
        option = options.get(name, {})
        if option.get("no_log"):
            value = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
        elif "options" in option and isinstance(value, list):
            value = [_masked(one, option["options"]) if isinstance(one, Mapping) else one for one in value]
        shown[name] = value
    return shown


def roots_pem(roots):
    """PEM text of roots, or None where they are not known."""
    return certificates.to_pem(roots).decode("ascii") if roots else None

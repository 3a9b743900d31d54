# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""All of stepca_disposable_ca: it runs on the controller alone, and knows no other CA than its own."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils import _options
from ..module_utils._core.errors import OptionError, unforeseen
from ..plugin_utils import _libraries
from ..plugin_utils._disposable import ca
from ..plugin_utils._settings import plain_data


class ActionModule(ActionBase):
    """See plugins/modules/stepca_disposable_ca.py for what users are told."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        try:
            _libraries.require_cryptography()
            return self._act()
        except AnsibleError:
            raise
        except Exception as error:
            return {"failed": True, "msg": str(unforeseen(error))}

    def _act(self) -> dict:
        # As with every module of the collection, an empty value counts as not given.
        given = {name: value for name, value in plain_data(self._task.args).items() if value not in (None, "", [])}
        outcome = ArgumentSpecValidator(_options.DISPOSABLE_CA).validate(given)
        if outcome.error_messages:
            raise OptionError(outcome.errors.msg)
        options = dict(outcome.validated_parameters)
        folder = Path(options.pop("folder") or ca.default_folder()).absolute()
        authority = ca.DisposableCA(folder, Display().display)
        if options.pop("state") == "absent":
            return authority.absent(self._task.check_mode)
        return authority.present(options, self._task.check_mode)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
"""The controller's half of stepca_certificate: judge what the host asks for, mint, have it signed, hand it back."""

from __future__ import annotations

from ..module_utils import _options
from ..module_utils._core.certificate import request
from ..plugin_utils._action import StepCAAction
from ..plugin_utils._certificates.task import Issue


class ActionModule(StepCAAction):
    """See plugins/modules/stepca_certificate.py for what users are told."""

    OPTIONS = _options.CERTIFICATE

    def act(self) -> dict:
        request.refuse_mixture(self.given)
        entries = request.entries(self.options)
        request.refuse_shared_paths(entries)
        results = Issue(self, entries).run()
        diffs = [one.pop("diff") for one in results]
        many = self.options.get("certificates") is not None
        result = _many(results) if many else results[0]
        if self._task.diff:
            result["diff"] = diffs if many else diffs[0]
        result["invocation"] = {"module_args": self.shown()}
        return result


def _many(results: list) -> dict:
    """The result of a task with a list of certificates."""
    result = {"changed": any(one["changed"] for one in results), "results": results}
    failed = [one for one in results if one.get("failed")]
    if failed:
        result["failed"] = True
        result["msg"] = "%d of %d certificates failed. %s" % (
            len(failed),
            len(results),
            " ".join("%s: %s" % (one["certificate_path"], one["msg"]) for one in failed),
        )
    return result

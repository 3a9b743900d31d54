# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Writes each task's result as a line of JSON, for the tests to read."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_lines
short_description: Write task results as lines of JSON
version_added: 1.0.0
description:
  - Appends one line for each host and task to the file named by E(LAB_LINES).
  - Used by this collection's integration tests only.
type: aggregate
author:
  - privatepki.stepca contributors
"""

import json
import os
import time

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """One line a result, beside whatever callback writes to the terminal."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lab_lines"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._begun = {}

    def v2_runner_on_start(self, host, task):
        self._begun[(host.get_name(), task._uuid)] = time.monotonic()

    def _write(self, status, outcome, ignored=False):
        # ansible-core 2.19 gave these names without the underscore.
        host = getattr(outcome, "host", None) or outcome._host
        task = getattr(outcome, "task", None) or outcome._task
        result = getattr(outcome, "result", None)
        line = {
            "host": host.get_name(),
            "task": task.get_name(),
            "action": task.action,
            "status": status,
            "ignored": ignored,
            "seconds": time.monotonic() - self._begun.get((host.get_name(), task._uuid), time.monotonic()),
            "result": outcome._result if result is None else result,
        }
        with open(os.environ["LAB_LINES"], "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result):
        self._write("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._write("failed", result, bool(ignore_errors))

    def v2_runner_on_skipped(self, result):
        self._write("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._write("unreachable", result)

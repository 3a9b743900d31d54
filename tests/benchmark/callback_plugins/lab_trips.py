# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Writes how long each task took for all hosts together, and what was done on a host for it, as lines of JSON."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_trips
short_description: Write the time and the round trips of tasks as lines of JSON
version_added: 1.0.0
description:
  - Appends to the file named by E(LAB_TRIPS) a line for each command that is executed on a host, and one for each task.
  - Used by this collection's benchmark only.
type: aggregate
author:
  - privatepki.stepca contributors
"""

import functools
import json
import os
import time

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase


def _write(line):
    # One write each, so that the lines of several workers never mix.
    with open(os.environ["LAB_TRIPS"], "a", encoding="utf-8") as handle:
        handle.write(json.dumps(line) + "\n")


def _counted(execute):
    """Every command of every action comes through here: with pipelining, one for a module, its payload as input."""

    @functools.wraps(execute)
    def execute_and_count(action, cmd, *arguments, **options):
        sent = len(options.get("in_data") or b"")
        _write({"task": action._task.get_name(), "host": action._play_context.remote_addr, "sent": sent})
        return execute(action, cmd, *arguments, **options)

    return execute_and_count


class CallbackModule(CallbackBase):
    """A line a task: from its start to the last host's result."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lab_trips"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._task = None
        # The workers are forks of this process.
        ActionBase._low_level_execute_command = _counted(ActionBase._low_level_execute_command)

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._end()
        self._task, self._begun, self._last = task.get_name(), time.monotonic(), time.monotonic()

    def v2_playbook_on_handler_task_start(self, task):
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result):
        self._last = time.monotonic()

    v2_runner_on_failed = v2_runner_on_unreachable = v2_runner_on_skipped = v2_runner_on_ok

    def v2_playbook_on_stats(self, stats):
        self._end()

    def _end(self):
        if self._task is not None:
            _write({"task": self._task, "seconds": self._last - self._begun})
            self._task = None

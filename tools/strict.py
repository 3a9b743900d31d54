# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A pytest plugin: where nobody watches, a skipped test is a failed one, unless its reason says it never applies."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tools.commands import in_ci, is_expected


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn unexpected skips into failures."""
    report = yield
    if report.skipped and in_ci() and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else "no reason given"
        if not is_expected(reason):
            report.outcome = "failed"
            report.longrepr = "skipped, which counts as failed where nobody watches: %s" % reason
    return report

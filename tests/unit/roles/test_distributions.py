# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What users are told of distributions is what the code knows and what the scenarios ran on."""

from __future__ import annotations

import pytest

from tools import distributions
from tools.commands import ToolError


def test_the_table_is_the_one_that_its_tool_writes():
    text = distributions.README.read_text(encoding="utf-8")
    assert distributions.renewed(text) == text, "run: python -m tools.distributions"


def test_what_was_not_tried_is_untested(monkeypatch, tmp_path):
    assert distributions.tested("Debian") and not distributions.tested("Ubuntu")
    assert distributions.table().count("**untested**") == distributions.table().count("\n| ") - 3
    monkeypatch.setattr(distributions, "SCENARIO", tmp_path / "no")
    assert not distributions.tested("Debian")


def test_a_readme_without_a_place_for_the_table():
    with pytest.raises(ToolError, match="no place for the table"):
        distributions.renewed("")

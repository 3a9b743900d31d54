# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""The guide on molecule shows the scenario that CI runs, word for word."""

from __future__ import annotations

import pytest

from tools.cache import CHECKOUT
from tools.guides import blocks

PROJECT = CHECKOUT / "tests" / "outside" / "nginx"
FILES = {"tasks": PROJECT / "roles" / "site" / "tasks" / "main.yml"}
FILES.update(
    {name: PROJECT / "molecule" / "default" / (name + ".yml") for name in ("prepare", "converge", "verify", "cleanup")}
)


def test_the_guide_shows_these_files_and_no_others():
    assert set(blocks("guide_molecule")) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_guide_shows_the_file_as_it_is(name):
    licence, _empty_line, text = FILES[name].read_text(encoding="utf-8").partition("\n\n")
    assert licence.startswith("---\n# SPDX")
    assert blocks("guide_molecule")[name] == text

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Makes `ansible_collections.privatepki.stepca` importable from the checkout, wherever it lies."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
import types
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.privatepki.stepca"


def _importable() -> bool:
    try:
        return importlib.util.find_spec(COLLECTION) is not None
    except ImportError:
        return False


def _stand_in(name: str, path: list[str]) -> None:
    """Put a package into sys.modules whose submodules are looked up in `path`."""
    package = types.ModuleType(name)
    package.__path__ = path
    sys.modules[name] = package


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what tests counted: at how many points runs were killed, or made to fail."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "points":
                terminalreporter.write_line("%s: %s" % (report.nodeid.rpartition("::")[2], value))


@pytest.fixture(autouse=True)
def fixture_state(tmp_path_factory, monkeypatch):
    """What root keeps on a host lies elsewhere in a test."""
    from ansible_collections.privatepki.stepca.plugins.module_utils._core.files import places

    state = tmp_path_factory.mktemp("state") / "stepca"
    monkeypatch.setattr(places, "STATE", str(state))
    return state


@pytest.fixture(name="open_folder")
def fixture_open_folder():
    """A folder of root's that everybody can enter; that of a test is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="stepca-unit-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# ansible-test has its own way and comes first.
if not _importable():
    _stand_in("ansible_collections", [])
    _stand_in("ansible_collections.privatepki", [])
    _stand_in(COLLECTION, [str(CHECKOUT)])

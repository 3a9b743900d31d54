# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""What travels as a zip is compiled once, and otherwise imported as ever."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core import compiling

#: Imports from the zip (argument 1), with our help or without (argument 2), and tells what it saw.
SCRIPT = """\
import importlib, importlib.util, json, sys
compiled = []
sys.addaudithook(lambda event, words: event == "compile" and compiled.append(str(words[1])))
if sys.argv[2]:
    scope = {"__name__": "compiling"}
    exec(open(sys.argv[2]).read(), scope)
    scope["once"]()
sys.path.insert(0, sys.argv[1])
import package.inner.leaf, lone
found = [one.__file__ for one in (package, package.inner, package.inner.leaf, lone)]
try:
    import package.missing
except ModuleNotFoundError as error:
    found.append(str(error))
found.append(importlib.util.find_spec("package.nowhere") is None)
found.append(package.inner.leaf.__spec__.loader.get_data(package.inner.leaf.__file__).decode())
found += [package.inner.leaf.VALUE, package.__path__]
print(json.dumps({"found": found, "compiled": [one for one in compiled if sys.argv[1] in one]}))
"""


@pytest.fixture(name="archive")
def fixture_archive(tmp_path):
    path = tmp_path / "payload.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "")
        archive.writestr("package/inner/__init__.py", "")
        archive.writestr("package/inner/leaf.py", "VALUE = 7\n")
        archive.writestr("lone.py", "")
    return path


def run(archive, help_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(archive), help_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_imports_are_the_same_and_compiled_once(archive):
    plain, helped = run(archive, ""), run(archive, str(Path(compiling.__file__)))
    assert helped["found"] == plain["found"]
    assert sorted(helped["compiled"]) == sorted(set(plain["compiled"])) and len(helped["compiled"]) == 4
    # Should Python learn it by itself, this file has served its time.
    assert len(plain["compiled"]) == 2 * len(helped["compiled"])

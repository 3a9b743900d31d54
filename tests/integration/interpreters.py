# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Interpreters with something changed: for a host by its `ansible_python_interpreter`, for the controller by PYTHONPATH."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.support import Core

#: Writing succeeds, and comes to nothing.
FULL = """\
import errno, os
def fsync(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.fsync = fsync
"""

#: Some libraries are not there, wherever this file is found or in one environment only.
WITHOUT = """\
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError("No module named %%r" %% name, name=name)
if sys.prefix in (%r or [sys.prefix]):
    sys.meta_path.insert(0, Missing())
"""

#: A library that is older than it is.
AGED = """\
try:
    import cryptography
    cryptography.__version__ = "2.9.2"
except ImportError:
    pass
"""

#: Root without the power to pass over permissions, as any other user is.
_ORDINARY = """\
#!%s
import ctypes, os, sys
if os.geteuid() == 0:
    library = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        if library.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
            sys.exit("cannot drop the capability %%d" %% capability)
os.execv(sys.executable, [sys.executable] + sys.argv[1:])
"""


def customized(folder: Path, text: str) -> str:
    """Return a PYTHONPATH on which this text runs at the start of every Python."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return str(folder)


def interpreter(core: Core, folder: Path, text: str, python: Path | None = None) -> Path:
    """Return an interpreter of a host that runs this text first."""
    path = customized(folder / "customized", text)
    program = folder / "customized" / "python"
    script = '#!/bin/sh\nPYTHONPATH=%s exec %s "$@"\n' % (path, python or core.host_environment.python)
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    return program


def ordinary(core: Core, folder: Path) -> Path:
    """Return an interpreter of a host for which permissions count, also where the tests run as root."""
    if os.geteuid() == 0 and not Path("/proc/self/status").exists():
        pytest.skip("not applicable: root of a system without capabilities may write everywhere")
    program = folder / "ordinary-python"
    program.write_text(_ORDINARY % core.host_environment.python, encoding="utf-8")
    program.chmod(0o755)
    return program


def without(*libraries: str, prefix: Path | None = None) -> str:
    """Return text that hides libraries, from all or from the environment in this folder only."""
    return WITHOUT % (list(libraries), [str(prefix)] if prefix else [])

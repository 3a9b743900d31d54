# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Make sure, on the host, that the library is there before anything needs it.

Every module imports this first, so that whatever else it imports is compiled once.
"""

from __future__ import annotations

__all__ = ["ensure"]

import os

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

from ._core import compiling

compiling.once()

from ._core import library

_SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/bin/python")


def ensure(module) -> None:
    """Go on with cryptography, by way of the system's Python if it alone has it; else fail naming the package."""
    if library.is_new_enough():
        return
    if not has_respawned():
        others = [path for path in _SYSTEM_PYTHONS if os.path.exists(path)]
        interpreter = probe_interpreters_for_module(others, "cryptography")
        if interpreter:
            respawn_module(interpreter)
    wanted = "cryptography >= %d.%d" % library.MINIMUM
    if library.VERSION:
        module.fail_json(
            msg="%s is needed on the host; found is %s at %s. Install a newer python3-cryptography, "
            "or set ansible_python_interpreter to a Python that has one." % (wanted, library.VERSION, library.FILE)
        )
    module.fail_json(
        msg="%s On Debian, Ubuntu, EL and SUSE the package is python3-cryptography; on Alpine py3-cryptography."
        % missing_required_lib(wanted),
        exception=library.PROBLEM,
    )

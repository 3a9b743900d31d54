# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What the controller needs besides ansible-core, and what to say where it is missing."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import metadata

from ..module_utils._core import library
from ..module_utils._core.errors import StepCAError


class LibraryMissing(StepCAError):
    """A Python library is missing on the controller."""


def require(name: str, module) -> None:
    """LibraryMissing unless the guarded import of this library gave a module."""
    if module is None:
        raise LibraryMissing(
            "The Python library %s is missing on the controller, for %s. Install it there: `%s -m pip install %s`; "
            "where Ansible came by pipx, `pipx inject ansible %s` (or ansible-core)."
            % (name, sys.executable, sys.executable, name, name)
        )


def require_cryptography() -> None:
    """LibraryMissing unless the controller has cryptography, of any supported age."""
    require("cryptography", True if library.is_new_enough() else None)


def versions() -> dict:
    """{library of the controller: its version, None where it is missing}."""
    found = dict.fromkeys(("cryptography", "requests", "PyJWT"))
    for name in found:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Compile what travels once. Modules and renewer reach a host as a zip of sources, compiled there at every run.

To find a module, Python asks zipimport for its file name, and zipimport compiles the module to tell whether that is a
.py or a .pyc (CPython, Lib/zipimport.py, _get_module_code); to import it, it compiles it again. ✔ measured on 3.9 to
3.13: half of all the time of such an import.
"""

from __future__ import annotations

import os
import sys
import zipimport


def once() -> None:
    """From now on, this process is told file names without compiling for them. Call it before what it shall help."""
    if sys.version_info >= (3, 8):  # before, zipimport was written in C, and could not be changed
        zipimport.zipimporter.get_filename = _file_name


def _file_name(importer, name: str) -> str:
    """Where a module of a zip of sources is; ZipImportError if it is not there."""
    ending = os.sep + "__init__.py" if importer.is_package(name) else ".py"
    return os.path.join(importer.archive, importer.prefix + name.rpartition(".")[2] + ending)

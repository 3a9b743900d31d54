# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The renewer as one file that Python runs: _core as a zip, the same bytes wherever it is made of the same sources."""

from __future__ import annotations

__all__ = ["build"]

import ast
import io
import pkgutil
import zipfile

from . import _core

_PACKAGE = "stepca"
_ENTRY = "renewer.command"
_MAIN = """\
# Made by the Ansible collection privatepki.stepca. SPDX-License-Identifier: BSD-2-Clause
import sys

from %s import compiling

compiling.once()
from %s.%s import main

sys.exit(main())
""" % (_PACKAGE, _PACKAGE, _ENTRY)
#: The oldest time that a zip can hold: none of its own.
_TIME = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """The zipapp (PEP 441)."""
    contents = {"__main__.py": _MAIN.encode("ascii")}
    for name, source in _sources().items():
        contents["%s/%s" % (_PACKAGE, name)] = source
    stream = io.BytesIO()
    # Not compressed: what deflate makes depends on the version of zlib.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, contents[name])
    return b"#!/usr/bin/env python3\n" + stream.getvalue()


def _sources() -> dict:
    """{path below _core: content} of what __main__ imports, and of all that this imports of _core."""
    found, todo = {}, [_ENTRY, "compiling"]
    while todo:
        module = todo.pop()
        for name in (module, module.rpartition(".")[0]):
            path, source = _source_of(name)
            if path and path not in found:
                found[path] = source
                todo += _imported(source, name, path.endswith("__init__.py"))
    return found


def _source_of(module: str) -> tuple:
    """(path, content) of a module or package below _core, named without it; ("", b"") where there is none of this name."""
    stem = module.replace(".", "/")
    for path in (stem + ".py", (stem + "/__init__.py").lstrip("/")):
        try:
            content = pkgutil.get_data(_core.__name__, path)
        except OSError:
            continue
        if content is not None:
            return path, content
    return "", b""


def _imported(source: bytes, module: str, is_package: bool) -> list:
    """The names below _core that this module imports: modules, and what may be one."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = module.split(".")
            package = parts[: len(parts) + is_package - node.level]
            base = package + (node.module.split(".") if node.module else [])
            names += [".".join(base)] if node.module else []
            names += [".".join(base + [alias.name]) for alias in node.names]
    return names

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The renewer as one file that Python runs: _core as a zip, the same bytes wherever it is made of the same sources."""

from __future__ import annotations

__all__ = ["build"]

import importlib
import io
import pkgutil
import zipfile
from typing import TYPE_CHECKING

from . import _core

if TYPE_CHECKING:  # Never run. Ansible sends a module what it finds imported, and it looks here, too: all of the core.
    # pylint: disable=unused-import
    from ._core import compiling, durations, errors, library, wire
    from ._core.ca import api, client, connections, crl, diagnosis, https, identity, one_time, proxies, revocation
    from ._core.certificate import (
        by_host,
        derived,
        examine,
        fileset,
        info,
        issue,
        ladder,
        options,
        ownership,
        plan,
        provenance,
        record,
        removal,
        replacement,
        request,
    )
    from ._core.files import acl, areas, attributes, folders, locks, places, reading, replacing, staging
    from ._core.inspection import checkup, survey
    from ._core.renewer import (
        command,
        configuration,
        defaults,
        enrolment,
        history,
        installation,
        kept,
        metrics,
        notification,
        renewable,
        renewal,
        sandbox,
        served,
        services,
        status,
        window,
    )
    from ._core.trust import roots, stores
    from ._core.x509 import (
        certificates,
        chains,
        constraints,
        csr,
        der,
        extensions,
        fields,
        forms,
        jws,
        keys,
        names,
        proof,
        signatures,
    )

_PACKAGE = "stepca"
_ENTRY = "renewer.command"
_MAIN = """\
# Made by the Ansible collection privatepki.stepca. SPDX-License-Identifier: BSD-2-Clause
import sys

from %s import compiling

compiling.once()
from %s.renewer import kept

kept.keep(__loader__, %s)
from %s.%s import main

sys.exit(main())
"""
#: The oldest time that a zip can hold: none of its own.
_TIME = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """The zipapp (PEP 441)."""
    contents = {"%s/%s" % (_PACKAGE, name): source for name, source in _sources().items()}
    main = _MAIN % (_PACKAGE, _PACKAGE, sorted(contents), _PACKAGE, _ENTRY)
    contents["__main__.py"] = main.encode("ascii")
    stream = io.BytesIO()
    # Not compressed: what deflate makes depends on the version of zlib.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, contents[name])
    return b"#!/usr/bin/env python3\n" + stream.getvalue()


def _sources(package=_core, folder: str = "") -> dict:
    """{path below _core: content} of all its files, which may lie in a folder or in the zip that Ansible sends."""
    found = {folder + "__init__.py": b""}
    for _finder, name, is_package in pkgutil.iter_modules(package.__path__):
        if is_package:
            inner = importlib.import_module("%s.%s" % (package.__name__, name))
            found.update(_sources(inner, "%s%s/" % (folder, name)))
        else:
            found["%s%s.py" % (folder, name)] = pkgutil.get_data(package.__name__, name + ".py")
    return found

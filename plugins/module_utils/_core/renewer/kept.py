# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The renewer goes on as it was started: a play may replace its archive while it waits for a lock, a CA or a service.

Python reads a zip of sources anew for each module, by the directory that it saw first: of another file, that is garbage.
So all sources are read at once, which takes milliseconds, and each is compiled where it is imported, if ever.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys


class _Sources(importlib.abc.SourceLoader):
    """Finds and loads modules by what was read of them. sources: {path: content}; archive: where they were."""

    def __init__(self, archive: str, sources: dict):
        self._archive = archive
        self._sources = sources

    def find_spec(self, name, _path=None, _target=None):
        """What the import system wants to know of a module; None for one that is not of the archive."""
        try:
            return importlib.util.spec_from_file_location(name, self.get_filename(name), loader=self)
        except ImportError:
            return None

    def get_filename(self, fullname):
        """Where it was; ImportError for a module that is not of the archive."""
        for ending in (".py", "/__init__.py"):
            path = fullname.replace(".", "/") + ending
            if path in self._sources:
                return os.path.join(self._archive, path)
        raise ImportError(fullname)

    def get_data(self, path):
        """Its source."""
        return self._sources[path[len(self._archive) + 1 :]]


def keep(importer, paths) -> None:
    """From now on, modules come of what these files of an archive hold now. importer: the archive's zipimporter."""
    sources = {path: importer.get_data(path) for path in paths}
    sys.meta_path.insert(0, _Sources(importer.archive, sources))

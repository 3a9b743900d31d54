# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Owner, group, mode and SELinux context of files, as Ansible sets them everywhere."""

from __future__ import annotations

__all__ = ["Attributes"]

from contextlib import contextmanager

from ._core.errors import HostFileError
from ._core.files import explained


class Attributes:
    """The `finish` of _core/exchange.py: puts a kind's attributes on a file, or in check mode only looks.

    module: uses load_file_common_arguments and set_fs_attributes_if_different of an AnsibleModule;
    wanted: {kind: {"owner", "group", "mode", SELinux parts}}; dry: only look, in check mode or not.
    """

    def __init__(self, module, wanted: dict, dry: bool):
        self._module = module
        self._wanted = dict(wanted, record={"mode": "0644"})
        self._dry = dry

    def __call__(self, path: str, target: str, kind: str) -> list:
        """Sentences on what differed; path is the file, target what it is or will be called."""
        diff = {}
        with self._raising(target):
            arguments = self._module.load_file_common_arguments(dict(self._wanted[kind]), path=target)
            arguments["path"] = path
            self._module.set_fs_attributes_if_different(arguments, False, diff=diff)
        before, after = diff.get("before", {}), diff.get("after", {})
        differing = [name for name in sorted(after) if name != "path"]
        return [
            "the %s of %s is %s; wanted is %s" % (name, target, before.get(name), after[name]) for name in differing
        ]

    @contextmanager
    def _raising(self, target: str):
        """HostFileError where Ansible would end the module: only one entry has failed, and its staged files must go."""

        def refuse(msg="", **details):
            raise HostFileError(
                "Owner, group or mode of %s cannot be set: %s%s."
                % (target, msg, ", %s" % details["details"] if details.get("details") else "")
            )

        fail, check_mode = self._module.fail_json, self._module.check_mode
        self._module.fail_json, self._module.check_mode = refuse, self._dry
        try:
            with explained("set owner, group or mode of", target):  # Ansible lets some errors of chmod through
                yield
        finally:
            self._module.fail_json, self._module.check_mode = fail, check_mode

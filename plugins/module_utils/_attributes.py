# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Owner, group, mode and SELinux context of files, as Ansible sets them everywhere."""

from __future__ import annotations

__all__ = ["Attributes"]

from contextlib import contextmanager

from ._core.errors import HostFileError
from ._core.files import acl as acls
from ._core.files import attributes
from ._core.files.places import explained


class Attributes:
    """The `finish` of _core/certificate/fileset.py: puts a kind's attributes on a file, or in check mode only looks.

    module: uses load_file_common_arguments and set_fs_attributes_if_different of an AnsibleModule;
    wanted: {kind: {"owner", "group", "mode", SELinux parts}}, None for what the task does not name; dry: only look, in check
    mode or not.
    """

    def __init__(self, module, wanted: dict, dry: bool):
        self._module = module
        self._wanted = dict(wanted, record={})
        self._dry = dry

    def __call__(self, target: str, kind: str, staged=None, look=False) -> list:
        """With staged, which will become target: warnings. Without, of the target itself: sentences on what differed."""
        given = self._wanted[kind]
        if staged is None:
            return self._set(target, target, given, kind, acls.read(target), self._dry or look)
        with explained("set owner, group or mode of", target):
            warnings = attributes.inherit(staged, given)
        staged.require_path()
        acl = acls.read(staged.descriptor) if attributes.keeps_acl(staged, given) else None
        self._set(staged.path, target, given, kind, acl, False)
        return warnings

    def _set(self, path: str, target: str, given: dict, kind: str, acl, dry: bool) -> list:
        """acl: that of the file, where it has one: its mask stands where the group's part of the mode would be."""
        arguments = {name: value for name, value in given.items() if value not in (None, "")}
        reasons = []
        if acl and not attributes.names_mode(given):
            reasons = self._set_base_mode(path, target, acl, attributes.default_mode(kind), dry)
        else:
            arguments.setdefault("mode", "%04o" % attributes.default_mode(kind))
        diff = {}
        with self._raising(target, dry):
            common = self._module.load_file_common_arguments(arguments, path=target)
            common["path"] = path
            self._module.set_fs_attributes_if_different(common, False, diff=diff)
        before, after = diff.get("before", {}), diff.get("after", {})
        differing = [name for name in sorted(after) if name != "path"]
        return reasons + [
            "the %s of %s is %s, expected %s" % (name, target, before.get(name), after[name]) for name in differing
        ]

    @staticmethod
    def _set_base_mode(path: str, target: str, acl: bytes, mode: int, dry: bool) -> list:
        found = acls.base_mode(acl)
        if found == mode:
            return []
        if not dry:
            with explained("set the mode of", target):
                acls.set_base_mode(path, acl, mode)
        return ["the mode of %s, without its ACL, is %04o, expected %04o" % (target, found, mode)]

    @contextmanager
    def _raising(self, target: str, dry: bool):
        """HostFileError where Ansible would end the module: only one entry has failed, and its staged files must go."""

        def refuse(msg="", **details):
            raise HostFileError(
                "Owner, group or mode of %s cannot be set: %s%s."
                % (target, msg, ", %s" % details["details"] if details.get("details") else "")
            )

        fail, check_mode = self._module.fail_json, self._module.check_mode
        self._module.fail_json, self._module.check_mode = refuse, dry
        try:
            with explained("set owner, group or mode of", target):  # Ansible lets some errors of chmod through
                yield
        finally:
            self._module.fail_json, self._module.check_mode = fail, check_mode

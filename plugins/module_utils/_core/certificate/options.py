# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""The options of one certificate, each declared once: argument specs, what a request means and what the renewer keeps of
it follow from this table, and the role's spec and the documentation are held against it by tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..x509 import keys


@dataclass(frozen=True)
class Option:
    """One option.

    type, choices, default, elements: as of an argument spec; no_log: None where its name sounds like no secret;
    shared: given flat, it is the default of every entry of `certificates`; renewed: whoever renews needs it;
    watched: whoever only looks when it is due needs it; made_of: for a file made of the pair, whose owner and mode it has.
    """

    type: str = "str"
    choices: tuple = ()
    default: object = None
    elements: Optional[str] = None
    no_log: Optional[bool] = None
    shared: bool = False
    renewed: bool = False
    watched: bool = False
    made_of: str = ""

    def spec(self, with_default: bool) -> dict:
        """Its argument spec."""
        found = {"type": self.type}
        if self.elements:
            found["elements"] = self.elements
        if self.choices:
            found["choices"] = list(self.choices)
        if self.no_log is not None:
            found["no_log"] = self.no_log
        if with_default and self.default is not None:
            found["default"] = self.default
        return found


def _shared(type: str = "str", **members) -> Option:
    return Option(type, shared=True, **members)


OPTIONS = {
    "state": Option(choices=("present", "absent"), default="present"),
    "certificate_path": Option("path", renewed=True, watched=True),
    "key_path": Option("path", no_log=False, renewed=True, watched=True),
    "csr_path": Option("path", watched=True),
    "sans": Option("list", elements="str", renewed=True, watched=True),
    "common_name": Option(renewed=True, watched=True),
    # Made of the pair, in the order in which they are written.
    "chain_path": Option("path", renewed=True, made_of="certificate"),
    "leaf_path": Option("path", renewed=True, made_of="certificate"),
    "root_path": Option("path", renewed=True, made_of="certificate"),
    "combined_path": Option("path", renewed=True, made_of="key"),
    "pkcs12_path": Option("path", renewed=True, made_of="key"),
    "pkcs12_password": Option(no_log=True),
    "pkcs12_password_file": Option("path", no_log=False, renewed=True),
    "pkcs12_friendly_name": Option(renewed=True),
    "pkcs12_encryption": Option(choices=("modern", "compatible"), default="modern", renewed=True),
    "template_data": Option("dict", no_log=True),
    "force": Option("bool", default=False),
    "key_type": _shared(choices=keys.KEY_TYPES, default="ec-p256", no_log=False, renewed=True),
    "key_policy": _shared(choices=("on_issue", "keep", "always"), default="on_issue", no_log=False, renewed=True),
    "not_before": _shared("raw", renewed=True),
    "not_after": _shared("raw", renewed=True),
    "max_lifetime": _shared(renewed=True),
    "renew_before": _shared(default="33%", renewed=True, watched=True),
    "issued_since": _shared("raw", renewed=True),
    "check_revocation": _shared("bool", default=False),
    "revoke": _shared("bool", default=False),
    "reason": _shared(default="unspecified"),
    "backup": _shared("bool", default=False, renewed=True),
    "make_folder": _shared("bool", default=False),
    # Of the pair. A renewal takes them from the files that it replaces; these are for files that are yet to be.
    "owner": _shared(renewed=True),
    "group": _shared(renewed=True),
    "mode": _shared("raw", renewed=True),
    "key_owner": _shared(no_log=False, renewed=True),
    "key_group": _shared(no_log=False, renewed=True),
    "key_mode": _shared("raw", no_log=False, renewed=True),
    "seuser": _shared(),
    "serole": _shared(),
    "setype": _shared(),
    "selevel": _shared(),
}
#: Flat options that are defaults of the entries of `certificates`.
SHARED = tuple(name for name, option in OPTIONS.items() if option.shared)
#: Options that belong to one certificate and mean nothing beside `certificates`.
SINGLE = tuple(name for name, option in OPTIONS.items() if not option.shared)
#: What is made of the pair, in the order in which it is written, and whose owner and mode each file has.
OUTPUTS = {name: option.made_of for name, option in OPTIONS.items() if option.made_of}
#: Options that name a file which a task writes.
WRITTEN = ("certificate_path", "key_path") + tuple(OUTPUTS)


def flat() -> dict:
    """Argument specs of a task's own options."""
    return {name: option.spec(True) for name, option in OPTIONS.items()}


def entry() -> dict:
    """Argument specs of an entry of `certificates`, where a default would hide the shared option of the task."""
    specs = {name: option.spec(not option.shared) for name, option in OPTIONS.items()}
    specs["certificate_path"]["required"] = True
    return specs


def value(given: dict, name: str):
    """What is given, else the default."""
    return given.get(name) or OPTIONS[name].default

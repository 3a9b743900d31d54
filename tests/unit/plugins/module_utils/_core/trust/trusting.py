# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Roots, and tasks that want them on a host."""

from __future__ import annotations

import subprocess

from ansible_collections.privatepki.stepca.plugins.module_utils._core.trust import roots
from ansible_collections.privatepki.stepca.tests.unit.plugins import pki

OLD, NEW, FOREIGN = pki.Authority("Old"), pki.Authority("New"), pki.Authority("Foreign")
EXPIRED = pki.Authority("Expired", begin=pki.NOW - 9 * pki.DAY, end=pki.NOW - pki.DAY)
ROOTS = {one.fingerprint: one.root for one in (OLD, NEW, FOREIGN, EXPIRED)}


def nothing(target, kind, staged=None, look=False):
    return []


def want(*authorities, **changes):
    asked = {
        "present": True,
        "root_path": None,
        "step_path": None,
        "system_trust": False,
        "accept_new_root": False,
        "url": None,
    }
    asked.update(changes)
    asked = {name: str(value) if name.endswith("_path") and value else value for name, value in asked.items()}
    return roots.Wanted(fingerprints=[one.fingerprint for one in authorities], **asked)


def examine(asked, given=True, dry=False, ask=None, finish=nothing):
    """given: whether the roots are at hand."""
    at_hand = [ROOTS[one] for one in asked.fingerprints] if given is True else given or []
    return roots.examine(asked, at_hand, finish, dry, ask)


def bring_about(asked, **more):
    """examine and apply; nothing differs afterwards.

    ran: what the system was told to run; told: warnings; backups: where somebody else's files are kept.
    """
    plan = examine(asked, **more)
    ran = []
    told, backups = roots.apply(asked, plan, nothing, lambda command: ran.append(command) or really_run(command))
    assert examine(asked, **more).reasons == []
    plan.ran, plan.told, plan.backups = ran, plan.warnings + told, backups
    return plan


def really_run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr

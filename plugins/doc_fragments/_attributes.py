# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What every module of the collection can do, for the documentation."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of the modules."""

    DOCUMENTATION = r"""
attributes:
  action:
    description: An action plugin of the same name does its part on the controller.
    support: full
  async:
    description: Supports being run in the background.
    support: none
  check_mode:
    description: Says what it would do without doing it.
    support: full
  diff_mode:
    description: Shows what differs, in C(--diff).
    support: full
  idempotent:
    description: Run again, it changes nothing.
    support: full
  platform:
    description: Target systems.
    platforms: posix
    support: full
requirements:
  - On the controller, requests, PyJWT >= 2.3 and cryptography >= 3.3.
  - On the managed host, Python 3.7 or newer with cryptography >= 3.3 (C(python3-cryptography) of the distribution).
  - step-ca >= 0.27.3
"""

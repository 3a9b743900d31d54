# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""A root and intermediates for a throw-away authority. Needs `cryptography` (environment workbench or demo)."""

from __future__ import annotations

from plugins.plugin_utils._disposable.pki import Issuer, make_intermediate, make_root

__all__ = ["Issuer", "make_intermediate", "make_root"]

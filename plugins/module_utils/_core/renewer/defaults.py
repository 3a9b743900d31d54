# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Where the renewer of a host is, unless somebody says otherwise. The documentation is held against these by tests."""

from __future__ import annotations

#: The renewer itself.
PROGRAM = "/usr/local/lib/stepca/renewer.pyz"
#: Its configurations, a file for each certificate.
CONFIGURATIONS = "/etc/stepca/renew.d"

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Count, in step-ca's log, how often each address had a certificate renewed: `renewals.py LOG` prints JSON."""

from __future__ import annotations

import collections
import contextlib
import json
import sys
from pathlib import Path

counts: collections.Counter[str] = collections.Counter()
for text in Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace").splitlines():
    with contextlib.suppress(ValueError):
        line = json.loads(text)
        if isinstance(line, dict) and line.get("path") in ("/1.0/renew", "/1.0/rekey") and line.get("status") == 201:
            counts[line["remote-address"]] += 1
print(json.dumps(counts))

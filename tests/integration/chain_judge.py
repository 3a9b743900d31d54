# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Says of each chain in a folder what the collection says of it, with the library of whichever Python runs this.

python chain_judge.py CHECKOUT FOLDER TIME: reads FOLDER/*/chain.pem and roots.pem, prints {name: problem} as JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # an old cryptography has much to say of its Python
    sys.path.insert(0, sys.argv[1])
    from plugins.module_utils._core.x509 import certificates

    now = datetime.fromtimestamp(int(sys.argv[3]), timezone.utc)
    found = {}
    for folder in Path(sys.argv[2]).iterdir():
        try:
            chain, roots = [certificates.load((folder / name).read_bytes()) for name in ("chain.pem", "roots.pem")]
            roots = certificates.only_roots(roots)[0]
            found[folder.name] = certificates.chain_problem(chain, roots, now)
        except ValueError as error:
            found[folder.name] = "unreadable: %s" % error
    json.dump(found, sys.stdout)

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A certificate as it lies on a host, for those who only want to look."""

from __future__ import annotations

from datetime import datetime

from ..files import places
from ..x509 import certificates, keys
from . import record

#: Of a certificate that is not there.
_NOTHING = {"exists": False, "certificate": None, "key_matches": None, "chain_ok": None, "days_left": None, "due": True}


def look(path: str, key_path, renew_before, roots, fingerprints: list, now: datetime) -> dict:
    """exists, certificate, key_matches, chain_ok, days_left, due, revoked (None); needs_roots where nobody here has them.

    path: absolute; key_path: or None; renew_before: durations.Share or timedelta; roots: or None. HostFileError.
    """
    return look_at(certificates.read(path)[0], path, key_path, renew_before, roots, fingerprints, now)


def look_at(chain, path: str, key_path, renew_before, roots, fingerprints: list, now: datetime) -> dict:
    """The same for what was read at path already."""
    if not chain:
        return dict(_NOTHING, revoked=None)
    known = roots or record.roots(record.read(path, chain), fingerprints)
    problem = certificates.chain_problem(chain, known, now) if known else None
    return {
        "exists": True,
        "certificate": certificates.facts(chain, renew_before, path, known),
        "key_matches": _matches(chain[0], places.resolve(key_path, "key_path")) if key_path else None,
        "chain_ok": None if problem is None else not problem,
        "days_left": round((certificates.end_of_life(chain, known) - now).total_seconds() / 86400, 4),
        "due": certificates.renew_at(chain, renew_before, known) <= now,
        "revoked": None,
        "needs_roots": problem is None or (bool(problem) and roots is None),
    }


def _matches(leaf, key_path: str) -> bool:
    key, _problem = keys.read(key_path)
    return key is not None and keys.fingerprint(key) == keys.fingerprint(leaf.public_key())

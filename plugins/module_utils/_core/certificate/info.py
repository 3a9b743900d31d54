# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""A certificate as it lies on a host, for those who only want to look."""

from __future__ import annotations

from datetime import datetime

from ..files import places, reading
from ..x509 import certificates, keys
from . import record

#: Of a certificate that is not there.
_NOTHING = {"exists": False, "certificate": None, "key_matches": None, "chain_ok": None, "days_left": None, "due": True}
_END = b"-----END CERTIFICATE-----"


def look(path: str, key_path, renew_before, roots, fingerprints: list, now: datetime) -> dict:
    """exists, certificate, key_matches, chain_ok, days_left, due, revoked (None); needs_roots where nobody here has them.

    path: absolute; key_path: or None; renew_before: durations.Share or timedelta; roots: or None. problem, where there is
    a file: what it is, if it is not what services take for a certificate with its chain. HostFileError.
    """
    content = reading.read(path)
    if content is None:
        return look_at([], path, key_path, renew_before, roots, fingerprints, now)
    chain, problem = _chain_in(content)
    found = look_at(chain, path, key_path, renew_before, roots, fingerprints, now)
    return dict(found, problem="%s %s" % (path, problem) if problem else None)


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


def _chain_in(content: bytes) -> tuple:
    """(chain, "") or (as much as can be read, what is wrong with it), whatever form it has in the file."""
    try:
        return certificates.load(content), ""
    except ValueError as error:
        problem = "cannot be read as a certificate: %s" % error if content.strip() else "is empty"
    from ..x509 import forms  # what only this module looks at

    try:
        if certificates.count(content):  # too many, or one that is damaged
            return certificates.load(content[: content.index(_END) + len(_END)]), problem
        if forms.is_pkcs7(content):
            loaded = [certificates.reload(one) for one in forms.load_pkcs7(content)]
            return forms.ordered(loaded), "is %s" % forms.name_of(content)
        if forms.is_der(content):
            return [certificates.load_der(content)], "is a certificate in DER, which most services do not read: %s" % (
                "`openssl x509 -inform DER` writes PEM"
            )
    except ValueError:
        pass
    return [], problem


def _matches(leaf, key_path: str) -> bool:
    key, _problem = keys.read(key_path)
    return key is not None and keys.fingerprint(key) == keys.fingerprint(leaf.public_key())

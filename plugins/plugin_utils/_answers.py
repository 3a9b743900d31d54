# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What a host answers, read by known and size-checked keys only: a host decides nothing, and floods nobody."""

from __future__ import annotations

import re

from ..module_utils._core.errors import CsrError

NOT_OURS = "The host did not answer as this collection's module does. Is another version of it in the way?"
_OUTCOMES = ("none", "files", "renewed", "rekeyed", "issued", "removed")
#: A proof holds a whole chain.
_LONGEST_PROOF = 64 * 1024
_PROOF = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FACTS = (
    "serial",
    "common_name",
    "sans",
    "not_before",
    "not_after",
    "renew_at",
    "fingerprint",
    "issuer",
    "provisioner",
    "provisioner_key_id",
    "key_type",
    "path",
)
_MOST = 100
_LONGEST = 2000


def read(result: dict, count: int) -> list:
    """The answers to one call, one dict for each of its certificates; CsrError for what is no answer of our module."""
    answers = result.get("answers")
    if not isinstance(answers, list) or len(answers) != count or not all(isinstance(one, dict) for one in answers):
        raise CsrError(NOT_OURS)
    return [_answer(one) for one in answers]


def _answer(one: dict) -> dict:
    if one.get("failed") and not one.get("outcome"):
        return _failure(one)
    outcome = one.get("outcome")
    return {
        **(_failure(one) if one.get("failed") else {}),
        "outcome": outcome if outcome in _OUTCOMES else "none",
        "reasons": texts(one.get("reasons")),
        "warnings": texts(one.get("warnings")),
        "certificate": facts(one.get("certificate")),
        "needs_roots": one.get("needs_roots") is True,
        "revocable": one.get("revocable") is True,
        "former": text(one.get("former"), _LONGEST_PROOF) or "",
        "former_roots": text(one.get("former_roots"), _LONGEST_PROOF) or "",
        "holding": "".join(_proofs([one.get("holding")])),
        "revoked": one.get("revoked") is True,
        "backup_files": texts(one.get("backup_files")),
        "ca_url": text(one.get("ca_url")),
        "proofs": _proofs(one.get("proofs")),
        "csr": one.get("csr"),  # csr.load measures it
        "digest": text(one.get("digest")),
    }


def _failure(one: dict) -> dict:
    overtaken = one.get("overtaken") is True
    return {"failed": True, "msg": text(one.get("msg")) or "The host gives no reason.", "overtaken": overtaken}


def _proofs(given) -> list:
    """The proofs that may be sent on as they are: three parts of base64url, none too long."""
    listed = given[:_MOST] if isinstance(given, list) else []
    return [one for one in listed if isinstance(one, str) and len(one) <= _LONGEST_PROOF and _PROOF.fullmatch(one)]


def facts(given):
    """The facts of a certificate, no more and none too long."""
    if not isinstance(given, dict):
        return None
    return {name: texts(given.get(name)) if name == "sans" else text(given.get(name)) for name in _FACTS}


def serial(found: dict) -> int:
    """The serial number in these facts; CsrError for what is none."""
    digits = found["serial"] or ""
    if not re.fullmatch("[0-9]{1,50}", digits):
        raise CsrError("The host names no serial number of its certificate.")
    return int(digits)


def text(given, longest: int = _LONGEST):
    """A text of a host's, none too long; None for anything else."""
    return given[:longest] if isinstance(given, str) else None


def texts(given) -> list:
    """The texts in a list of a host's, none too long and not too many."""
    return [text(one) for one in given[:_MOST] if isinstance(one, str)] if isinstance(given, list) else []


def failure(result: dict) -> dict:
    """What is passed on of a module's failure: known keys, cut to a length that can be read."""
    known = ("module_stderr", "module_stdout")
    return {name: str(result[name])[:10000] for name in known if isinstance(result.get(name), str)}

# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""How the certificates of this host are: for people, for programs, for monitoring."""

from __future__ import annotations

import os
from datetime import datetime

from .. import durations
from ..certificate import info, ownership, record
from ..errors import one_line, shown, unforeseen
from ..files import places
from ..x509 import certificates
from . import configuration, history, served, window

#: From fine to worst; what monitoring is told is the worst of all: 0, 1, 1, 2.
STATES = ("ok", "due", "failing", "expired")
_EXIT = {"ok": 0, "due": 1, "failing": 1, "expired": 2}
#: The row of a certificate of which nothing can be told.
UNKNOWN = {"certificate_path": None, "state": "failing", "problem": "", "certificate": None, "serial": None}
UNKNOWN.update(not_after=None, renew_at=None, days_left=None)
_HEADINGS = ("CERTIFICATE", "STATE", "ENDS", "LEFT", "RENEWS", "PROBLEM")


def look(path: str, memory: str, now: datetime) -> dict:
    """How the certificate of this configuration is, as JSON would have it.

    path: of the configuration; memory: folder of the histories. Returns what look_at_files does, and served (whether the
    port serves the file, None where none is named), last_success, last_error, error.
    """
    row = dict(UNKNOWN, certificate_path=path, served=None, last_success=None, last_error=None, error="")
    try:
        past = history.load(memory, os.path.basename(path))
        row.update(last_success=past.last_success, last_error=past.last_error, error=past.error)
        one = configuration.load(path)
        row["certificate_path"] = one.certificate_path
        wanted, trust = one.wanted(), one.connection
        files = (wanted.certificate_path, wanted.key_path, wanted.renew_before)
        row.update(look_at_files(*files, trust.roots, trust.fingerprints, now))
        ownership.refuse_unowned(wanted)
        if not places.exists(one.certificate_path):
            row["problem"] += " " + one.enrolment
        stale = served.problem(one)
    except Exception as error:
        return judged(dict(row, problem=str(unforeseen(error))))
    row["served"] = None if one.served is None else not stale
    seen = [one for one in (row["problem"], stale, too_rare(one)) if one and one.rstrip(".") not in past.error]
    return judged(dict(row, problem=" ".join(filter(None, seen + [past.error]))))


def too_rare(one) -> str:
    """Why the certificate of this configuration.Configuration may end between two looks of the renewer, a sentence, or ""."""
    found = window.measured(one)
    return window.problem(*found) if found else ""


def judged(row: dict) -> dict:
    """The row, failing where it has a problem; what has expired is worse."""
    return dict(row, state="failing") if row["problem"] and row["state"] != "expired" else row


def look_at_files(path: str, key_path, renew_before, roots, fingerprints: list, now: datetime) -> dict:
    """How a certificate is, whoever renews it; HostFileError where its files cannot be read.

    path, key_path (or None), renew_before, now: as info.look takes them; roots: the trusted roots as far as they are known
    here; fingerprints: theirs, none where nobody says whom to trust. Returns certificate_path, state (of STATES), problem
    (sentence or ""), certificate (facts or None), serial, not_after (the end, its root included), renew_at (RFC 3339), days_left.
    """
    if key_path and os.path.exists(key_path) and not os.access(key_path, os.R_OK):
        key_path = None  # who may not read it can be told the rest
    chain, problem = certificates.read(path)
    found = info.look_at(chain, path, key_path, renew_before, roots or None, fingerprints, now)
    if not found["exists"]:
        return dict(UNKNOWN, certificate_path=path, problem=problem + ".")
    known = roots or record.roots(record.read(path, chain), fingerprints)
    row = row_of(chain, found["certificate"], now, known)
    if found["key_matches"] is False:
        problem = "The key %s is missing, or belongs to another certificate." % key_path
    elif found["chain_ok"] is False and row["state"] != "expired":
        problem = "It does not lead to a trusted root: %s." % certificates.chain_problem(chain, known, now)
    return judged(dict(row, problem=problem))


def row_of(chain, facts: dict, now: datetime, roots=()) -> dict:
    """The row of a certificate as its times alone show it. facts: certificates.facts; roots: as that has them."""
    end = certificates.end_of_life(chain, roots)
    due = durations.parse_time(facts["renew_at"], "renew_at") <= now
    return {
        "certificate_path": facts["path"],
        "state": "expired" if end <= now else "due" if due else "ok",
        "problem": "",
        "certificate": facts,
        "serial": facts["serial"],
        "not_after": durations.format_time(end),
        "renew_at": facts["renew_at"],
        "days_left": round((end - now).total_seconds() / 86400, 4),
    }


def exit_code(rows: list) -> int:
    """0 all fine, 1 something is due or failing, 2 something has expired."""
    return max([_EXIT[row["state"]] for row in rows] or [0])


def table(rows: list) -> str:
    """The same for people, a line each."""
    lines = [_HEADINGS] + [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS) - 1)]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(line, widths)] + [line[-1]]).rstrip() for line in lines
    )


def _cells(row: dict) -> tuple:
    left = "-" if row["days_left"] is None else _in_words(row["days_left"])
    problem = one_line(row["problem"]) or "-"
    return (
        shown(row["certificate_path"]),
        row["state"],
        row["not_after"] or "-",
        left,
        row["renew_at"] or "-",
        problem,
    )


def _in_words(days: float) -> str:
    if abs(days) >= 2:
        return "%d d" % days
    hours = days * 24
    return "%d h" % hours if abs(hours) >= 2 else "%d min" % (hours * 60)

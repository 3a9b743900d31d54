# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""How the certificates of this host are: for people, for programs, for monitoring."""

from __future__ import annotations

import os
from datetime import datetime

from .. import certificates, durations, fileset, info, record
from ..errors import StepCAError
from . import configuration, history, served

#: From fine to worst; what monitoring is told is the worst of all: 0, 1, 1, 2.
STATES = ("ok", "due", "failing", "expired")
_EXIT = {"ok": 0, "due": 1, "failing": 1, "expired": 2}
_HEADINGS = ("CERTIFICATE", "STATE", "ENDS", "LEFT", "RENEWS", "PROBLEM")


def look(path: str, memory: str, now: datetime) -> dict:
    """How the certificate of this configuration is, as JSON would have it.

    path: of the configuration; memory: folder of the histories. Returns certificate_path, state (of STATES), problem
    (sentence or ""), serial, not_after, renew_at (RFC 3339), days_left, served (whether the port serves the file, None
    where none is named), last_success, last_error, error.
    """
    row = {"certificate_path": path, "state": "failing", "problem": "", "serial": None, "not_after": None}
    row.update(renew_at=None, days_left=None, served=None, last_success=None, last_error=None, error="")
    try:
        past = history.load(memory, os.path.basename(path))
        row.update(last_success=past.last_success, last_error=past.last_error, error=past.error)
        one = configuration.load(path)
        row["certificate_path"] = one.certificate_path
        row.update(_look_at_files(one, now))
    except StepCAError as error:
        return dict(row, problem=str(error))
    stale = served.problem(one)
    row["served"] = None if one.served is None else not stale
    seen = [one for one in (row["problem"], stale) if one and one.rstrip(".") not in past.error]
    row["problem"] = " ".join(filter(None, seen + [past.error]))
    if row["problem"] and row["state"] != "expired":
        row["state"] = "failing"
    return row


def _look_at_files(one: configuration.Configuration, now: datetime) -> dict:
    wanted = one.wanted()
    roots = one.connection.roots or None
    key_path = wanted.key_path
    if key_path and os.path.exists(key_path) and not os.access(key_path, os.R_OK):
        key_path = None  # who may not read it can be told the rest
    found = info.look(wanted.certificate_path, key_path, wanted.renew_before, roots, one.connection.fingerprints, now)
    if not found["exists"]:
        problem = fileset.read_chain(wanted.certificate_path)[1] + "."
        if not os.path.exists(wanted.certificate_path):
            problem = "%s %s" % (problem, one.enrolment)
        return {"problem": problem, "state": "failing"}
    facts = found["certificate"]
    chain = fileset.read_chain(wanted.certificate_path)[0]
    problem = ""
    if found["key_matches"] is False:
        problem = "The key %s is missing, or belongs to another certificate." % wanted.key_path
    elif found["chain_ok"] is False and certificates.end_of_life(chain) > now:
        known = roots or record.roots(record.read(wanted.certificate_path), one.connection.fingerprints)
        problem = "It does not lead to a trusted root: %s." % certificates.chain_problem(chain, known, now)
    expired = certificates.end_of_life(chain) <= now
    return {
        "state": "expired" if expired else "due" if found["due"] else "ok",
        "problem": problem,
        "serial": facts["serial"],
        "not_after": durations.format_time(certificates.end_of_life(chain)),
        "renew_at": facts["renew_at"],
        "days_left": found["days_left"],
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
    problem = history.one_line(row["problem"]) or "-"
    return (row["certificate_path"], row["state"], row["not_after"] or "-", left, row["renew_at"] or "-", problem)


def _in_words(days: float) -> str:
    if abs(days) >= 2:
        return "%d d" % days
    hours = days * 24
    return "%d h" % hours if abs(hours) >= 2 else "%d min" % (hours * 60)

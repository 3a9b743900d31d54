# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""What may keep a host from renewing: its libraries, its clock, its route to the CA, its renewer and what runs that."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from contextlib import suppress
from dataclasses import replace

from .. import durations, library
from ..ca import client, https
from ..errors import HostFileError, StepCAError, unforeseen
from ..files import reading
from ..renewer import configuration, services, status

CRON_FILE = "/etc/cron.d/stepca-renewer"
_TIMER, _SERVICE = "stepca-renewer.timer", "stepca-renewer.service"


def look(connection, renewer_path: str, config_path: str) -> dict:
    """python, cryptography (texts), now (RFC 3339), route, renewer, systemd, cron, too_rare; no more is judged here.

    connection: connections.Connection, or None: then route is empty; config_path: folder of the renewer's configurations.
    """
    return {
        "python": "%s (%s)" % (platform.python_version(), sys.executable),
        "cryptography": library.VERSION,
        "now": durations.format_time(durations.now()),
        "route": [_route(connection, url) for url in connection.urls] if connection else [],
        "renewer": _digest(renewer_path),
        "systemd": _systemd() if services.systemd_runs() else None,
        "cron": os.path.exists(CRON_FILE),
        "too_rare": _too_rare(config_path),
    }


def _too_rare(config_path: str) -> list:
    """Which certificates may end between two looks of the renewer, in sentences."""
    problems = []
    with suppress(StepCAError):  # which status says
        for path in configuration.paths(config_path):
            problems.append(_too_rare_one(path))
    return [problem for problem in problems if problem]


def _too_rare_one(path: str) -> str:
    try:
        return status.too_rare(configuration.load(path))
    except StepCAError:  # which status says
        return ""
    except Exception as error:
        return str(unforeseen(error))


def _route(connection, url: str) -> dict:
    """url, problem: why the CA does not answer there, or ""."""
    alone = replace(connection, urls=[url], retries=0)
    try:
        client.health(client.StepCA(alone, https.Transport))
    except Exception as error:
        return {"url": url, "problem": str(unforeseen(error))}
    return {"url": url, "problem": ""}


def _digest(path: str):
    """SHA-256 of a file, hex; "" where there is none."""
    try:
        content = reading.read(path)
    except HostFileError:
        content = b""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def _systemd() -> dict:
    """enabled, active (words of systemctl about the timer), result (of the last renewal; "success" where none was yet)."""
    return {
        "enabled": _property(_TIMER, "UnitFileState"),
        "active": _property(_TIMER, "ActiveState"),
        "result": _property(_SERVICE, "Result"),
    }


def _property(unit: str, name: str) -> str:
    return services.call(["systemctl", "show", "--property", name, "--value", "--", unit])[1].strip()

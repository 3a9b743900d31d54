# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""When a host renews: every so often, at an offset that is its own and stays, so that a fleet is spread over the interval."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from ..module_utils._core import durations
from ..module_utils._core.errors import OptionError

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def schedule(interval: timedelta, host: str, option: str) -> dict:
    """on_calendar (systemd.time(7)) and cron (five fields; to the minute) for this interval; OptionError for a crooked one.

    host: the name that gives the offset; option: what the error names.
    """
    seconds = int(interval.total_seconds())
    unit = next((unit for unit in (_MINUTE, _HOUR, _DAY) if seconds < unit), _DAY)
    part = {_MINUTE: 1, _HOUR: _MINUTE, _DAY: _HOUR}[unit]  # what it must be a multiple of
    if not seconds or interval % timedelta(seconds=part) or unit % seconds:
        raise OptionError(
            "%s: %s does not divide a minute, an hour or a day into equal parts. Give one that does, such as 5m, 15m, 1h or "
            "6h; 24h at most." % (option, durations.format_duration(interval))
        )
    offset = int(hashlib.sha256(host.encode("utf-8", "surrogateescape")).hexdigest()[:8], 16) % seconds
    hour, minute, second = offset // _HOUR, offset // _MINUTE % 60, offset % 60
    if unit == _MINUTE:
        calendar = "*:*:%02d/%d" % (second, seconds)
    elif unit == _HOUR:
        calendar = "*:%02d/%d:%02d" % (minute, seconds // _MINUTE, second)
    else:
        every = "/%d" % (seconds // _HOUR) if seconds < _DAY else ""  # systemd refuses to count hours by 24
        calendar = "%02d%s:%02d:%02d" % (hour, every, minute, second)
    minutes = _every(minute, 60, seconds // _MINUTE) if seconds < _HOUR else str(minute)
    return {"on_calendar": "*-*-* " + calendar, "cron": "%s %s * * *" % (minutes, _every(hour, 24, seconds // _HOUR))}


def _every(first: int, end: int, step: int) -> str:
    """A field of crontab(5), in the words that every cron understands."""
    return "*" if step <= 1 else ",".join(str(one) for one in range(first, end, step))

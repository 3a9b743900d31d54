# SPDX-License-Identifier: BSD-2-Clause
# Copyright: privatepki.stepca contributors
# PRIVATE to the collection: may change at any time.
"""Durations, times and shares of a life, as users and step-ca write them.

A duration is a Go duration (https://pkg.go.dev/time#ParseDuration), whole days ("30d") or a bare number of seconds;
a time is RFC 3339. Naive datetimes do not occur: every datetime here is aware and in UTC.
"""

from __future__ import annotations

import re
import time
from collections import namedtuple
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from .errors import OptionError

_UNITS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "\u00b5s": Decimal(1),
    "\u03bcs": Decimal(1),
    "ms": Decimal(1000),
    "s": Decimal(10**6),
    "m": Decimal(60 * 10**6),
    "h": Decimal(3600 * 10**6),
}
_DAY = Decimal(86400 * 10**6)
_PIECE = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_GO = re.compile(r"^(?:%s)+$" % _PIECE)
_SPLIT = re.compile(r"([0-9.]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
# The blank is what becomes of YAML's own times on their way through ansible-core 2.17.
_TIME = re.compile(
    r"^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)
#: Go counts nanoseconds in 63 bits, so the CA cannot read more than this.
_LONGEST = timedelta(microseconds=(2**63 - 1) // 1000)

#: A part of a life, 0 to 1.
Share = namedtuple("Share", "part")


def now() -> datetime:
    """The clock of this machine."""
    return datetime.fromtimestamp(time.time(), timezone.utc)


def parse_duration(text, option: str) -> timedelta:
    """A span of time, never negative; OptionError names the option."""
    word = str(text).strip()
    match = re.match(r"^([0-9]+)(d?)$", word)
    if match:
        micros = Decimal(match.group(1)) * (_DAY if match.group(2) else _UNITS["s"])
    elif _GO.match(word):
        micros = sum(Decimal(number) * _UNITS[unit] for number, unit in _SPLIT.findall(word))
    elif word.startswith("-"):
        raise OptionError(
            "%s: %r is negative. Give a duration of zero or more, such as 90s, 24h or 30d." % (option, word)
        )
    else:
        raise OptionError(
            "%s: %r is not a duration. Write a Go duration (90s, 24h, 720h30m), whole days (30d) "
            "or a number of seconds." % (option, word)
        )
    if micros > _LONGEST // timedelta(microseconds=1):
        raise OptionError("%s: %r is longer than the 292 years that the CA can count." % (option, word))
    return timedelta(microseconds=int(micros))


def parse_time(text, option: str) -> datetime:
    """An instant in RFC 3339, in UTC."""
    word = str(text).strip()
    match = _TIME.match(word)
    try:
        if not match:
            raise ValueError(word)
        fields = [int(part) for part in match.group(1, 2, 3, 4, 5, 6)]
        micros = int((match.group(7) or "0")[:6].ljust(6, "0"))
        zone = match.group(8)
        offset = timedelta()
        if zone not in "Zz":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
        instant = datetime(fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], micros, timezone.utc)
        return instant - offset
    except (ValueError, OverflowError):
        raise OptionError(
            "%s: %r is not a time. Write RFC 3339, such as 2030-01-31T12:00:00Z." % (option, word)
        ) from None


def parse_limit(text, option: str):
    """A bound of a validity: timedelta or datetime."""
    if isinstance(text, datetime):  # YAML reads an unquoted time as one
        return text.replace(tzinfo=text.tzinfo or timezone.utc).astimezone(timezone.utc)
    if re.match(r"^\s*[0-9]{4}-", str(text)):
        return parse_time(text, option)
    return parse_duration(text, option)


def parse_threshold(text, option: str):
    """How much of a life is left when it is due: Share or timedelta."""
    word = str(text).strip()
    match = re.match(r"^([0-9]+(?:\.[0-9]+)?)\s*%$", word)
    if not match:
        return parse_duration(word, option)
    part = float(match.group(1)) / 100
    if part >= 1:
        raise OptionError(
            "%s: %s is the whole life: the certificate would always be due. Give less than 100%%." % (option, word)
        )
    return Share(part)


def threshold_of(threshold, life: timedelta) -> timedelta:
    """The threshold as a duration, for a certificate of this life."""
    return life * threshold.part if isinstance(threshold, Share) else threshold


def format_time(instant: datetime) -> str:
    """RFC 3339 in UTC with Z, whole seconds unless there is a fraction."""
    text = instant.astimezone(timezone.utc).replace(tzinfo=None).isoformat()
    return text + "Z"


def format_duration(span: timedelta) -> str:
    """A Go duration, as the CA's API reads it."""
    micros = span // timedelta(microseconds=1)
    hours, rest = divmod(micros, 3600 * 10**6)
    minutes, rest = divmod(rest, 60 * 10**6)
    text = "%dh" % hours if hours else ""
    text += "%dm" % minutes if minutes else ""
    if rest or not text:
        seconds, fraction = divmod(rest, 10**6)
        text += "%d%ss" % (seconds, (".%06d" % fraction).rstrip("0") if fraction else "")
    return text


def format_limit(limit) -> str:
    """parse_limit, the other way; "" for None, which the CA reads as its default."""
    if limit is None:
        return ""
    return format_time(limit) if isinstance(limit, datetime) else format_duration(limit)

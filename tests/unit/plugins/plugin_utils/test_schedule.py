# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Each interval fires as often as it says, at equal distances, at an offset that is the host's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta

import pytest

from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.plugins.plugin_utils._schedule import schedule

DAY = 86400
#: What divides a minute, an hour or a day into equal parts that systemd and cron can count.
SECONDS = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30]
MINUTES = [60 * one for one in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)]
HOURS = [3600 * one for one in (1, 2, 3, 4, 6, 8, 12, 24)]
EVERY = SECONDS + MINUTES + HOURS
HOSTS = ["web%d.example.com" % number for number in range(7)]


def of(seconds, host="web1"):
    return schedule(timedelta(seconds=seconds), host, "interval")


def firings(on_calendar: str) -> list:
    """The seconds of a day at which systemd starts it, by systemd.time(7)."""
    date, hours, minutes, seconds = re.match(r"(\S+) ([^:]+):([^:]+):([^:]+)$", on_calendar).groups()
    assert date == "*-*-*"
    fields = [repeated(one, end) for one, end in ((hours, 24), (minutes, 60), (seconds, 60))]
    return [3600 * hour + 60 * minute + second for hour in fields[0] for minute in fields[1] for second in fields[2]]


def repeated(field: str, end: int) -> list:
    if field == "*":
        return list(range(end))
    first, _slash, step = field.partition("/")
    assert int(step or 1) < end, "systemd refuses this"
    return list(range(int(first), end, int(step))) if step else [int(first)]


def cron_firings(line: str) -> list:
    """The minutes of a day at which cron starts it, by crontab(5)."""
    minutes, hours, *rest = line.split(" ")
    assert rest == ["*", "*", "*"]
    fields = [
        list(range(end)) if field == "*" else list(map(int, field.split(",")))
        for field, end in ((hours, 24), (minutes, 60))
    ]
    return [60 * hour + minute for hour in fields[0] for minute in fields[1]]


@pytest.mark.parametrize("seconds", EVERY)
def test_it_fires_so_often_at_equal_distances(seconds):
    for host in HOSTS:
        turn = of(seconds, host)
        found = firings(turn["on_calendar"])
        assert len(found) == DAY // seconds
        assert {after - before for before, after in zip(found, found[1:] + [found[0] + DAY], strict=True)} == {seconds}
        by_cron = cron_firings(turn["cron"])
        if seconds >= 60:
            assert by_cron == [one // 60 for one in found]
        else:
            assert len(by_cron) == 1440, "cron knows nothing below a minute"


def test_no_other_interval_is_taken():
    taken = []
    for seconds in range(DAY + 2):
        try:
            of(seconds)
        except OptionError:
            continue
        taken.append(seconds)
    assert taken == EVERY


@pytest.mark.parametrize("crooked", [0, 7, 0.5, 1.5, 60.5, 90, 420, 3660, 18000, 90000, 31536000])
def test_what_a_crooked_one_is_told(crooked):
    with pytest.raises(OptionError, match="interval: .* does not divide a minute, an hour or a day.* such as 5m, 15m"):
        of(crooked)


def test_the_offset_stays_and_spreads_the_fleet():
    assert of(900) == of(900)
    offsets = [firings(of(900, "host%d" % number)["on_calendar"])[0] for number in range(1000)]
    assert all(0 <= one < 900 for one in offsets)
    quarters = [sum(low <= one < low + 225 for one in offsets) for low in range(0, 900, 225)]
    assert all(200 < one < 300 for one in quarters), quarters
    assert len(of(900, "k\u00e4se\udcff")["cron"]) > 0


def test_systemd_reads_each():
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("no systemd-analyze here to read them")
    lines = [of(seconds, host)["on_calendar"] for seconds in EVERY for host in HOSTS]
    done = subprocess.run([program, "calendar", *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

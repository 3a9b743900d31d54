# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Durations, times and shares: what users may write, and what the CA gets to read."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.privatepki.stepca.plugins.module_utils._core import durations
from ansible_collections.privatepki.stepca.plugins.module_utils._core.errors import OptionError
from ansible_collections.privatepki.stepca.tests.unit.plugins.module_utils._core.making import steady

UTC = timezone.utc
YEARS_292 = timedelta(days=106751)
spans = st.timedeltas(min_value=timedelta(0), max_value=YEARS_292)
instants = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize(
    "text, span",
    [
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
        ("90", timedelta(seconds=90)),
        (90, timedelta(seconds=90)),
        ("90s", timedelta(seconds=90)),
        ("24h", timedelta(hours=24)),
        ("720h30m", timedelta(days=30, minutes=30)),
        ("30d", timedelta(days=30)),
        ("1h2m3.5s", timedelta(hours=1, minutes=2, seconds=3.5)),
        ("1.5h", timedelta(minutes=90)),
        (".5h", timedelta(minutes=30)),
        ("5.s", timedelta(seconds=5)),
        ("1m1m", timedelta(minutes=2)),
        ("1500ms", timedelta(seconds=1.5)),
        ("3us", timedelta(microseconds=3)),
        ("3\u00b5s", timedelta(microseconds=3)),
        ("3\u03bcs", timedelta(microseconds=3)),
        ("1999ns", timedelta(microseconds=1)),
        (" 24h\n", timedelta(hours=24)),
        ("106751d", YEARS_292),
    ],
)
def test_a_duration_is_read(text, span):
    assert durations.parse_duration(text, "timeout") == span


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "is not a duration"),
        ("h", "is not a duration"),
        ("1 h", "is not a duration"),
        ("1H", "is not a duration"),
        ("1.5", "is not a duration"),
        ("1.5d", "is not a duration"),
        ("1d12h", "is not a duration"),
        ("1w", "is not a duration"),
        ("1.2.3s", "is not a duration"),
        ("\u0661h", "is not a duration"),
        ("next week", "(90s, 24h, 720h30m), whole days (30d)"),
        (None, "is not a duration"),
        (True, "is not a duration"),
        (["24h"], "is not a duration"),
        ("-1h", "is negative"),
        (-5, "is negative"),
        ("106752d", "longer than the 292 years"),
        ("9999999999999h", "longer than the 292 years"),
        ("9" * 5000 + "h", "longer than the 292 years"),
    ],
)
def test_no_duration_is_refused_by_the_name_of_its_option(text, words):
    with pytest.raises(OptionError) as caught:
        durations.parse_duration(text, "renew_before")
    assert str(caught.value).startswith("renew_before: %r" % str(text).strip())
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 5000 + "d"], ids=["seconds", "days"])
def test_endless_digits_are_refused_with_a_sentence(text):
    with pytest.raises(OptionError, match="longer than the 292 years"):
        durations.parse_duration(text, "timeout")


@steady
@given(spans)
def test_what_is_written_is_read_again(span):
    assert durations.parse_duration(durations.format_duration(span), "timeout") == span


@steady
@given(st.text(alphabet="0123456789.-+ dhmsun\u00b5", max_size=12))
def test_a_duration_is_never_negative(text):
    with suppress(OptionError):
        assert durations.parse_duration(text, "timeout") >= timedelta(0)


@steady
@given(st.integers(min_value=0, max_value=10**6))
def test_spellings_of_one_duration_are_equal(hours):
    spellings = ["%dh" % hours, "%dm" % (hours * 60), "%ds" % (hours * 3600), "%d" % (hours * 3600), "%d.0h" % hours]
    assert len({durations.parse_duration(text, "not_after") for text in spellings}) == 1


def test_100h_is_6000m():
    assert durations.parse_limit("100h", "not_after") == durations.parse_limit("6000m", "not_after")


@pytest.mark.parametrize(
    "span, text",
    [
        (timedelta(0), "0s"),
        (timedelta(microseconds=1), "0.000001s"),
        (timedelta(milliseconds=1500), "1.5s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(hours=24), "24h"),
        (timedelta(days=30, minutes=30), "720h30m"),
        (timedelta(hours=1, seconds=1), "1h1s"),
    ],
)
def test_a_duration_is_written_as_go_reads_it(span, text):
    assert durations.format_duration(span) == text


@pytest.mark.parametrize(
    "text, instant",
    [
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31t12:00:00z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        (" 2030-01-31T12:00:00Z\n", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00:00+02:00", datetime(2030, 1, 31, 10, tzinfo=UTC)),
        ("2030-01-31T12:00:00-02:30", datetime(2030, 1, 31, 14, 30, tzinfo=UTC)),
        ("2030-01-31T12:00:00+12:45", datetime(2030, 1, 30, 23, 15, tzinfo=UTC)),
        ("2030-01-31T12:00:00.5Z", datetime(2030, 1, 31, 12, 0, 0, 500000, tzinfo=UTC)),
        ("2030-01-31T12:00:00.123456789Z", datetime(2030, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_into_utc(text, instant):
    assert durations.parse_time(text, "not_after") == instant


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31",
        "2030-01-31T12:00:00",
        "2030-02-30T12:00:00Z",
        "2030-01-31T24:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2030-01-31T12:00:00+0200",
        "tomorrow",
        "",
    ],
)
def test_no_time_is_refused(text):
    with pytest.raises(OptionError) as caught:
        durations.parse_time(text, "issued_since")
    assert str(caught.value) == "issued_since: %r is not a time. Write RFC 3339, such as 2030-01-31T12:00:00Z." % text


@pytest.mark.parametrize("zone", ["+24:00", "+99:99", "-00:60"])
def test_an_impossible_offset_is_refused(zone):
    with pytest.raises(OptionError, match="is not a time"):
        durations.parse_time("2030-01-31T12:00:00" + zone, "not_after")


@steady
@given(instants)
def test_a_time_that_is_written_is_read_again(instant):
    assert durations.parse_time(durations.format_time(instant), "not_after") == instant


def test_a_time_is_written_in_utc_without_an_empty_fraction():
    east = timezone(timedelta(hours=2))
    assert durations.format_time(datetime(2030, 1, 31, 12, tzinfo=east)) == "2030-01-31T10:00:00Z"
    assert durations.format_time(datetime(2030, 1, 31, 12, 0, 0, 500000, tzinfo=UTC)) == "2030-01-31T12:00:00.500000Z"


@pytest.mark.parametrize(
    "given_value, limit, written",
    [
        ("24h", timedelta(hours=24), "24h"),
        ("30d", timedelta(days=30), "720h"),
        (3600, timedelta(hours=1), "1h"),
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC), "2030-01-31T12:00:00Z"),
        (" 2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC), "2030-01-31T12:00:00Z"),
        # YAML reads a time without quotes as a datetime, without a zone if none is given.
        (datetime(2030, 1, 31, 12), datetime(2030, 1, 31, 12, tzinfo=UTC), "2030-01-31T12:00:00Z"),
        (
            datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))),
            datetime(2030, 1, 31, 10, tzinfo=UTC),
            "2030-01-31T10:00:00Z",
        ),
    ],
)
def test_a_limit_is_a_duration_or_a_time(given_value, limit, written):
    assert durations.parse_limit(given_value, "not_after") == limit
    assert durations.format_limit(limit) == written


def test_a_time_without_a_zone_is_in_utc_wherever_the_machine_stands(monkeypatch):
    monkeypatch.setenv("TZ", "XYZ-14")
    time.tzset()
    try:
        limit = durations.parse_limit(datetime(2030, 1, 31, 12), "not_after")
        assert limit == datetime(2030, 1, 31, 12, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_limit_is_written_as_nothing():
    assert durations.format_limit(None) == ""


@pytest.mark.parametrize("given_value", [date(2030, 1, 31), "2030-01-31", "2030-13-01T00:00:00Z"])
def test_what_begins_as_a_time_is_refused_as_a_time(given_value):
    with pytest.raises(OptionError, match="not_after: .* is not a time"):
        durations.parse_limit(given_value, "not_after")


@pytest.mark.parametrize(
    "text, left",
    [
        ("33%", timedelta(hours=33)),
        ("33 %", timedelta(hours=33)),
        ("12.5%", timedelta(hours=12.5)),
        ("0%", timedelta(0)),
        ("8h", timedelta(hours=8)),
        ("2d", timedelta(hours=48)),
        (600, timedelta(minutes=10)),
    ],
)
def test_a_threshold_of_a_life_of_100_hours(text, left):
    threshold = durations.parse_threshold(text, "renew_before")
    assert abs(durations.threshold_of(threshold, timedelta(hours=100)) - left) <= timedelta(microseconds=1)


@pytest.mark.parametrize("text", ["100%", "100.0%", "250%"])
def test_a_threshold_of_the_whole_life_is_refused(text):
    with pytest.raises(OptionError, match="renew_before: .* is the whole life: the certificate would always be due"):
        durations.parse_threshold(text, "renew_before")


@pytest.mark.parametrize("text", ["-5%", "%", ".5%", "a third", "33%%"])
def test_no_threshold_is_refused(text):
    with pytest.raises(OptionError, match="^renew_before: "):
        durations.parse_threshold(text, "renew_before")


def test_now_is_aware_and_in_utc():
    assert durations.now().utcoffset() == timedelta(0)
    assert abs(durations.now() - datetime.now(UTC)) < timedelta(minutes=1)

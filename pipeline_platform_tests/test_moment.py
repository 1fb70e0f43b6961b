"""Durations and moments: seed 002, "Generic Time Utilities"."""

from datetime import date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.moment import aware_utc, midnight, zone_of
from pipeline_platform.window import (
    calculate_day_from_timestamp,
    convert_to_pendulum,
    human_duration,
    parse_time_to_seconds,
    seconds_to_time_string,
)

UTC = timezone.utc
NOON = datetime(2025, 11, 15, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1d2h30m20s", 95_420),
        ("1d", 86_400),
        ("24h", 86_400),
        ("90m", 5_400),
        ("0s", 0),
        ("1h 30m 45s", 5_445),
        ("007m", 420),
    ],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_time_to_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "1", "h", "1x", "30m1h", "1h1h", "-1h", "1.5h", "1H", " 1h", "1h ", "1h\n", "1 h",
     "1h  5m", "\u0661h", "36526d", "9" * 5000 + "s"],
)  # fmt: skip
def test_bad_durations_raise(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_time_to_seconds(text)


@given(st.integers(min_value=0, max_value=36_525 * 86_400))
def test_durations_go_both_ways(seconds: int) -> None:
    assert parse_time_to_seconds(seconds_to_time_string(seconds)) == seconds
    assert parse_time_to_seconds(human_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(86_400, "1d"), (82_800, "23h"), (90_000, "1d1h"), (1_800, "30m"), (0, "0s"), (61, "1m1s")],
)
def test_intervals_are_written_without_spaces(seconds: int, text: str) -> None:
    assert seconds_to_time_string(seconds) == text


def test_a_negative_interval_raises() -> None:
    with pytest.raises(ConfigurationError):
        seconds_to_time_string(-1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5_445, "1h 30m 45s"), (2_700, "45m"), (7_200, "2h"), (0.99, "0s"), (929.7, "15m 29s"),
     (90_061, "1d 1h 1m 1s"), (-3, "0s")],
)  # fmt: skip
def test_run_times_are_written_for_people(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        NOON.astimezone(ZoneInfo("Asia/Kathmandu")),
        pendulum.instance(NOON),
        pd.Timestamp(NOON),
        pd.Timestamp("2025-11-15T12:30:15.250000001Z"),
        pd.Timestamp(NOON).tz_convert("America/New_York"),
        "2025-11-15T12:30:15.25Z",
        "2025-11-15T13:30:15.250+01:00",
        "20251115T123015.250Z",
        NOON.timestamp(),
        int(NOON.timestamp() * 1000),
        float(int(NOON.timestamp() * 1000)),
        np.int64(int(NOON.timestamp() * 1000)),
        np.float64(NOON.timestamp()),
    ],
    ids=lambda value: f"{type(value).__name__} {value}",
)
def test_a_moment_with_zone_keeps_its_instant(value: object) -> None:
    for zone in (None, "UTC", "Australia/Lord_Howe"):
        moment = convert_to_pendulum(value, zone)
        assert moment.astimezone(UTC) == NOON
        assert zone is None or moment.timezone_name == zone


NAIVE = [
    datetime(2025, 7, 1, 8),
    pd.Timestamp("2025-07-01 08:00"),
    np.datetime64("2025-07-01T08"),
    np.datetime64("2025-07-01T08:00:00.000000000"),
    "2025-07-01T08:00:00",
    "2025-07-01 08:00",
]


@pytest.mark.parametrize("value", NAIVE, ids=lambda value: f"{type(value).__name__} {value}")
def test_a_moment_without_zone_needs_one(value: object) -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        convert_to_pendulum(value)
    moment = convert_to_pendulum(value, "America/New_York")
    assert moment.astimezone(UTC) == datetime(2025, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("value", [date(2025, 7, 1), "2025-07-01", "20250701"])
def test_a_date_is_its_midnight_and_needs_a_zone(value: object) -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        convert_to_pendulum(value)
    assert convert_to_pendulum(value, "Asia/Kolkata").isoformat() == "2025-07-01T00:00:00+05:30"


def test_a_repeated_hour_is_the_first_unless_the_moment_says_otherwise() -> None:
    first = datetime(2024, 11, 3, 1, 30)
    texts = [
        convert_to_pendulum(value, "America/New_York").isoformat()
        for value in (
            first,
            "2024-11-03T01:30:00",
            first.replace(fold=1),
            "2024-11-03T01:30:00-05:00",
        )
    ]
    assert texts == [
        "2024-11-03T01:30:00-04:00",
        "2024-11-03T01:30:00-04:00",
        "2024-11-03T01:30:00-05:00",
        "2024-11-03T01:30:00-05:00",
    ]


def test_a_skipped_hour_becomes_a_real_one() -> None:
    moment = convert_to_pendulum("2024-03-10T02:30:00", "America/New_York")
    assert moment.isoformat() == "2024-03-10T03:30:00-04:00"


@pytest.mark.parametrize(
    "value",
    [None, True, "", "now", "today", "10:00", "P1D", "2025", "1763209815", "2025-02-30",
     "2025-01-01/2025-02-01", float("nan"), float("inf"), 10**15, -(10**15), 10**400, pd.NaT,
     np.datetime64("NaT"), b"2025-01-01", 2j, [2025]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_moment_raises(value: object) -> None:
    with pytest.raises(ConfigurationError, match="no moment"):
        convert_to_pendulum(value, "UTC")


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "America", "../etc/passwd", "utc\0"])
def test_an_unknown_zone_raises(name: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown"):
        convert_to_pendulum(NOON, name)


def test_a_naive_datetime_has_no_instant() -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        aware_utc(datetime(2025, 1, 1))


@pytest.mark.parametrize(
    ("back", "zone", "day"),
    [
        ("0s", "UTC", "2025-11-15T00:00:00+00:00"),
        ("13h", "UTC", "2025-11-14T00:00:00+00:00"),
        ("1d2h", "America/Los_Angeles", "2025-11-14T00:00:00-08:00"),
        ("0s", "Pacific/Auckland", "2025-11-16T00:00:00+13:00"),
    ],
)
def test_target_day_is_the_local_day_some_time_back(back: str, zone: str, day: str) -> None:
    assert calculate_day_from_timestamp(NOON, back, zone).isoformat() == day


def test_target_day_counts_elapsed_time_over_a_clock_change() -> None:
    day = calculate_day_from_timestamp("2024-03-11T00:30:00-04:00", "23h", "America/New_York")
    assert day.isoformat() == "2024-03-10T00:00:00-05:00"
    day = calculate_day_from_timestamp("2024-03-11T00:30:00-04:00", "1d", "America/New_York")
    assert day.isoformat() == "2024-03-09T00:00:00-05:00"


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/Havana", date(2024, 3, 10)),  # 00:00 is skipped
        ("America/Havana", date(2024, 11, 3)),  # 00:00 happens twice
        ("America/Asuncion", date(2024, 3, 24)),  # 23:00 of the day before happens twice
        ("Pacific/Apia", date(2011, 12, 31)),
        ("America/Toronto", date(1919, 3, 31)),  # 23:30 to 00:30
        ("Asia/Kathmandu", date(2024, 1, 1)),
    ],
)
def test_a_day_begins_with_its_first_instant(zone: str, day: date) -> None:
    here: tzinfo = zone_of(zone)
    first = midnight(day, here)
    assert first.astimezone(here).date() == day
    assert (first - timedelta(seconds=1)).astimezone(here).date() < day


def test_a_day_that_a_zone_skipped_is_empty() -> None:
    apia = zone_of("Pacific/Apia")
    assert midnight(date(2011, 12, 30), apia) == midnight(date(2011, 12, 31), apia)

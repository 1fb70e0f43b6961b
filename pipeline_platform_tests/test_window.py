"""`calculate_time_window`: the scenarios of seed 002 (the last two are in flow/), clock changes."""

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.moment import midnight, zone_of
from pipeline_platform.window import WindowPlan, calculate_time_window, parse_time_to_seconds

ZONE = "America/Los_Angeles"
DAY = pendulum.datetime(2025, 6, 30, tz=ZONE)
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu",
         "America/Havana", "America/Asuncion", "Pacific/Apia", "Africa/Casablanca")  # fmt: skip


def at(hour: int, minute: int = 0, *, day: int = 0) -> pendulum.DateTime:
    return DAY.add(days=day, hours=hour, minutes=minute)


def window(granularity: str, continuation: object = None) -> tuple[str, str, str] | None:
    found = calculate_time_window(DAY, granularity, continuation)
    if found is None:
        return None
    start, end, interval = found
    assert start.timezone_name == end.timezone_name == ZONE
    return start.format("DD HH:mm"), end.format("DD HH:mm"), interval


def test_continuation_none() -> None:
    assert window("3h") == ("30 00:00", "30 03:00", "3h")


def test_continuation_early() -> None:
    assert window("3h", at(2)) == ("30 02:00", "30 05:00", "3h")


def test_continuation_middle() -> None:
    assert window("3h", at(12)) == ("30 12:00", "30 15:00", "3h")


def test_continuation_late_is_capped_at_midnight() -> None:
    assert window("3h", at(22)) == ("30 22:00", "01 00:00", "2h")


def test_completion_beyond_boundary() -> None:
    assert window("3h", at(5, day=1)) is None


def test_completion_before_target() -> None:
    assert window("3h", at(23, day=-1)) is None


def test_completion_exact_boundary() -> None:
    assert window("3h", at(0, day=1)) is None


def test_boundary_case_1_late_with_large_granularity() -> None:
    assert window("5h", at(22)) == ("30 22:00", "01 00:00", "2h")


def test_boundary_case_2_very_late_with_small_granularity() -> None:
    assert window("1h", at(23, 30)) == ("30 23:30", "01 00:00", "30m")


def test_boundary_case_3_extremes() -> None:
    last_second = DAY.add(days=1, seconds=-1)
    assert window("7d", at(0)) == ("30 00:00", "01 00:00", "1d")
    assert window("20s", last_second) == ("30 23:59", "01 00:00", "1s")
    assert window("1s", at(0)) == ("30 00:00", "30 00:00", "1s")


def test_the_continuation_may_be_in_another_zone_or_of_another_type() -> None:
    noon = "2025-06-30T19:00:00Z"
    expected = ("30 12:00", "30 15:00", "3h")
    assert window("3h", noon) == window("3h", pendulum.parse(noon)) == expected
    assert window("3h", datetime(2025, 6, 30, 19, tzinfo=timezone.utc).timestamp()) == expected


def test_a_target_day_in_the_middle_of_a_day_is_that_day() -> None:
    assert calculate_time_window(DAY.add(hours=9), "1h") == calculate_time_window(DAY, "1h")


def test_nothing_is_guessed() -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        calculate_time_window(datetime(2025, 6, 30), "1h")
    with pytest.raises(ConfigurationError, match="no time zone"):
        calculate_time_window(DAY, "1h", "2025-06-30T12:00:00")
    for granularity in ("", "0s", "1w"):
        with pytest.raises(ConfigurationError):
            calculate_time_window(DAY, granularity)


@pytest.mark.parametrize(
    ("day", "granularity", "intervals"),
    [
        ((2024, 3, 10), "1d", ["23h"]),
        ((2024, 11, 3), "1d", ["1d1h"]),
        ((2024, 3, 10), "6h", ["5h", "6h", "6h", "6h"]),
        ((2024, 11, 3), "6h", ["7h", "6h", "6h", "6h"]),
        ((2024, 3, 10), "7h", ["6h", "7h", "7h", "3h"]),
        ((2024, 3, 10), "1h", ["1h"] * 23),
        ((2024, 11, 3), "1h", ["1h"] * 25),
    ],
)
def test_a_clock_change_makes_windows_longer_or_shorter(
    day: tuple[int, int, int], granularity: str, intervals: list[str]
) -> None:
    target = pendulum.datetime(*day, tz="America/New_York")
    assert [interval for _, _, interval in walk(target, granularity)] == intervals


def walk(
    target_day: pendulum.DateTime, granularity: str
) -> list[tuple[pendulum.DateTime, pendulum.DateTime, str]]:
    """All windows of a day, each continuing where the one before ended."""
    found, continuation = [], None
    while (one := calculate_time_window(target_day, granularity, continuation)) is not None:
        found.append(one)
        continuation = one[1]
    return found


@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(date(2005, 1, 1), date(2030, 1, 1)),
    seconds=st.integers(400, 100_000),
)
def test_a_day_is_walked_without_gap_or_overlap(zone: str, day: date, seconds: int) -> None:
    here = zone_of(zone)
    begin, end = midnight(day, here), midnight(day + timedelta(days=1), here)
    found = walk(pendulum.instance(begin.astimezone(here)), f"{seconds}s")
    if begin == end:  # a day that the zone skipped: its midnight is the next day's
        return
    assert found[0][0].timestamp() == begin.timestamp()
    assert found[-1][1].timestamp() == end.timestamp()
    assert all(one[1].timestamp() == two[0].timestamp() for one, two in pairwise(found))
    for first, last, interval in found:
        assert parse_time_to_seconds(interval) == last.timestamp() - first.timestamp() > 0


@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(date(2005, 1, 1), date(2030, 1, 1)),
    granularity=st.sampled_from(("15m", "1h", "2h", "3h", "7h", "12h", "1d")),
)
def test_walking_a_day_gives_the_windows_of_the_plan(
    zone: str, day: date, granularity: str
) -> None:
    plan = WindowPlan(granularity, zone, day, day + timedelta(days=1))
    windows = [(w.start, w.end, w.interval) for w in plan.windows(plan.start)]
    target = pendulum.instance(plan.start.astimezone(plan.zone))
    walked = [
        (start.astimezone(timezone.utc), end.astimezone(timezone.utc), interval)
        for start, end, interval in walk(target, granularity)
    ]
    assert windows == walked or (not windows and plan.start == plan.end)

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.movement import WindowSlice
from pipeline_platform.query_field import QueryField, wall_clock_bound

UTC = timezone.utc
NEW_YORK = ZoneInfo("America/New_York")
NAIVE = pa.timestamp("us")
ZONES = (
    "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia",
    "America/Caracas", "Atlantic/Azores", "Asia/Kathmandu", "Africa/Casablanca", "UTC",
)  # fmt: skip


def window(start: datetime, end: datetime) -> WindowSlice:
    return WindowSlice("orders", start, end)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


HOUR = window(at("2025-11-15T10:00"), at("2025-11-15T11:00"))


def test_zoned_timestamps_are_compared_with_the_instants() -> None:
    kind = pa.timestamp("us", "Asia/Tokyo")
    assert QueryField("at").bounds(HOUR, kind) == (HOUR.start, HOUR.end)


def test_naive_timestamps_are_compared_with_the_wall_clock() -> None:
    lower, upper = QueryField("at", "America/New_York").bounds(HOUR, NAIVE)
    assert (lower, upper) == (datetime(2025, 11, 15, 5), datetime(2025, 11, 15, 6))


@pytest.mark.parametrize(
    ("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
def test_epochs_are_compared_with_ticks(unit: Any, per_second: int) -> None:
    lower, upper = QueryField("at", unit=unit).bounds(HOUR, pa.int64())
    assert lower == int(HOUR.start.timestamp()) * per_second
    assert upper == int(HOUR.end.timestamp()) * per_second


def test_epochs_of_a_bound_between_two_ticks_are_the_next_tick() -> None:
    half = window(at("1969-12-31T23:59:58.500000"), at("1970-01-01T00:00:00.500000"))
    assert QueryField("at", unit="s").bounds(half, pa.int64()) == (-1, 1)
    assert QueryField("at", unit="ms").bounds(half, pa.int64()) == (-1500, 500)


def test_dates_are_compared_by_local_day() -> None:
    day = window(
        datetime(2025, 11, 2, tzinfo=NEW_YORK).astimezone(UTC),
        datetime(2025, 11, 3, tzinfo=NEW_YORK).astimezone(UTC),
    )
    assert day.end - day.start == timedelta(hours=25)
    field = QueryField("day", "America/New_York")
    assert field.bounds(day, pa.date32()) == (date(2025, 11, 2), date(2025, 11, 3))


@pytest.mark.parametrize(
    ("field", "kind", "match"),
    [
        (QueryField("at"), NAIVE, "query_field_timezone"),
        (QueryField("at"), pa.date32(), "query_field_timezone"),
        (QueryField("at", "UTC"), pa.date32(), "midnight"),
        (QueryField("at", "UTC"), pa.int64(), "query_field_unit"),
        (QueryField("at", "UTC", "s"), pa.string(), "places no row in time"),
        (QueryField("at", "UTC", "s"), pa.float64(), "places no row in time"),
        (QueryField("at", "UTC", "s"), pa.decimal128(38, 0), "places no row in time"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    field: QueryField, kind: pa.DataType, match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        field.bounds(HOUR, kind)


def test_a_repeated_hour_belongs_to_its_first_pass() -> None:
    # 2 November 2025: 01:00-02:00 happens twice, at 05:00 and at 06:00 UTC.
    bounds = [wall_clock_bound(at(f"2025-11-02T0{hour}:00"), NEW_YORK) for hour in (4, 5, 6, 7)]
    assert [bound.hour for bound in bounds] == [0, 1, 2, 2]
    half_past = wall_clock_bound(at("2025-11-02T06:30:00.000001"), NEW_YORK)
    assert half_past == datetime(2025, 11, 2, 2)


def test_a_skipped_hour_belongs_to_the_window_before() -> None:
    # 9 March 2025: 02:00-03:00 never happens; 07:00 UTC is 03:00.
    assert wall_clock_bound(at("2025-03-09T06:59:59"), NEW_YORK) == datetime(2025, 3, 9, 1, 59, 59)
    assert wall_clock_bound(at("2025-03-09T07:00"), NEW_YORK) == datetime(2025, 3, 9, 3)


@given(
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1)),
    steps=st.lists(st.integers(1, 100_000), min_size=2, max_size=30),
    walls=st.lists(st.integers(-50_000, 3_000_000), max_size=20),
)
def test_every_wall_clock_value_is_in_exactly_one_of_adjoining_windows(
    zone: str, start: datetime, steps: list[int], walls: list[int]
) -> None:
    tz = ZoneInfo(zone)
    edges = [start.replace(tzinfo=UTC)]
    for step in steps:
        edges.append(edges[-1] + timedelta(seconds=step))
    bounds = [wall_clock_bound(edge, tz) for edge in edges]
    assert bounds == sorted(bounds)
    for shift in walls:
        wall = edges[0].astimezone(tz).replace(tzinfo=None) + timedelta(seconds=shift)
        inside = [low <= wall < high for low, high in pairwise(bounds)]
        assert sum(inside) == (bounds[0] <= wall < bounds[-1])


@given(
    zone=st.sampled_from(ZONES), instant=st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1))
)
def test_the_bound_is_the_least_wall_clock_value_at_or_after_the_instant(
    zone: str, instant: datetime
) -> None:
    tz = ZoneInfo(zone)
    moment = instant.replace(tzinfo=UTC)
    bound = wall_clock_bound(moment, tz)
    tick = timedelta(microseconds=1)
    assert first_occurrence(bound, tz) >= moment
    assert first_occurrence(bound - tick, tz) < moment


def first_occurrence(wall: datetime, zone: ZoneInfo) -> datetime:
    """A value that never occurs counts as just before the end of the gap it lies in."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    before = wall.replace(tzinfo=zone, fold=1).utcoffset()
    after = wall.replace(tzinfo=zone, fold=0).utcoffset()
    assert before is not None
    assert after is not None
    low, high = instant - abs(before - after), instant
    while high - low > timedelta(microseconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).replace(tzinfo=None) > wall:
            high = middle
        else:
            low = middle
    return low

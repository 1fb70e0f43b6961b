"""`WindowPlan`: which windows there are, their keys, and which of them are due."""

from datetime import date, datetime, timedelta, timezone
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.movement import WindowSlice
from pipeline_platform.window import Window, WindowPlan

UTC = timezone.utc
NEW_YORK = "America/New_York"


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def keys(plan: WindowPlan, start: datetime, end: datetime) -> list[str]:
    return [window.key for window in plan.windows(start, end)]


def test_a_daily_window() -> None:
    plan = WindowPlan("1d", NEW_YORK, date(2013, 1, 1))
    window = plan.window_of_key("2013-03-07")
    assert window == Window(
        at(2013, 3, 7, 5), at(2013, 3, 8, 5), "2013-03-07", date(2013, 3, 7), "1d"
    )
    assert window.slice("flights") == WindowSlice("flights", window.start, window.end)


def test_an_hourly_window_in_utc() -> None:
    plan = WindowPlan("1h", "UTC", date(2025, 11, 15))
    window = plan.window_of_key("2025-11-15-10:00")
    assert (window.start, window.end) == (at(2025, 11, 15, 10), at(2025, 11, 15, 11))
    assert window.interval == "1h"


def test_twenty_four_hours_are_a_day() -> None:
    plan = WindowPlan("24h", "UTC", date(2025, 1, 1))
    assert plan.window_of_key("2025-01-02").interval == "1d"


def test_the_hour_that_happens_twice_has_two_keys() -> None:
    plan = WindowPlan("1h", NEW_YORK, date(2024, 11, 1))
    assert keys(plan, at(2024, 11, 3, 5), at(2024, 11, 3, 8)) == [
        "2024-11-03-01:00-0400",
        "2024-11-03-01:00-0500",
        "2024-11-03-02:00-0500",
    ]


@pytest.mark.parametrize(("day", "interval"), [("2024-03-10", "23h"), ("2024-11-03", "1d1h")])
def test_a_day_of_a_clock_change_says_its_elapsed_time(day: str, interval: str) -> None:
    assert WindowPlan("1d", NEW_YORK, date(2024, 1, 1)).window_of_key(day).interval == interval


def test_seven_hours_are_cut_at_midnight() -> None:
    plan = WindowPlan("7h", "UTC", date(2025, 1, 1), date(2025, 1, 2))
    assert [(w.key[-5:], w.interval) for w in plan.windows(plan.start)] == [
        ("00:00", "7h"), ("07:00", "7h"), ("14:00", "7h"), ("21:00", "3h"),
    ]  # fmt: skip


def test_ninety_minutes_in_utc() -> None:
    plan = WindowPlan("90m", "UTC", date(2025, 1, 1))
    windows = list(islice(plan.windows(plan.start), 17))
    assert [w.key[-5:] for w in windows[:3]] == ["00:00", "01:30", "03:00"]
    assert windows[16].key == "2025-01-02-00:00"
    assert plan.window_of_key("2025-01-01-01:30").end == at(2025, 1, 1, 3)


@pytest.mark.parametrize(
    ("duration", "zone", "reason"),
    [
        ("0s", "UTC", "whole minutes"),
        ("30s", "UTC", "whole minutes"),
        ("90s", "UTC", "whole minutes"),
        ("25h", "UTC", "whole minutes"),
        ("2d", "UTC", "whole minutes"),
        ("90m", NEW_YORK, "UTC only"),
        ("90m", "Asia/Kolkata", "UTC only"),
        ("7m", NEW_YORK, "UTC only"),
        ("25m", "UTC", "58 a day"),
        ("29m", "UTC", "50 a day"),
        ("7m", "UTC", "more than the 48"),
        ("1h", "America/Atlantis", "unknown"),
        ("1 day", "UTC", "not a duration"),
    ],
)
def test_granularities_that_cannot_work_are_refused(duration: str, zone: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        WindowPlan(duration, zone, date(2025, 1, 1))


@pytest.mark.parametrize("duration", ["1m", "12m", "1h", "60m", "5h", "23h", "1440m"])
def test_granularities_that_work_in_every_zone(duration: str) -> None:
    assert WindowPlan(duration, NEW_YORK, date(2025, 1, 1)).seconds % 60 == 0


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (date(2025, 1, 2), date(2025, 1, 2)),
        (date(2025, 1, 2), date(2025, 1, 1)),
        (date(1, 1, 1), None),
        (date(9999, 12, 31), None),
        (date(2025, 1, 1), date(9999, 12, 31)),
    ],
)
def test_days_that_cannot_work_are_refused(start: date, end: date | None) -> None:
    with pytest.raises(ConfigurationError):
        WindowPlan("1d", "UTC", start, end)


def test_the_end_date_is_exclusive() -> None:
    plan = WindowPlan("12h", NEW_YORK, date(2024, 3, 9), date(2024, 3, 11))
    windows = list(plan.windows(at(1970, 1, 1)))
    assert [w.key for w in windows] == [
        "2024-03-09-00:00-0500",
        "2024-03-09-12:00-0500",
        "2024-03-10-00:00-0500",
        "2024-03-10-12:00-0400",
    ]
    assert (plan.start, plan.end) == (windows[0].start, windows[-1].end)
    assert plan.window_at(plan.end) is None if plan.end else False


def test_windows_overlap_the_interval_that_was_asked_for() -> None:
    plan = WindowPlan("1h", "UTC", date(2025, 1, 1))
    ten = at(2025, 1, 1, 10)
    assert keys(plan, ten, ten + timedelta(hours=1)) == ["2025-01-01-10:00"]
    assert keys(plan, ten + timedelta(seconds=1), ten + timedelta(hours=1, seconds=1)) == [
        "2025-01-01-10:00",
        "2025-01-01-11:00",
    ]
    assert keys(plan, ten, ten) == []


def test_moments_without_zone_are_refused() -> None:
    plan = WindowPlan("1h", "UTC", date(2025, 1, 1))
    naive = datetime(2025, 1, 1)
    with pytest.raises(ConfigurationError, match="no time zone"):
        next(plan.windows(naive))


@pytest.mark.parametrize(
    ("duration", "zone", "key"),
    [
        ("1d", "UTC", "2025-1-5"),
        ("1d", "UTC", "2025-02-30"),
        ("1d", "UTC", "2024-12-31"),
        ("1d", "UTC", "2025-03-01"),
        ("1d", "UTC", "9999-12-31"),
        ("1d", "UTC", "'; DROP TABLE orders; --"),
        ("1h", "UTC", "2025-01-01-10:30"),
        ("1h", "UTC", "2025-01-01-10:00+0000"),
        ("1h", NEW_YORK, "2025-01-01-10:00"),
        ("1h", NEW_YORK, "2025-01-01-10:00-0400"),
        ("1h", NEW_YORK, "0001-01-01-00:00-2359"),
        ("1h", NEW_YORK, "9999-12-31-23:00-0500"),
        ("7h", "UTC", "2025-01-01-06:00"),
        ("90m", "UTC", "2025-01-01-01:00"),
    ],
)
def test_a_key_of_no_window_is_refused_with_keys_that_exist(
    duration: str, zone: str, key: str
) -> None:
    plan = WindowPlan(duration, zone, date(2025, 1, 1), date(2025, 3, 1))
    with pytest.raises(ConfigurationError) as refused:
        plan.window_of_key(key)
    assert repr(key) in refused.value.message
    examples = refused.value.hint.removeprefix("Keys look like ").rstrip(".").split(", ")
    assert [plan.window_of_key(example).key for example in examples] == examples


PLANS = st.builds(
    WindowPlan,
    st.sampled_from(("1m", "15m", "1h", "2h", "7h", "12h", "1d")),
    st.sampled_from(("UTC", NEW_YORK, "Europe/Berlin", "Asia/Kathmandu", "America/Havana",
                     "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns")),
    st.dates(date(2005, 1, 1), date(2012, 1, 1)),
)  # fmt: skip


@given(plan=PLANS, seconds=st.integers(0, 400 * 86_400), length=st.integers(1, 100_000))
def test_windows_tile_time(plan: WindowPlan, seconds: int, length: int) -> None:
    start = plan.start + timedelta(seconds=seconds)
    end = start + timedelta(seconds=length)
    windows = list(plan.windows(start, end))
    assert windows[0].start <= start < windows[0].end
    assert windows[-1].start < end <= windows[-1].end
    assert all(one.end == two.start for one, two in pairwise(windows))
    assert len({window.key for window in windows}) == len(windows)


@given(plan=PLANS, seconds=st.integers(0, 400 * 86_400))
def test_every_instant_has_one_window_and_its_key_finds_it(plan: WindowPlan, seconds: int) -> None:
    instant = plan.start + timedelta(seconds=seconds)
    window = plan.window_at(instant)
    assert window is not None
    assert window.start <= instant < window.end
    assert plan.window_of_key(window.key) == window


@given(plan=PLANS, seconds=st.integers(0, 400 * 86_400))
def test_no_window_crosses_midnight(plan: WindowPlan, seconds: int) -> None:
    window = plan.window_at(plan.start + timedelta(seconds=seconds))
    assert window is not None
    days = WindowPlan("1d", plan.timezone, plan.start_date)
    day = days.window_at(window.start)
    assert day is not None
    assert day.start <= window.start < window.end <= day.end
    assert window.target_day == day.target_day

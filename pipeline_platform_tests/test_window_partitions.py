"""Dagster's partitions are the plan's windows, or the plan is refused."""

import time
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.partitions import partitions_definition, refuse_key_mismatch
from pipeline_platform.window import WindowPlan

UTC = timezone.utc
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


def check(plan: WindowPlan) -> None:
    refuse_key_mismatch(plan, partitions_definition(plan), NOW)


@pytest.mark.parametrize(
    "zone",
    ["UTC", "America/New_York", "America/Los_Angeles", "Europe/Berlin", "Europe/London",
     "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Australia/Sydney", "Australia/Adelaide",
     "America/Sao_Paulo", "America/St_Johns"],
)  # fmt: skip
@pytest.mark.parametrize("duration", ["15m", "1h", "2h", "6h", "7h", "1d"])
def test_where_people_live_every_granularity_works(zone: str, duration: str) -> None:
    check(WindowPlan(duration, zone, date(2024, 1, 1)))


@pytest.mark.parametrize(
    ("zone", "duration", "start", "about"),
    [
        ("Australia/Lord_Howe", "1h", date(2024, 1, 1), "2024-04-07T01:30:00+10:30"),
        ("America/Havana", "3h", date(2024, 1, 1), "2024-03-10T01:00:00-04:00"),
        ("America/Caracas", "20m", date(2010, 1, 1), "2010-01-01T00:00:00-04:30"),
        ("Pacific/Apia", "1d", date(2011, 12, 1), "2011-12-31T00:00:00+14:00"),
        ("Antarctica/Casey", "2h", date(2018, 1, 1), "2018-10-07"),
    ],
)
def test_a_mismatch_is_refused_with_zone_moment_and_both_lists(
    zone: str, duration: str, start: date, about: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check(WindowPlan(duration, zone, start))
    message = refused.value.message
    assert f"{duration} do not work in {zone}" in message
    assert about in message
    assert "Ours: " in message
    assert "Dagster's: " in message
    assert refused.value.facts["expected"] != refused.value.facts["observed"]


def test_a_mismatch_outside_the_range_does_not_matter() -> None:
    check(WindowPlan("1d", "Pacific/Apia", date(2012, 1, 1)))
    check(WindowPlan("1d", "Pacific/Apia", date(2011, 1, 1), date(2011, 12, 29)))
    check(WindowPlan("1h", "Australia/Lord_Howe", date(2024, 1, 1), date(2024, 4, 7)))


def test_changes_of_the_next_two_years_count() -> None:
    now = datetime(2024, 5, 2, tzinfo=UTC)
    ending = WindowPlan("3h", "America/Havana", date(2024, 5, 1), date(2024, 11, 2))
    refuse_key_mismatch(ending, partitions_definition(ending), now)
    endless = WindowPlan("3h", "America/Havana", date(2024, 5, 1))
    with pytest.raises(ConfigurationError, match="2024-11-03"):
        refuse_key_mismatch(endless, partitions_definition(endless), now)


@pytest.mark.parametrize(
    "changes",
    [
        {"cron_schedule": "0 */3 * * *"},
        {"cron_schedule": "0 0,6,12 * * *"},
        {"cron_schedule": "30 */6 * * *"},
        {"fmt": "%Y-%m-%d-%H:%M"},
        {"timezone": "America/Chicago"},
        {"start": datetime(2024, 1, 2)},
        {"end": datetime(2025, 1, 2)},
        {"exclusions": ["0 12 * * *"]},
    ],
    ids=str,
)
def test_a_definition_of_other_partitions_is_refused(changes: dict[str, object]) -> None:
    plan = WindowPlan("6h", "America/New_York", date(2024, 1, 1))
    check(plan)
    arguments = {**plan.partition_arguments(), **changes}
    definition = dg.TimeWindowPartitionsDefinition(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        refuse_key_mismatch(plan, definition, NOW)


def test_an_end_where_dagster_loses_the_last_partition_is_refused() -> None:
    plan = WindowPlan("3h", "America/Havana", date(2024, 5, 1), date(2024, 11, 3))
    last = [window.key for window in plan.windows(plan.start)][-1]
    assert last not in partitions_definition(plan).get_partition_keys(current_time=FAR)
    with pytest.raises(ConfigurationError, match="goes back to another window"):
        check(plan)


ODD = ("Australia/Lord_Howe", "America/Caracas", "Antarctica/Casey", "America/Havana",
       "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca", "Atlantic/Azores",
       "America/Asuncion", "Asia/Pyongyang", "Asia/Tehran", "Antarctica/Troll",
       "America/Scoresbysund", "Africa/Cairo")  # fmt: skip
PLAIN = ("UTC", "America/New_York", "Europe/Berlin", "Europe/Dublin", "Asia/Kolkata",
         "Asia/Kathmandu", "Australia/Adelaide", "America/St_Johns")  # fmt: skip
DURATIONS = ("5m", "12m", "15m", "20m", "30m", "1h", "2h", "3h", "5h", "7h", "12h", "23h", "1d")


@st.composite
def plans_over_a_change(draw: st.DrawFn) -> WindowPlan:
    """Some days around a change of the UTC offset, where the zone has one."""
    zone = draw(st.sampled_from(ODD + PLAIN))
    duration = draw(st.sampled_from(DURATIONS))
    day = draw(st.dates(date(1995, 1, 1), date(2030, 1, 1)))
    here = ZoneInfo(zone)
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(days=n)
             for n in range(400)]  # fmt: skip
    offsets = [noon.astimezone(here).utcoffset() for noon in noons]
    changed = next((n for n, (one, two) in enumerate(pairwise(offsets)) if one != two), 0)
    start = (noons[changed] - timedelta(days=draw(st.integers(0, 3)))).date()
    most = 220 if duration in ("5h", "7h", "12h", "23h", "1d") else 12
    length = draw(st.integers(1, most))
    return WindowPlan(duration, zone, start, start + timedelta(days=length))


# Dagster goes back from the end to find the last partition, and errs shortly before a change.
@example(plan=WindowPlan("2h", "Antarctica/Casey", date(2019, 3, 15), date(2019, 3, 17)))
@settings(max_examples=150)
@given(plan=plans_over_a_change())
def test_every_plan_is_equal_to_dagster_or_refused(plan: WindowPlan) -> None:
    definition = partitions_definition(plan)
    try:
        refuse_key_mismatch(plan, definition, NOW)
    except ConfigurationError:
        event("refused")
        return
    event("accepted")
    windows = list(plan.windows(plan.start))
    assert [window.key for window in windows] == definition.get_partition_keys(current_time=FAR)
    assert all(one.end == two.start for one, two in pairwise(windows))
    assert (windows[0].start, windows[-1].end) == (plan.start, plan.end)
    for window in windows[:: max(1, len(windows) // 10)]:
        found = definition.time_window_for_partition_key(window.key)
        assert (found.start.timestamp(), found.end.timestamp()) == (
            window.start.timestamp(),
            window.end.timestamp(),
        )
        assert window.end > NOW or definition.has_partition_key(window.key)


@pytest.mark.parametrize("duration", ["30m", "35m", "45m", "50m", "90m", "100m", "710m", "1439m"])
def test_other_minutes_in_utc_have_dagsters_keys_and_our_bounds(duration: str) -> None:
    plan = WindowPlan(duration, "UTC", date(2024, 2, 28), date(2024, 3, 2))
    definition = partitions_definition(plan)
    refuse_key_mismatch(plan, definition, NOW)
    windows = list(plan.windows(plan.start))
    assert [window.key for window in windows] == definition.get_partition_keys(current_time=FAR)
    assert all(one.end == two.start for one, two in pairwise(windows))
    assert windows[-1].end == plan.end


def test_a_hundred_pipelines_cost_less_than_a_second() -> None:
    zones = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney")
    starts = {"15m": date(2025, 9, 1), "1h": date(2024, 11, 1), "6h": date(2019, 2, 1),
              "1d": date(1999, 1, 1)}  # fmt: skip
    plans = [
        WindowPlan(duration, zone, start + timedelta(days=number))
        for number in range(5)
        for zone in zones
        for duration, start in starts.items()
    ]
    assert len(plans) == 100
    definitions = [partitions_definition(plan) for plan in plans]
    began = time.process_time()
    for plan, definition in zip(plans, definitions, strict=True):
        refuse_key_mismatch(plan, definition, NOW)
    assert time.process_time() - began < 1.5

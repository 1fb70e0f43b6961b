"""Cron expressions: what is accepted must mean the same to Dagster."""

from datetime import datetime, timedelta
from itertools import pairwise

import dagster as dg
import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_platform.config.cron import check_cron, longest_pause
from pipeline_platform.errors import ConfigurationError


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "*/15 * * * *",
        "0 6 * * *",
        "0 8 * * MON-FRI",
        "0,30 0-12/2 1,15 jan-jun 0",
        "0 0 29 2 *",
        "0 0 31 1,2 *",
        "0 2 * * 7",
        "0 0 31 2 1",
    ],
)
def test_good_expressions(expression: str) -> None:
    assert check_cron(expression) == expression
    assert is_valid_cron_schedule(expression) or expression == "0 0 31 2 1"


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "has 0"),
        ("0 0 * *", "has 4"),
        ("0 0 0 * * *", "has 6"),
        ("@daily", "has 1"),
        ("60 * * * *", "the minute of a cron expression has a value outside 0 to 59"),
        ("* 24 * * *", "the hour"),
        ("* * 0 * *", "the day of month"),
        ("* * * 13 *", "the month"),
        ("* * * * 8", "the day of week"),
        ("* * * foo *", "the month"),
        ("5-1 * * * *", "runs backwards"),
        ("*/0 * * * *", "a step outside"),
        ("5/10 * * * *", "a step without a range"),
        ("1,,2 * * * *", "is not a number"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("\u0661 * * * *", "value outside"),
    ],
)
def test_bad_expressions(expression: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check_cron(expression)


def part(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low - 1, high + 1)
    ranges = st.tuples(number, number).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.integers(0, high + 1).map(lambda step: f"*/{step}")
    one = st.one_of(number.map(str), ranges, st.just("*"), steps)
    return st.lists(one, min_size=1, max_size=3).map(",".join)


@given(st.tuples(part(0, 59), part(0, 23), part(1, 31), part(1, 12), part(0, 6)).map(" ".join))
@settings(max_examples=300)
def test_what_is_accepted_here_dagster_accepts(expression: str) -> None:
    try:
        check_cron(expression)
    except ConfigurationError:
        return
    assert is_valid_cron_schedule(expression)


@pytest.mark.parametrize(
    ("expression", "pause"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("0 6 * * *", timedelta(days=1)),
        ("*/15 8-17 * * *", timedelta(hours=14, minutes=15)),
        ("0 8 * * MON-FRI", timedelta(days=3)),
        ("30 4 1 * *", timedelta(days=31)),
        ("0 0 1 1 *", timedelta(days=366)),
        ("0 0 29 2 *", timedelta(days=366 * 4 - 3)),
        ("0 0 1 * 1", timedelta(days=7)),
        ("0 0 * * 7", timedelta(days=7)),
    ],
)
def test_longest_pause(expression: str, pause: timedelta) -> None:
    assert longest_pause(expression) == pause


@given(
    minute=st.sampled_from(["0", "*/20", "5,50"]),
    hour=st.sampled_from(["*", "*/6", "9-17", "23"]),
    day=st.sampled_from(["*", "1,15", "10-12"]),
    month=st.sampled_from(["*", "2,3", "nov"]),
    weekday=st.sampled_from(["*", "1-5", "0", "sat,7"]),
)
@settings(max_examples=25)
def test_longest_pause_is_dagsters(
    minute: str, hour: str, day: str, month: str, weekday: str
) -> None:
    expression = f"{minute} {hour} {day} {month} {weekday}"
    moments = dg.TimeWindowPartitionsDefinition(
        start=datetime(2024, 1, 1), end=datetime(2026, 4, 1), fmt="%Y-%m-%dT%H:%M",
        cron_schedule=expression,
    ).get_partition_keys()  # fmt: skip
    starts = [datetime.strptime(key, "%Y-%m-%dT%H:%M") for key in moments]
    pauses = [after - before for before, after in pairwise(starts)]
    assert max(pauses) <= longest_pause(expression) <= max(pauses) + timedelta(days=12)

"""A row per minute over both days on which New York changes its clocks, against zoneinfo."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import duckdb
import pytest

from pipeline_platform_tests.flow.conftest import KINDS, World
from pipeline_platform_tests.pipelines import run_window

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 3, 10), date(2024, 11, 3))
MINUTE = timedelta(minutes=1)


def day_of(day: date) -> tuple[datetime, datetime]:
    """The instants at which a local day begins and ends."""
    begin, end = (
        datetime.combine(d, time(), NEW_YORK).astimezone(timezone.utc)
        for d in (day, day + timedelta(days=1))
    )
    return begin, end


def minutes(day: date) -> list[datetime]:
    begin, end = day_of(day)
    return [begin + number * MINUTE for number in range((end - begin) // MINUTE)]


def window_start(instant: datetime, duration: str) -> datetime:
    """Where the window of an instant begins; New York's offsets are whole hours."""
    if duration == "1h":
        return instant.replace(minute=0)
    return day_of(instant.astimezone(NEW_YORK).date())[0]


def first_occurrence(instant: datetime) -> datetime:
    """The instant that a wall clock's time means when it comes twice."""
    naive = instant.astimezone(NEW_YORK).replace(tzinfo=None, fold=0)
    return naive.replace(tzinfo=NEW_YORK).astimezone(timezone.utc)


def fill(world: World, instants: list[datetime]) -> None:
    """Table `minutes(id, placed_at, wall_clock)`."""
    naive = "TIMESTAMP WITHOUT TIME ZONE" if world.database else "TIMESTAMP"
    world.at_source(f"CREATE TABLE minutes (id BIGINT, placed_at TIMESTAMPTZ, wall_clock {naive})")
    rows = ", ".join(
        f"({number}, '{instant.isoformat()}', '{instant.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}')"
        for number, instant in enumerate(instants)
    )
    world.at_source(f"INSERT INTO minutes VALUES {rows}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["placed_at", "wall_clock"])
@pytest.mark.parametrize("duration", ["1d", "1h"])
@pytest.mark.fault_row(6)
def test_every_minute_arrives_once_in_its_window(
    kind: str, field: str, duration: str, make_world: Callable[[str], World]
) -> None:
    world = make_world(kind)
    instants = [instant for day in DAYS for instant in minutes(day)]
    assert len(instants) == (23 + 25) * 60
    if (field, duration) == ("wall_clock", "1h"):
        instants = [i for i in instants if i.astimezone(NEW_YORK).hour < 5]  # where it is odd
    fill(world, instants)
    zone = {"query_field_timezone": "America/New_York"} if field == "wall_clock" else {}
    pipeline = world.pipeline(
        schedule={"timezone": "America/New_York"},
        query_window={"duration": duration},
        source_system={"table": "minutes", "query_field": field, **zone},
        target_system={"table": "minutes"},
    )
    starts = sorted({window_start(instant, duration) for instant in instants})
    plan = [w for day in DAYS for w in pipeline.windows.windows(*day_of(day))]
    due = [window for window in plan if window.start in starts]
    assert [window.start for window in due] == starts
    with ExitStack() as stack:
        if kind == "duckdb":  # opening the file is most of a small window's time
            stack.enter_context(duckdb.connect(str(world.folder / "warehouse.duckdb")))
        for window in due:
            row = run_window(pipeline, world.store, window.key)
            assert row.pipeline_status == "SUCCESS"
            assert row.query_window_end_timestamp == window.end
    placed = first_occurrence if field == "wall_clock" else lambda instant: instant
    expected = [
        (number, instant, window_start(placed(instant), duration))
        for number, instant in enumerate(instants)
    ]
    assert (
        world.at_target(
            "SELECT id, placed_at, _pipeline_window_start FROM analytics.minutes ORDER BY id"
        )
        == expected
    )


def test_a_day_says_how_long_it_was(world: World) -> None:
    pipeline = world.pipeline(schedule={"timezone": "America/New_York"})
    lengths = {
        row.target_date: row.query_window_duration
        for day in DAYS
        for row in [run_window(pipeline, world.store, day.isoformat())]
    }
    assert lengths == {DAYS[0]: "23h", DAYS[1]: "1d1h"}

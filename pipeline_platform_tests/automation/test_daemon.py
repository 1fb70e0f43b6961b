"""Sensors, catch-up and backfills under a real daemon, with windows due by the real clock."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from pipeline_platform.automation.due_windows import Cursor
from pipeline_platform.automation.recheck import RECHECK_TAG
from pipeline_platform_tests.automation.daemon import (
    ARRIVALS,
    MOST_PER_TICK,
    ORDERS,
    POISONED_DAY,
    SHIPMENTS,
    STANDSTILL,
    Daemon,
)
from pipeline_platform_tests.servers import dagster_graphql
from pipeline_platform_tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.timeout(600), pytest.mark.waits]
SENSOR_SECONDS = 120.0
STORY_SECONDS = 300.0
BEFORE_LOADING = {"pre_validation", "source_count", "source_to_stage_transfer", "stage_count"}


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Daemon]:
    """The daemon at work: shipments catching up, arrivals with one more row since its start."""
    database = postgres_server.new_database()
    daemon = Daemon(tmp_path_factory.mktemp("daemon") / "clone", database)
    daemon.insert(SHIPMENTS, "now() - interval '6 days'", "now()", "interval '1 hour'")
    daemon.insert(ARRIVALS, "now() - interval '1 hour'", "now()", "interval '5 seconds'")
    left = daemon.live_until(datetime.now(timezone.utc) - STANDSTILL)
    with daemon.project as project:
        dagster_graphql.set_cursor(project, f"{SHIPMENTS}_due_windows", str(left))
        dagster_graphql.start_sensor(project, f"{SHIPMENTS}_due_windows")
        project.wait_until(
            "the sensor of the arrivals looks",
            lambda: dagster_graphql.ticks_of(project, f"{ARRIVALS}_due_windows"),
            SENSOR_SECONDS,
        )
        daemon.insert(ARRIVALS, "now()", "now()", "interval '1 second'")
        yield daemon
    postgres_server.drop(database)


def test_a_backfill_with_a_poisoned_window_and_one_that_heals(daemon: Daemon) -> None:
    project = daemon.project
    days = [f"2024-01-0{day}" for day in range(1, 5)]
    daemon.insert(ORDERS, "'2024-01-01Z'", "'2024-01-04T23:00Z'", "interval '1 hour'")
    daemon.rows(
        "UPDATE public.orders SET amount = NULL WHERE placed_at = %s RETURNING 1",
        f"{POISONED_DAY}T05:00Z",
    )
    assets = [(ORDERS, asset) for asset in ("source", "stage", "target", "audit", "cleaning")]
    with daemon.database.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE")
        backfill = dagster_graphql.launch_backfill(project, assets, days)
        project.wait_until("a run fails", lambda: _failures(daemon), STORY_SECONDS)
    project.wait_until(
        "the backfill ends",
        lambda: dagster_graphql.backfill_status(project, backfill).startswith("COMPLETED"),
        STORY_SECONDS,
    )
    assert dagster_graphql.backfill_status(project, backfill) == "COMPLETED_FAILED"
    assert dagster_graphql.partition_counts(project, assets) == {
        "source": (4, 0),
        "stage": (3, 1),
        "target": (3, 1),
        "audit": (3, 1),
        "cleaning": (3, 1),
    }
    # Neither the lock nor the poison lets a run get further; what got further did not fail.
    assert {phase for _, phase, _ in _failures(daemon)} <= BEFORE_LOADING
    healed = Counter(category for category, _, _ in _failures(daemon))
    assert healed["transient"] >= 1
    assert healed["data"] == 1  # no retry of what a retry cannot mend
    right = [day for day in days if day != POISONED_DAY]
    verdicts = dagster_graphql.check_results(project, (ORDERS, "stage"), "stage_count")
    assert {one["partition"]: one["success"] for one in verdicts} == {
        **dict.fromkeys(right, True),
        POISONED_DAY: False,
    }
    [poisoned] = [one for one in verdicts if not one["success"]]
    assert "1 of 24 rows lost, 4.17 % is over the tolerance of 0 %" in poisoned["description"]
    ready = dagster_graphql.check_results(project, (ORDERS, "source"), "ready")
    assert {one["partition"]: one["success"] for one in ready} == dict.fromkeys(days, True)
    assert not all(one["success"] for one in ready)
    loaded = "SELECT placed_at::date::text, count(*) FROM analytics.orders GROUP BY 1"
    assert dict(daemon.rows(loaded)) == dict.fromkeys(right, 24)


def test_rows_that_came_late_are_loaded_and_those_that_went_are_shown(daemon: Daemon) -> None:
    """The days of the backfill above; its own recheck sensor has been on from the start."""
    project, sensor = daemon.project, f"{ORDERS}_recheck"
    late, shrunk = "2024-01-02", "2024-01-04"
    daemon.rows("DELETE FROM public.orders WHERE placed_at = %s RETURNING 1", f"{shrunk}T05:00Z")
    daemon.insert(ORDERS, f"'{late}T05:10Z'", f"'{late}T05:30Z'", "interval '10 minutes'")

    def right() -> bool:
        runs = [run for run in dagster_graphql.runs_of(project, ORDERS) if RECHECK_TAG in run.tags]
        return [(run.partition, run.tags[RECHECK_TAG], run.status) for run in runs] == [
            (late, "late", "SUCCESS")
        ]

    project.wait_until("the late rows are loaded", right, STORY_SECONDS)
    shown = ([ORDERS, "audit"], shrunk)
    project.wait_until(
        "what went is shown", lambda: dagster_graphql.observations(project, *shown), SENSOR_SECONDS
    )
    looked = len(dagster_graphql.ticks_of(project, sensor))
    project.wait_until(
        "the sensor looks again",
        lambda: len(dagster_graphql.ticks_of(project, sensor)) > looked,
        SENSOR_SECONDS,
    )
    assert right()
    assert [tick.error for tick in dagster_graphql.ticks_of(project, sensor) if tick.error] == []
    [(told, facts)] = dagster_graphql.observations(project, *shown)
    assert told.startswith("deleted: ")
    assert (facts["class"], facts["rows_then"], facts["rows_now"]) == ("deleted", 24, 23)
    loaded = "SELECT placed_at::date::text, count(*) FROM analytics.orders GROUP BY 1"
    assert dict(daemon.rows(loaded)) == {"2024-01-01": 24, late: 27, shrunk: 24}


def test_after_a_standstill_the_missed_windows_are_caught_up_oldest_first(daemon: Daemon) -> None:
    project, sensor = daemon.project, f"{SHIPMENTS}_due_windows"
    windows = daemon.pipeline(SHIPMENTS).windows
    now = datetime.now(timezone.utc)
    missed = [
        window.key
        for window in windows.windows(now - STANDSTILL - timedelta(hours=12), now)
        if now - STANDSTILL < window.end <= now
    ]
    assert len(missed) in (4, 5)  # the fifth when midnight or noon came after the start

    def right() -> bool:
        runs = dagster_graphql.runs_of(project, SHIPMENTS)
        return {run.partition for run in runs if run.status == "SUCCESS"} >= set(missed)

    project.wait_until("the missed windows are right", right, STORY_SECONDS)
    runs = {run.run_id: run for run in dagster_graphql.runs_of(project, SHIPMENTS)}
    ended = max(run.ended or 0 for run in runs.values())
    project.wait_until(
        "the sensor looks again",
        lambda: dagster_graphql.ticks_of(project, sensor)[-1].time > ended,
        SENSOR_SECONDS,
    )
    ticks = dagster_graphql.ticks_of(project, sensor)
    assert [tick.error for tick in ticks if tick.error] == []
    assert max(len(tick.run_ids) for tick in ticks) == MOST_PER_TICK
    requested = [run_id for tick in ticks for run_id in tick.run_ids][: len(missed)]
    assert [runs[run_id].partition for run_id in requested] == missed  # oldest first
    assert set(Counter(run.partition for run in runs.values()).values()) == {1}
    loaded = "SELECT count(*) FROM analytics.shipments WHERE placed_at < %s"
    asked = "SELECT count(*) FROM public.shipments WHERE placed_at >= %s AND placed_at < %s"
    until = windows.window_of_key(missed[-1]).end
    assert daemon.rows(loaded, until) == daemon.rows(asked, windows.start, until)


def test_rows_that_arrive_are_loaded_by_themselves_once(daemon: Daemon) -> None:
    project, sensor = daemon.project, f"{ARRIVALS}_due_windows"
    windows = daemon.pipeline(ARRIVALS).windows
    assert dagster_graphql.sensor_status(project, sensor) == "RUNNING"  # schedule.automatic
    [(arrived,)] = daemon.rows("SELECT max(placed_at) FROM public.arrivals")
    window = windows.window_at(arrived)
    assert window is not None

    def right() -> bool:
        runs = dagster_graphql.runs_of(project, ARRIVALS)
        return any(run.partition == window.key and run.status == "SUCCESS" for run in runs)

    project.wait_until("the window is right", right, STORY_SECONDS)
    looked = len(dagster_graphql.ticks_of(project, sensor))
    project.wait_until(
        "the sensor looks again",
        lambda: len(dagster_graphql.ticks_of(project, sensor)) > looked,
        SENSOR_SECONDS,
    )
    runs = dagster_graphql.runs_of(project, ARRIVALS)
    assert set(Counter(run.partition for run in runs).values()) == {1}
    assert [tick.error for tick in dagster_graphql.ticks_of(project, sensor) if tick.error] == []
    found = "SELECT count(*) FROM {}.arrivals WHERE placed_at >= %s AND placed_at < %s"
    bounds = (window.start, window.end)
    [(loaded,)] = daemon.rows(found.format("analytics"), *bounds)
    assert [(loaded,)] == daemon.rows(found.format("public"), *bounds)
    assert loaded >= 1

    first_look = Cursor.parse(dagster_graphql.ticks_of(project, sensor)[0].cursor)
    assert first_look is not None
    [(oldest,)] = daemon.rows(
        "SELECT min(window_start_time) FROM pipeline_platform.pipeline_records "
        "WHERE pipeline_name = %s",
        ARRIVALS,
    )
    assert oldest >= first_look.coverage.since  # catchup: false
    assert first_look.coverage.since > arrived - timedelta(hours=1)


def _failures(daemon: Daemon) -> list[tuple[str, str, str]]:
    return [
        (category, phase, run)
        for category, phase, run in daemon.rows(
            "SELECT error_category, phase_failed, pipeline_id "
            "FROM pipeline_platform.pipeline_execution_drive "
            "WHERE pipeline_name = %s AND pipeline_status = 'FAILED'",
            ORDERS,
        )
    ]

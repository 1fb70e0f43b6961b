"""Row 25: the source is down while a thousand windows are due, and then it is back."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from pipeline_platform.automation.due_windows import Cursor, RequestedRuns, look
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.flow.conftest import World
from pipeline_platform_tests.pipelines import create_postgres_orders, run_window

HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
DUE = 1_000
PER_TICK = 5
TICKS = 4
MAX_RETRIES = 1


@pytest.fixture
def world(make_world: Callable[[str], World]) -> World:
    made = make_world("postgres")
    assert made.database is not None
    made.at_source("DELETE FROM orders")
    create_postgres_orders(made.database, [START], 240)
    return made


@pytest.mark.fault_row(25, on="postgres")
def test_row_25_attempts_are_bounded_and_the_oldest_comes_first(world: World) -> None:
    changes = {
        "query_window": {"duration": "1h"},
        "schedule": {"max_windows_per_tick": PER_TICK},
        "retry": {"max_retries": MAX_RETRIES, "backoff_strategy": "none"},
    }
    healthy = world.pipeline(**changes)
    down = world.pipeline(**changes, source_system={"port": 1})
    cursor: Cursor | None = None
    requested: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(TICKS):
            # Minutes apart, so that a retry which Dagster might start is not waited for.
            now = START + DUE * HOUR + number * timedelta(minutes=1)
            tick = look(down, world.store, now, cursor, RequestedRuns(instance))
            cursor = Cursor.parse(tick.cursor)
            keys = [str(request.partition_key) for request in tick.run_requests or []]
            assert 0 < len(keys) <= PER_TICK
            requested += keys
            for key in keys:
                with pytest.raises(StepFailedError, match="Prerequisites not met"):
                    run_window(down, world.store, key)
            retry(down, world, keys)
    assert requested == sorted(requested)
    assert len(set(requested)) == len(requested)
    [windows] = world.store.query("window_summary", pipeline_name="orders")
    assert windows["pending"] >= DUE - len(requested)
    runs = world.store.latest_runs("orders", DUE * 10)
    assert len(runs) == len(requested) * (1 + MAX_RETRIES)
    assert {run.pipeline_status for run in runs} == {"FAILED"}
    assert {run.error_category for run in runs} == {"transient"}
    assert max(run.pipeline_retry_number for run in runs) == MAX_RETRIES

    for key in requested[:PER_TICK]:
        assert run_window(healthy, world.store, key).pipeline_status == "SUCCESS"
    assert len(world.rows()) == PER_TICK * 10


def retry(pipeline: Pipeline, world: World, keys: list[str]) -> None:
    """What `run_retries` does: `max_retries` more runs of each."""
    for key in keys * MAX_RETRIES:
        with pytest.raises(StepFailedError):
            run_window(pipeline, world.store, key)

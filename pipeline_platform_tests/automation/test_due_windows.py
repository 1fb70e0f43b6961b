"""The sensor: what became ready is requested once, oldest first, a bounded number per tick."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.automation.due_windows import (
    Cursor,
    RequestedRuns,
    due_windows_sensor,
    look,
)
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import TransientError
from pipeline_platform.flow.assets import PIPELINE_TAG
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.flow.test_drive_row import fails_at
from pipeline_platform_tests.pipelines import (
    create_duckdb_orders,
    duckdb_config,
    duckdb_store,
    make_pipeline,
    run_window,
)

NOON = datetime(2024, 1, 4, 12, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> DriveStore:
    create_duckdb_orders(
        tmp_path / "source.duckdb", [NOON - timedelta(days=n, hours=12) for n in (3, 2, 1, 0)], 10
    )
    return duckdb_store(tmp_path)


def pipeline(folder: Path, **changes: Any) -> Pipeline:
    return make_pipeline(duckdb_config(**changes), folder)


def keys(result: dg.SensorResult) -> list[str | None]:
    return [request.partition_key for request in result.run_requests or []]


def tick(orders: Pipeline, store: Any, now: datetime, cursor: Cursor | None) -> dg.SensorResult:
    return look(orders, store, now, cursor, RequestedRuns(dg.DagsterInstance.ephemeral()))


def cursor_of(result: dg.SensorResult) -> Cursor:
    cursor = Cursor.parse(result.cursor)
    assert cursor is not None
    return cursor


def all_moved(orders: Pipeline, store: DriveStore) -> Cursor:
    """All windows were requested and moved, and the sensor has seen it."""
    first = tick(orders, store, NOON, None)
    for key in keys(first):
        assert key is not None
        run_window(orders, store, key)
    second = tick(orders, store, NOON, cursor_of(first))
    assert keys(second) == []
    return cursor_of(second)


def test_ready_windows_are_requested_oldest_first(store: DriveStore, tmp_path: Path) -> None:
    result = tick(pipeline(tmp_path), store, NOON, None)
    assert keys(result) == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert [request.run_key for request in result.run_requests or []] == [
        "orders:2024-01-01:0",
        "orders:2024-01-02:0",
        "orders:2024-01-03:0",
    ]


def test_a_moved_window_is_not_requested_again_and_then_nothing_is_opened(
    store: DriveStore, tmp_path: Path
) -> None:
    orders = pipeline(tmp_path)
    cursor = all_moved(orders, store)
    assert not cursor.waiting

    class Closed:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("the warehouse was opened")

    third = tick(orders, Closed(), NOON, cursor)
    assert keys(third) == []
    tomorrow = tick(orders, store, NOON + timedelta(days=1), cursor_of(third))
    assert keys(tomorrow) == ["2024-01-04"]


def test_a_right_window_that_a_run_by_hand_left_undone_is_noticed_at_once(
    store: DriveStore, tmp_path: Path
) -> None:
    """Nothing was waiting, and no window is due; Dagster knows that a run failed."""
    orders = pipeline(tmp_path)
    quiet = all_moved(orders, store)
    with fails_at("load.after_delete", TransientError("not now")), pytest.raises(StepFailedError):
        run_window(orders, store, "2024-01-02", force=True)
    with dg.DagsterInstance.ephemeral() as instance:
        known = RequestedRuns(instance)
        nothing = look(orders, store, NOON, quiet, known)
        assert not cursor_of(nothing).waiting
        tags = {PIPELINE_TAG: "orders"}
        instance.add_run(
            dg.DagsterRun(job_name="orders_windows", status=dg.DagsterRunStatus.FAILURE, tags=tags)
        )
        noticed = look(orders, store, NOON, cursor_of(nothing), known)
    assert cursor_of(noticed).waiting


def test_a_tick_requests_at_most_the_configured_number(store: DriveStore, tmp_path: Path) -> None:
    orders = pipeline(tmp_path, schedule={"max_windows_per_tick": 2})
    first = tick(orders, store, NOON, None)
    assert keys(first) == ["2024-01-01", "2024-01-02"]
    run_window(orders, store, "2024-01-01")
    second = tick(orders, store, NOON, cursor_of(first))
    assert keys(second) == ["2024-01-02", "2024-01-03"]


def test_without_catchup_nothing_older_than_the_first_tick(
    store: DriveStore, tmp_path: Path
) -> None:
    orders = pipeline(tmp_path, schedule={"catchup": False})
    first = tick(orders, store, NOON, None)
    assert keys(first) == []
    assert keys(tick(orders, store, NOON + timedelta(days=1), cursor_of(first))) == ["2024-01-04"]


def test_x_time_back_holds_a_window_back(store: DriveStore, tmp_path: Path) -> None:
    orders = pipeline(tmp_path, query_window={"x_time_back": "13h"})
    assert keys(tick(orders, store, NOON, None)) == ["2024-01-01", "2024-01-02"]


def test_cron_says_when_to_look(store: DriveStore, tmp_path: Path) -> None:
    orders = pipeline(tmp_path, schedule={"cron": "0 6 * * *"})
    first = tick(orders, store, NOON, None)
    early = tick(orders, store, NOON + timedelta(hours=17, minutes=59), cursor_of(first))
    assert keys(early) == []
    assert early.skip_reason == dg.SkipReason("schedule.cron says not yet")
    later = tick(orders, store, NOON + timedelta(hours=18), cursor_of(early))
    assert "2024-01-04" in keys(later)


@pytest.mark.parametrize("automatic", [True, False])
def test_the_sensor_is_on_if_the_config_says_so(tmp_path: Path, automatic: bool) -> None:
    sensor = due_windows_sensor(
        pipeline(tmp_path, schedule={"automatic": automatic}), "orders_windows"
    )
    assert sensor.name == "orders_due_windows"
    assert (sensor.default_status == dg.DefaultSensorStatus.RUNNING) == automatic


def test_a_window_that_was_run_too_early_is_requested_once_ready(
    store: DriveStore, tmp_path: Path
) -> None:
    early = pipeline(tmp_path, query_window={"x_time_back": "36500d"})
    for _ in range(5):
        with pytest.raises(StepFailedError, match="is ready at"):
            run_window(early, store, "2024-01-01")
    result = tick(pipeline(tmp_path), store, NOON, None)
    assert keys(result)[0] == "2024-01-01"

"""Backfills: which windows are chosen, and what a user sees and finds when one fails."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from pipeline_platform.backfill import plan_backfill
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.pipelines import (
    create_duckdb_orders,
    duckdb_config,
    duckdb_store,
    make_pipeline,
    run_window,
)
from pipeline_platform_tests.servers.postgres import PostgresServer
from pipeline_platform_tests.shop import open_shop

DAY = datetime(2024, 3, 10, tzinfo=timezone.utc)
EMPTY = "2024-03-12"
CHECKED = dg.DagsterEventType.ASSET_CHECK_EVALUATION


@pytest.fixture
def store(tmp_path: Path) -> DriveStore:
    """The 10th went well, the 11th was staged only, the 12th failed, the 13th was never run."""
    create_duckdb_orders(tmp_path / "source.duckdb", [DAY, DAY + timedelta(days=1)], 10)
    store = duckdb_store(tmp_path)
    run_window(orders(tmp_path), store, "2024-03-10")
    run_window(orders(tmp_path), store, "2024-03-11", steps=("source", "stage"))
    with pytest.raises(StepFailedError):
        run_window(orders(tmp_path), store, EMPTY)
    return store


def orders(folder: Path) -> Pipeline:
    return make_pipeline(duckdb_config(query_window={"on_empty_window": "fail"}), folder)


@pytest.mark.parametrize(
    ("failed_only", "missing_only", "days"),
    [(False, False, [10, 11, 12, 13]), (True, False, [12]), (False, True, [11, 13]),
     (True, True, [11, 12, 13])],
)  # fmt: skip
def test_failed_and_missing(
    store: DriveStore, tmp_path: Path, failed_only: bool, missing_only: bool, days: list[int]
) -> None:
    found = plan_backfill(
        orders(tmp_path), store, "2024-03-10", "2024-03-14",
        failed_only=failed_only, missing_only=missing_only,
    )  # fmt: skip
    assert [window.start.day for window in found.windows] == days
    assert found.left_alone == 4 - len(days)
    assert found.failed_before == {datetime(2024, 3, 12, tzinfo=timezone.utc)}


def test_a_run_that_died_counts_as_failed(store: DriveStore, tmp_path: Path) -> None:
    pipeline = orders(tmp_path)
    row = run_window(pipeline, store, "2024-03-10", force=True)
    record = store.latest_record("orders")
    assert record is not None
    window = pipeline.windows.window_of_key("2024-03-13")
    fresh = replace(
        record, window_start_time=window.start, window_end_time=window.end, pipeline_id="x"
    )
    claim = store.claim(fresh, "dead", lease_seconds=600)
    assert claim is not None
    running = replace(
        row, pipeline_id="orders_20240313T0000Z_run1", pipeline_status="RUNNING",
        query_window_start_timestamp=window.start, query_window_end_timestamp=window.end,
        epoch=claim.epoch, dagster_run_id="dead",
    )  # fmt: skip
    store.save(claim, None, running)

    def chosen(**flags: bool) -> list[int]:
        found = plan_backfill(pipeline, store, "2024-03-13", "2024-03-14", **flags)
        return [one.start.day for one in found.windows]

    assert chosen(failed_only=True) == []
    assert chosen(missing_only=True) == []
    store.heartbeat(claim, lease_seconds=-1)
    assert chosen(failed_only=True) == [13]
    assert chosen(missing_only=True) == []


def test_bounds_are_half_open_and_windows_not_ready_wait(tmp_path: Path) -> None:
    store = duckdb_store(tmp_path)
    hourly = make_pipeline(duckdb_config(query_window={"duration": "6h"}), tmp_path)
    found = plan_backfill(hourly, store, "2024-03-10-06:00", "2024-03-11")
    keys = [window.key for window in found.windows]
    assert keys == ["2024-03-10-06:00", "2024-03-10-12:00", "2024-03-10-18:00"]
    today = datetime.now(timezone.utc).date()
    future = plan_backfill(
        hourly, store, (today - timedelta(days=1)).isoformat(),
        (today + timedelta(days=2)).isoformat(),
    )  # fmt: skip
    assert future.not_ready + len(future.windows) == 12
    assert 4 <= len(future.windows) <= 8
    assert all(window.end <= store.now() for window in future.windows)


@pytest.mark.parametrize(
    ("begin", "end", "says"),
    [
        ("2024-03-10", "2024-03-10", "--to is exclusive"),
        ("2023-03-10", "2023-04-10", "windows begin on 2024-01-01"),
        ("2024-03-10-07:00", "2024-03-11", "Keys look like"),
        ("yesterday", "2024-03-11", "Keys look like"),
    ],
)
def test_ranges_without_a_window(tmp_path: Path, begin: str, end: str, says: str) -> None:
    hourly = make_pipeline(duckdb_config(query_window={"duration": "6h"}), tmp_path)
    with pytest.raises(ConfigurationError, match=says):
        plan_backfill(hourly, duckdb_store(tmp_path), begin, end)


@pytest.mark.timeout(300)
def test_one_poisoned_window_and_its_repair(
    tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_shop(tmp_path / "clone", postgres_server) as shop:
        fails = shop.config(query_window={"on_empty_window": "fail"})
        shop.write("shop", "WindowedPipeline", fails)
        poisoned = "placed_at >= '2024-03-10T10:30Z' AND placed_at < '2024-03-10T12:00Z'"
        with shop.database.connect() as connection:
            connection.execute(f"CREATE TABLE gone AS SELECT * FROM orders WHERE {poisoned}")
            connection.execute(f"DELETE FROM orders WHERE {poisoned}")
        reach = ("--from", "2024-03-10-09:00", "--to", "2024-03-10-13:30")

        done = shop.command("backfill", "shop", *reach)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "3 windows to run, 2024-03-10-09:00 to 2024-03-10-12:00." in done.stdout
        assert "3 windows: 2 succeeded, 1 failed" in done.stdout
        assert "The source holds no row of this window." in done.stdout
        statuses = {key: [status for status, *_ in shop.runs(f"2024-03-10-{key}")]
                    for key in ("09:00", "10:30", "12:00")}  # fmt: skip
        assert statuses == {"09:00": ["SUCCESS"], "10:30": ["FAILED"], "12:00": ["SUCCESS"]}

        with shop.database.connect() as connection:
            connection.execute("INSERT INTO orders SELECT * FROM gone")
        done = shop.command("backfill", "shop", *reach, "--failed-only")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 window to run, 2024-03-10-10:30 to 2024-03-10-10:30; 2 windows left alone." in (
            done.stdout
        )
        assert "1 window: 1 succeeded (1 healed), 0 failed" in done.stdout
        done = shop.command("backfill", "shop", *reach, "--failed-only", "--missing-only")
        assert done.returncode == 0
        assert done.stdout == "0 windows to run; 3 windows left alone.\n"
        assert len(shop.runs("2024-03-10-09:00")) == 1
        assert shop.rows("SELECT count(*), count(DISTINCT id) FROM analytics.orders") == [(30, 30)]

        monkeypatch.chdir(shop.folder)
        with dg.DagsterInstance.from_config(str(shop.folder)) as instance:
            runs = instance.get_runs()
            assert len({run.tags["pipeline_platform/backfill"] for run in runs}) == 2
            checks = [
                entry.dagster_event.asset_check_evaluation_data
                for run in reversed(list(runs))
                for entry in instance.all_logs(run.run_id, of_type=CHECKED)
                if entry.dagster_event
            ]
        verdicts = {
            key: [one.passed for one in checks if (one.partition, one.check_name) == (key, "ready")]
            for key in ("2024-03-10-09:00", "2024-03-10-10:30")
        }
        assert verdicts == {"2024-03-10-09:00": [True], "2024-03-10-10:30": [False, True]}

"""Pipelines for tests: small tables in real systems, and a way to run a window without Dagster."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from pipeline_platform.config.load import parse_config
from pipeline_platform.config.systems import DuckDBState, PostgresState
from pipeline_platform.connections.duckdb_kept_open import duckdb_kept_open
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.run import RunRequest
from pipeline_platform.flow.step import STEPS, perform
from pipeline_platform_tests.servers.postgres import Database

LOG = logging.getLogger("pipeline_platform_tests")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def duckdb_config(name: str = "orders", **changes: Any) -> dict[str, Any]:
    """A daily UTC pipeline from one DuckDB file to another."""
    config: dict[str, Any] = {
        "pipeline_metadata": {"pipeline_name": name},
        "schedule": {"timezone": "UTC", "start_date": "2024-01-01"},
        "query_window": {"duration": "1d"},
        "source_system": {
            "type": "duckdb", "path": "source.duckdb", "table": "orders",
            "query_field": "placed_at",
        },
        "stage_system": {"type": "local", "path": "stage"},
        "target_system": {
            "type": "duckdb", "path": "warehouse.duckdb", "schema": "analytics", "table": "orders",
        },
        "retry": {"max_retries": 3, "backoff_strategy": "none"},
    }  # fmt: skip
    return merged(config, changes)


def postgres_config(database: Database, name: str = "orders", **changes: Any) -> dict[str, Any]:
    """A daily UTC pipeline inside one PostgreSQL database."""
    config = duckdb_config(name)
    config["source_system"] = {
        "type": "postgres", **database.as_config(), "schema": "public", "table": "orders",
        "query_field": "placed_at",
    }  # fmt: skip
    config["target_system"] = {
        "type": "postgres", **database.as_config(), "schema": "analytics", "table": "orders",
    }  # fmt: skip
    return merged(config, changes)


def make_pipeline(config: Mapping[str, Any], base_dir: Path) -> Pipeline:
    """The pipeline of a config, with relative paths below `base_dir`."""
    loaded = parse_config(config, base_dir=base_dir)
    return Pipeline(loaded.config, loaded.base_dir)


def duckdb_store(base_dir: Path) -> DriveStore:
    """State in the test's own warehouse file."""
    store = build_store(
        DuckDBState.model_validate({"type": "duckdb", "path": "warehouse.duckdb"}),
        base_dir=base_dir,
    )
    store.migrate()
    return store


def postgres_store(database: Database, base_dir: Path) -> DriveStore:
    """State in the test's own database."""
    state = PostgresState.model_validate({"type": "postgres", **database.as_config()})
    store = build_store(state, base_dir=base_dir)
    store.migrate()
    return store


def run_window(
    pipeline: Pipeline,
    store: DriveStore,
    key: str,
    *,
    steps: Sequence[str] = tuple(STEPS),
    force: bool = False,
    restate: bool = False,
    run_id: str | None = None,
    held_wait_seconds: float = 0.0,
    keep_open: bool = True,
) -> ExecutionRow:
    """What one Dagster run does with a window; raises StepFailedError as the assets see it.

    `keep_open`: DuckDB files stay open meanwhile, as they do in a step of Dagster.
    """
    owner = run_id or uuid.uuid4().hex
    window = pipeline.windows.window_of_key(key)
    with duckdb_kept_open() if keep_open else nullcontext():
        for step in steps:
            request = RunRequest(
                run_id=owner,
                first=step == steps[0],
                last=step == steps[-1],
                force=force,
                restate=restate,
                held_wait_seconds=held_wait_seconds,
            )
            given = perform(step, pipeline, window, store, request, LOG).handover
            store.save(given.claim, given.record, given.row, release=given.release)
        row = store.run_of(pipeline.name, owner)
    assert row is not None
    return row


def create_duckdb_orders(path: Path, days: Sequence[datetime], rows_per_day: int = 100) -> None:
    """Table `orders(id, placed_at, amount, note, updated_at)` with rows spread over each day."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS orders (id BIGINT, placed_at TIMESTAMPTZ, "
            "amount DECIMAL(12, 2), note VARCHAR, updated_at TIMESTAMPTZ)"
        )
        for number, day in enumerate(days):
            connection.execute(
                "INSERT INTO orders SELECT i + ?, ?::TIMESTAMPTZ + i * (INTERVAL 1 DAY / ?), "
                "(i % 1000) / 7, CASE WHEN i % 5 = 0 THEN NULL ELSE 'n' || i END, ?::TIMESTAMPTZ "
                "FROM range(?) AS t(i)",
                [number * rows_per_day, day, rows_per_day, day, rows_per_day],
            )


def create_postgres_orders(
    database: Database, days: Sequence[datetime], rows_per_day: int = 100
) -> None:
    """The same table in PostgreSQL."""
    with database.connect() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS orders (id BIGINT, placed_at TIMESTAMPTZ, "
            "amount NUMERIC(12, 2), note TEXT, updated_at TIMESTAMPTZ)"
        )
        for number, day in enumerate(days):
            connection.execute(
                "INSERT INTO orders SELECT i + %s, %s + i * (INTERVAL '1 day' / %s), "
                "(i %% 1000) / 7.0, CASE WHEN i %% 5 = 0 THEN NULL ELSE 'n' || i END, %s "
                "FROM generate_series(0, %s - 1) AS t(i)",
                [number * rows_per_day, day, rows_per_day, day, rows_per_day],
            )

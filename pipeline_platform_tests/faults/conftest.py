"""A world of many small windows, and a process to run them in that may be killed."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform_tests import pipelines
from pipeline_platform_tests.faults.connectors import reads_of
from pipeline_platform_tests.flow.conftest import World, make_world, tmp_path

__all__ = ["make_world", "tmp_path"]

FIRST = datetime(2024, 5, 1, tzinfo=timezone.utc)
DAYS = 70
ROWS = 20
ROOT = Path(__file__).parent.parent.parent


@dataclass
class Windows:
    """Daily windows; each test step takes a fresh one, so that all share one set of tables."""

    world: World

    def config(self) -> dict[str, Any]:
        """The pipeline, with a source that counts its reads and gives three batches a window."""
        database = self.world.database
        config = pipelines.postgres_config(database) if database else pipelines.duckdb_config()
        real = {**config["source_system"], "batch_rows": 8}
        config["source_system"] = {
            "type": "pipeline_platform_tests.faults.connectors:WatchedSource",
            "query_field": "placed_at",
            "options": {"system": real},
        }
        return config

    def key(self, number: int) -> str:
        assert number < DAYS
        return (FIRST + timedelta(days=number)).date().isoformat()

    def expire_leases(self) -> None:
        """As if the lease's five minutes had passed."""
        self.world.at_target(
            "UPDATE pipeline_platform.pipeline_records "
            "SET lease_until = lease_until - INTERVAL '1 hour' WHERE owner IS NOT NULL"
        )

    def has_manifest(self, key: str) -> bool:
        """Whether the newest attempt of the window is whole."""
        window = self.world.folder / "stage" / "orders" / f"{key.replace('-', '')}T000000Z"
        attempts = sorted(window.glob("run*"), key=lambda path: int(path.name[3:]))
        return bool(attempts) and (attempts[-1] / "manifest.json").exists()

    def reads(self, key: str) -> int:
        return reads_of(self.world.folder, key)

    def require_right(self, keys: list[str]) -> None:
        """Target rows are the source's, runs are closed, records completed, one commit each."""
        days = ", ".join(f"'{key}'" for key in keys)
        of_days = f"CAST(placed_at AS DATE) IN ({days})"
        columns = "id, placed_at, amount, note, updated_at"
        expected = self.world.at_source(f"SELECT {columns} FROM orders WHERE {of_days} ORDER BY 1")
        assert len(expected) == ROWS * len(keys)
        found = self.world.at_target(
            f"SELECT {columns} FROM analytics.orders WHERE {of_days} ORDER BY 1"
        )
        assert found == expected
        assert self.world.at_target("SELECT count(*) FROM analytics.orders") == [(len(expected),)]
        drive = "pipeline_platform.pipeline_execution_drive"
        assert not self.world.at_target(f"SELECT 1 FROM {drive} WHERE pipeline_status = 'RUNNING'")
        assert self.world.at_target(
            "SELECT count(*) FROM pipeline_platform.pipeline_records "
            "WHERE pipeline_status = 'COMPLETED' AND audit_result = 'PASS' AND owner IS NULL"
        ) == [(len(keys),)]
        assert self.world.at_target(
            "SELECT count(*) FROM analytics.orders_window_commits "
            f"WHERE audit_result = 'PASS' AND target_rows = {ROWS}"
        ) == [(len(keys),)]


@pytest.fixture(params=("duckdb", "postgres"))
def windows(request: pytest.FixtureRequest, make_world: Callable[[str], World]) -> Windows:
    world = make_world(request.param)
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    world.at_source("DELETE FROM orders")
    if world.database is not None:
        pipelines.create_postgres_orders(world.database, days, ROWS)
    else:
        pipelines.create_duckdb_orders(world.folder / "source.duckdb", days, ROWS)
    return Windows(replace(world))


RunInProcess = Callable[..., int]


@pytest.fixture
def in_process(windows: Windows) -> Iterator[RunInProcess]:
    """Runs a window in a process of its own; returns the exit code."""
    world = windows.world
    state = {"type": "postgres", **world.database.as_config()} if world.database else {
        "type": "duckdb", "path": "warehouse.duckdb"}  # fmt: skip
    config = windows.config()
    worker = subprocess.Popen(
        [sys.executable, "-m", "pipeline_platform_tests.faults.worker"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None

    def run(key: str, fault: str | None = None) -> int:
        assert worker.stdin is not None
        assert worker.stdout is not None
        files = [] if fault or world.database else ["warehouse.duckdb"]
        order = {"folder": str(world.folder), "config": config, "state": state, "key": key,
                 "fault": fault, "keep_open": files}  # fmt: skip
        worker.stdin.write(json.dumps(order) + "\n")
        worker.stdin.flush()
        return int(worker.stdout.readline())

    yield run
    worker.stdin.close()
    worker.wait(30)
    worker.stdout.close()

"""Three pipelines under a real daemon: one just switched on, one that stood still, one by hand.

All of their tables and the drive table are in PostgreSQL, so that runs may go side by side.
"""

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_platform.automation.due_windows import Cursor, RequestedRuns, look
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform_tests.pipelines import (
    make_pipeline,
    merged,
    postgres_config,
    postgres_store,
    run_window,
)
from pipeline_platform_tests.servers.dagster_project import DagsterProject
from pipeline_platform_tests.servers.postgres import Database

ARRIVALS, SHIPMENTS, ORDERS = "arrivals", "shipments", "orders"
STANDSTILL = timedelta(days=2)
MOST_PER_TICK = 2
POISONED_DAY = "2024-01-03"


class Daemon:
    """The project, its database, and the configs of its pipelines."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.project = DagsterProject(folder)
        shutil.rmtree(folder / "pipeline_platform/defs/flights")
        self.project.settings(concurrency={"runs": {"max_concurrent_runs": 2}})
        self.project.component(
            "drive_table", "DriveTable", {"type": "postgres", **database.as_config()}
        )
        now = datetime.now(timezone.utc)
        yesterday = (now - timedelta(days=1)).date().isoformat()
        days_ago = (now - timedelta(days=5)).date().isoformat()
        self.configs: Mapping[str, dict[str, Any]] = {
            ARRIVALS: self._config(
                ARRIVALS,
                schedule={"start_date": yesterday, "catchup": False, "automatic": True},
                query_window={"duration": "1m", "x_time_back": "2s"},
            ),
            SHIPMENTS: self._config(
                SHIPMENTS,
                schedule={"start_date": days_ago, "max_windows_per_tick": MOST_PER_TICK},
                query_window={"duration": "12h"},
            ),
            ORDERS: self._config(
                ORDERS,
                schedule={"start_date": "2024-01-01", "end_date": "2024-01-05"},
                source_system={"required_fields": ["amount"], "lock_timeout_seconds": 0.3},
                recheck={"enabled": True, "every": "1s"},
            ),
        }
        for name, config in self.configs.items():
            self._create_table(name)
            self.project.component(name, "WindowedPipeline", config)

    def pipeline(self, name: str) -> Pipeline:
        """The pipeline as the daemon's own processes build it."""
        return make_pipeline(self.configs[name], self.project.folder)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def insert(self, name: str, start: str, end: str, step: str) -> None:
        """Rows at `start`, `start + step`, ..., up to `end`; all three are SQL."""
        with self.database.connect() as connection:
            connection.execute(
                f"INSERT INTO public.{name} SELECT 1, placed_at "
                f"FROM generate_series({start}, {end}, {step}) AS placed_at".encode()
            )

    def live_until(self, moment: datetime) -> Cursor:
        """What a daemon left that ran the shipments up to this moment and then stopped."""
        shipments = self.pipeline(SHIPMENTS)
        store = postgres_store(self.database, self.project.folder)
        cursor: Cursor | None = None
        with dg.DagsterInstance.ephemeral() as instance:
            while cursor is None or cursor.waiting:
                tick = look(shipments, store, moment, cursor, RequestedRuns(instance))
                cursor = Cursor.parse(tick.cursor)
                assert cursor is not None
                for request in tick.run_requests or []:
                    assert request.partition_key is not None
                    run_window(shipments, store, request.partition_key)
        return cursor

    def _config(self, name: str, **changes: Any) -> dict[str, Any]:
        own = {
            "source_system": {"table": name},
            "stage_system": {"path": "data/stage"},
            "target_system": {"table": name},
            "retry": {"max_retries": 5, "backoff_strategy": "none"},
        }
        return postgres_config(self.database, name, **merged(own, changes))

    def _create_table(self, name: str) -> None:
        with self.database.connect() as connection:
            connection.execute(
                f"CREATE TABLE public.{name} (amount NUMERIC, placed_at TIMESTAMPTZ)".encode()
            )

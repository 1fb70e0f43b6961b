"""The pipeline `shop` in a copy of the project, as a user runs it by commands: 90 minute windows in
UTC, PostgreSQL to PostgreSQL, the drive table in PostgreSQL too."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from pipeline_platform_tests.fresh_clone import clean_environment, copy_work_tree, run
from pipeline_platform_tests.pipelines import create_postgres_orders, merged
from pipeline_platform_tests.servers.postgres import Database, PostgresServer

PASSWORD = "hunter2-from-the-environment"
ROWS_A_DAY = 160


class Shop:
    """A copy of the project with the pipeline `shop`, and its database."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = copy_work_tree(folder)
        self.database = database
        state = {"type": "postgres", **database.as_config(), "schema": "state"}
        self.write("drive_table", "DriveTable", state)
        self.write("shop", "WindowedPipeline", self.config())

    def config(self, **changes: Any) -> dict[str, Any]:
        connection = {
            "type": "postgres", **self.database.as_config(), "password": "env:SHOP_DB_PASSWORD",
        }  # fmt: skip
        config: dict[str, Any] = {
            "pipeline_metadata": {"pipeline_name": "shop"},
            "schedule": {"timezone": "UTC", "start_date": "2024-03-01"},
            "query_window": {"duration": "90m"},
            "source_system": {
                **connection, "schema": "public", "table": "orders", "query_field": "placed_at",
            },
            "stage_system": {"type": "local", "path": "data/stage"},
            "target_system": {**connection, "schema": "analytics", "table": "orders"},
            "retry": {"max_retries": 2, "backoff_strategy": "linear", "backoff_seconds": 1},
        }  # fmt: skip
        return merged(config, changes)

    def write(self, name: str, kind: str, attributes: dict[str, Any]) -> None:
        file = self.folder / "pipeline_platform/defs" / name / "defs.yaml"
        file.parent.mkdir(exist_ok=True)
        component = {"type": f"pipeline_platform.{kind}", "attributes": attributes}
        file.write_text(yaml.safe_dump(component))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline_platform.cli", *arguments],
            cwd=self.folder,
            env=clean_environment(SHOP_DB_PASSWORD=PASSWORD),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        done = run(
            [sys.executable, "-m", "pipeline_platform.cli", *arguments],
            self.folder,
            env={"SHOP_DB_PASSWORD": PASSWORD, **environment},
        )
        for text in (done.stdout, done.stderr):
            assert "Traceback" not in text, text
            assert PASSWORD not in text
            assert "\x1b" not in text
            assert "dagster" not in text.replace(str(self.folder), "").lower() or done.returncode
        return done

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            return connection.execute(statement.encode()).fetchall()

    def runs(self, window: str) -> list[tuple[Any, ...]]:
        start = datetime.strptime(window, "%Y-%m-%d-%H:%M").replace(tzinfo=timezone.utc)
        return self.rows(
            "SELECT pipeline_status, pipeline_retry_number, pipeline_start_timestamp "
            "FROM state.pipeline_execution_drive WHERE query_window_start_timestamp = "
            f"'{start.isoformat()}' ORDER BY epoch"
        )


@contextmanager
def open_shop(folder: Path, server: PostgresServer) -> Iterator[Shop]:
    """A shop with ten rows in each window of 2024-03-10."""
    database = server.new_database()
    create_postgres_orders(database, [datetime(2024, 3, 10, tzinfo=timezone.utc)], ROWS_A_DAY)
    yield Shop(folder, database)
    server.drop(database)

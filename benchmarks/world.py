"""One pipeline with its systems, embedded or on PostgreSQL, ready to be measured."""

import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from benchmarks.data import create_duckdb_rows, create_postgres_rows
from pipeline_platform.connections.duckdb_kept_open import duckdb_kept_open
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.run import RunRequest
from pipeline_platform.flow.step import STEPS, perform
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.servers.postgres import Database, PostgresServer

EMBEDDED, POSTGRES = "duckdb", "postgres"
KINDS = (EMBEDDED, POSTGRES)
_LOG = logging.getLogger("benchmarks")


@dataclass
class World:
    """Source table `orders`, a stage folder, target table `analytics.orders` and a drive table."""

    kind: str
    folder: Path
    store: DriveStore
    database: Database | None
    log: Path | None = None
    """The log of the PostgreSQL server."""
    source: Mapping[str, Any] | None = None
    """The config of a source that is neither of the two."""

    def config(self, **changes: Any) -> Mapping[str, Any]:
        """The pipeline `orders`, daily in UTC."""
        if self.source is not None:
            embedded = pipelines.duckdb_config() | {"source_system": self.source}
            return pipelines.merged(embedded, changes)
        if self.database is not None:
            return pipelines.postgres_config(self.database, **changes)
        return pipelines.duckdb_config(**changes)

    def pipeline(self, **changes: Any) -> Pipeline:
        """That pipeline with fresh connectors."""
        return pipelines.make_pipeline(self.config(**changes), self.folder)

    def move(self, pipeline: Pipeline, key: str) -> ExecutionRow:
        """Run a window's five steps as their assets do, without Dagster; it must succeed."""
        window, steps, owner = pipeline.windows.window_of_key(key), list(STEPS), uuid.uuid4().hex
        for step in steps:
            request = RunRequest(owner, first=step == steps[0], last=step == steps[-1], force=True)
            with duckdb_kept_open():
                done = perform(step, pipeline, window, self.store, request, _LOG).handover
                self.store.save(done.claim, done.record, done.row, release=done.release)
        assert done.row.pipeline_status == "SUCCESS"
        return done.row

    def at_target(self, statement: str) -> None:
        """Run a statement on the target's database."""
        if self.database is not None:
            with self.database.connect() as connection:
                connection.execute(statement.encode())
        else:
            with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
                connection.execute(statement)

    def forget_window(self) -> None:
        """Empty stage and target: the next run of a window finds what the first one found."""
        shutil.rmtree(self.folder / "stage", ignore_errors=True)
        self.empty_target()

    def empty_target(self) -> None:
        """Empty target and commit table; they stay, with their indexes."""
        for table in ("orders", "orders_window_commits"):
            self.at_target(f"TRUNCATE analytics.{table}")
        self.settle()

    def settle(self) -> None:
        """Let the server and the disk finish what earlier samples left behind."""
        self.at_target("CHECKPOINT")
        os.sync()


@contextmanager
def make_world(
    kind: str, server: PostgresServer | None, rows_of_days: list[int]
) -> Iterator[World]:
    """A world with so many rows in each day at the source; gone on leaving."""
    with TemporaryDirectory(prefix="pipeline-platform-bench-") as name:
        folder = Path(name)
        if kind == EMBEDDED:
            create_duckdb_rows(folder / "source.duckdb", rows_of_days)
            yield World(kind, folder, pipelines.duckdb_store(folder), None)
            return
        assert server is not None
        database = server.new_database()
        try:
            create_postgres_rows(database, rows_of_days)
            store = pipelines.postgres_store(database, folder)
            yield World(kind, folder, store, database, server.folder / "log")
        finally:
            server.drop(database)

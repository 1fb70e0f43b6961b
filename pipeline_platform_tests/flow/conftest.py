"""A world per test: a source table, a pipeline and a drive store, on DuckDB and on PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline_platform.connections.duckdb_kept_open import let_go_of_reader
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.servers.postgres import Database, PostgresServer

DAY = datetime(2024, 3, 10, tzinfo=timezone.utc)
KEY = "2024-03-10"
ROWS = 100
KINDS = ("duckdb", "postgres")


@dataclass
class World:
    """One source table, one target table and their state."""

    kind: str
    folder: Path
    store: DriveStore
    database: Database | None

    def pipeline(self, **changes: Any) -> Pipeline:
        """The pipeline `orders`, daily in UTC, with changes to its config."""
        if self.database is not None:
            config = pipelines.postgres_config(self.database, **changes)
        else:
            config = pipelines.duckdb_config(**changes)
        return pipelines.make_pipeline(config, self.folder)

    def at_source(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the source's database."""
        return self._execute(self.folder / "source.duckdb", statement)

    def at_target(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the target's database."""
        return self._execute(self.folder / "warehouse.duckdb", statement)

    def rows(self) -> list[tuple[Any, ...]]:
        """Everything in the target table, in a fixed order."""
        return self.at_target(
            "SELECT id, placed_at, amount, note, updated_at, "
            "_pipeline_name, _pipeline_window_start FROM analytics.orders ORDER BY 2, 1"
        )

    def source_rows(self) -> list[tuple[Any, ...]]:
        """What the source holds of all windows, in the same order."""
        return self.at_source(
            "SELECT id, placed_at, amount, note, updated_at FROM orders ORDER BY 2, 1"
        )

    def _execute(self, file: Path, statement: str) -> list[tuple[Any, ...]]:
        if self.database is not None:
            with self.database.connect() as connection:
                connection.execute("SET TIME ZONE 'UTC'")
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []
        let_go_of_reader(file)  # in the middle of a run, which keeps its source open
        with duckdb.connect(str(file)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(statement).fetchall()


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, make_world: Callable[[str], World]) -> Iterator[World]:
    """Keeps a DuckDB file open meanwhile: opening it is most of what a small window takes."""
    made = make_world(request.param)
    with ExitStack() as stack:
        if made.database is None:
            stack.enter_context(duckdb.connect(str(made.folder / "warehouse.duckdb")))
        yield made


@pytest.fixture
def make_world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], World]]:
    databases: list[tuple[PostgresServer, Database]] = []

    def make(kind: str) -> World:
        days = [DAY + timedelta(days=number) for number in (-1, 0, 1)]
        if kind == "duckdb":
            pipelines.create_duckdb_orders(tmp_path / "source.duckdb", days, ROWS)
            return World(kind, tmp_path, pipelines.duckdb_store(tmp_path), None)
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = server.new_database()
        databases.append((server, database))
        pipelines.create_postgres_orders(database, days, ROWS)
        return World(kind, tmp_path, pipelines.postgres_store(database, tmp_path), database)

    yield make
    for server, database in databases:
        server.drop(database)

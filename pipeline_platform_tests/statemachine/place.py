"""Where the machine works: a real source, stage, target and drive store, emptied per example."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.servers.postgres import Database

DAYS = ("2024-03-10", "2024-03-11")

# Whatever the source holds may be moved; a superseded attempt is removed at once; an audit that
# mismatches is the last one, so that its recovery deletes the window from the target.
SETTINGS: dict[str, Any] = {
    "source_system": {"change_field": "updated_at", "batch_rows": 2},
    "query_window": {"max_shrink_percent": 100, "on_empty_window": "allow"},
    "phases": {
        "audit": {"on_final_mismatch": "delete"},
        "stage_cleaning": {"enabled": True, "superseded_grace_hours": 0},
    },
    "retry": {"max_retries": 0},
}


class Place(ABC):
    """A pair of target and store plugs in with a config, a store and a way to run SQL.

    The config's pipeline is daily in UTC, from `orders` to `analytics.orders`, with `SETTINGS`;
    the store keeps its state in the schema `pipeline_platform` of the target's database.
    """

    folder: Path
    pipeline: Pipeline
    store: DriveStore

    @abstractmethod
    def at_source(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement behind the platform's back; values are bound as $1, $2 ..."""

    @abstractmethod
    def at_target(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The same where the target and the drive table are."""

    def clear(self) -> None:
        """Everything as on the first day."""
        self.at_target("DROP SCHEMA IF EXISTS analytics CASCADE")
        self.lose_drive_table()
        self.at_source("DELETE FROM orders")
        shutil.rmtree(self.folder / "stage", ignore_errors=True)
        window = self.pipeline.windows.window_of_key(DAYS[0])
        with self.pipeline.source.read(window.slice(self.pipeline.name)) as snapshot:
            self.pipeline.target.prepare(snapshot.schema)

    def lose_drive_table(self) -> None:
        self.at_target("DROP SCHEMA IF EXISTS pipeline_platform CASCADE")
        self.store.migrate()


class DuckDBPlace(Place):
    """Two files, held open: what a statement costs then is its own time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pipelines.create_duckdb_orders(folder / "source.duckdb", [])
        self.pipeline = pipelines.make_pipeline(pipelines.duckdb_config(**SETTINGS), folder)
        self._source = duckdb.connect(str(folder / "source.duckdb"))
        self._target = duckdb.connect(str(folder / "warehouse.duckdb"))
        for connection in (self._source, self._target):
            connection.execute("SET TimeZone = 'UTC'")
        self.store = pipelines.duckdb_store(folder)

    def at_source(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._source.execute(statement, list(values)).fetchall()

    def at_target(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._target.execute(statement, list(values)).fetchall()

    def close(self) -> None:
        self._source.close()
        self._target.close()


class PostgresPlace(Place):
    """One database for all."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        pipelines.create_postgres_orders(database, [])
        config = pipelines.postgres_config(database, **SETTINGS)
        self.pipeline = pipelines.make_pipeline(config, folder)
        self._connection = database.connect()
        self._connection.execute("SET TIME ZONE 'UTC'")
        self.store = pipelines.postgres_store(database, folder)

    def at_source(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.at_target(statement, values)

    def at_target(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with psycopg.RawCursor(self._connection) as cursor:
            cursor.execute(statement.encode(), list(values) or None, prepare=False)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self._connection.close()

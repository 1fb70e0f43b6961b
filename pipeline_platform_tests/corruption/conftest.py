"""A pipeline into each target, with a window of its own for each planted corruption."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.corruption.plants import Files, Plant
from pipeline_platform_tests.targets.snowflake_schema import SnowflakeSchema
from pipeline_platform_tests.targets.test_duckdb import DuckDBFile
from pipeline_platform_tests.targets.test_postgres import PostgresDatabase
from pipeline_platform_tests.targets.warehouse import Warehouse

AFTER_STAGING = "save.after_commit"
# The files are verified before it and read after it.
WHILE_LOADING = "the last moment"
_LAST_POINT = {"snowflake": "copy.after_create"}
KINDS = ("duckdb", "postgres", "snowflake")
FIRST = datetime(2024, 4, 1, tzinfo=timezone.utc)
DAYS = 90
ROWS = 60
COLUMNS = "id, placed_at, amount, note, updated_at"


@dataclass
class Place:
    """One source and one target; windows are days, in three files of twenty rows each."""

    kind: str
    folder: Path
    warehouse: Warehouse
    store: DriveStore
    target: Mapping[str, Any]
    used: int = 0
    loaded: set[str] = field(default_factory=set)

    def pipeline(self, **target: Any) -> Pipeline:
        files = {"rows_per_file": 20, "rows_per_group": 10}
        config = pipelines.duckdb_config(stage_system=files)
        config["source_system"]["batch_rows"] = 10
        config["target_system"] = {
            **self.target,
            "schema": "analytics",
            "table": "orders",
            **target,
        }
        return pipelines.make_pipeline(config, self.folder)

    def new_key(self) -> str:
        """A window that nothing was done with."""
        key = (FIRST + timedelta(days=self.used)).date().isoformat()
        self.used += 1
        assert self.used <= DAYS
        return key

    def run(self, key: str, pipeline: Pipeline | None = None, **options: Any) -> ExecutionRow:
        row = pipelines.run_window(pipeline or self.pipeline(), self.store, key, **options)
        self.loaded.add(key)
        return row

    def stage_only(self, key: str) -> None:
        """What a run does that ends before the load."""
        pipelines.run_window(self.pipeline(), self.store, key, steps=("source", "stage"))

    def attempt(self, key: str) -> Path:
        """The window's newest attempt path."""
        window = self.folder / "stage" / "orders" / f"{key.replace('-', '')}T000000Z"
        attempts = sorted(window.glob("run*"), key=lambda path: int(path.name[3:]))
        return attempts[-1] if attempts else window

    def files(self, key: str) -> Files:
        manifest = json.loads((self.attempt(key) / "manifest.json").read_text())["manifest"]
        files = [self.attempt(key) / file["path"] for file in manifest["files"]]
        assert [file["rows"] for file in manifest["files"]] == [20, 20, 20]
        return files

    def damage(self, plant: Plant, key: str) -> None:
        """Plant it in the newest attempt; the manifest stays as it is."""
        plant(self.files(key), self.files(min(self.loaded)))

    @contextmanager
    def damaged_at(self, point: str, plant: Plant, key: str) -> Iterator[None]:
        """Plant it when the run reaches this fault point for the first time with a manifest."""
        if point == WHILE_LOADING:
            point = _LAST_POINT.get(self.kind, "load.before_begin")
        pending = [point]

        def hook(name: str) -> None:
            if pending == [name] and (self.attempt(key) / "manifest.json").exists():
                pending.clear()
                self.damage(plant, key)

        with fault_hook(hook):
            yield
        assert not pending, f"{point} was never reached"

    def of_day(self, key: str) -> list[tuple[Any, ...]]:
        """What the target shows of the window, without the loaded ones' metadata."""
        end = datetime.fromisoformat(key) + timedelta(days=1)
        found = self.warehouse.execute(
            f"SELECT {COLUMNS} FROM analytics.orders WHERE placed_at >= $1 AND placed_at < $2 "
            "ORDER BY id",
            [FIRST.fromisoformat(f"{key}T00:00:00+00:00"), end.replace(tzinfo=timezone.utc)],
        )
        return [tuple(map(_in_utc, row)) for row in found]

    def number(self) -> int:
        """Rows of all windows in the target."""
        ((number,),) = self.warehouse.execute("SELECT count(*) FROM analytics.orders")
        return int(number)

    def at_source(self, statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / "source.duckdb")) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(statement).fetchall()

    def expected(self, key: str) -> list[tuple[Any, ...]]:
        found = self.at_source(
            f"SELECT {COLUMNS} FROM orders WHERE placed_at::DATE = '{key}' ORDER BY id"
        )
        assert len(found) == ROWS
        return [tuple(map(_in_utc, row)) for row in found]

    def require_healed(self, key: str, **options: Any) -> ExecutionRow:
        """The next run of the window makes it right."""
        row = self.run(key, **options)
        assert (row.pipeline_status, row.phase_failed) == ("SUCCESS", None)
        assert self.of_day(key) == self.expected(key)
        return row


def _in_utc(value: Any) -> Any:
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


@pytest.fixture(scope="package", params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Its first window is loaded and stays right."""
    kind: str = request.param
    own = tmp_path_factory.mktemp(kind)
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    pipelines.create_duckdb_orders(own / "source.duckdb", days, ROWS)
    with ExitStack() as stack:
        store = pipelines.duckdb_store(own)
        # Opening and closing the file is most of what a small window takes.
        stack.enter_context(duckdb.connect(str(own / "warehouse.duckdb")))
        warehouse, target = _target(kind, own, request, stack)
        place = Place(kind, own, warehouse, store, target)
        first = place.new_key()
        place.require_healed(first)
        yield place
        assert place.of_day(first) == place.expected(first)


def _target(
    kind: str, folder: Path, request: pytest.FixtureRequest, stack: ExitStack
) -> tuple[Warehouse, dict[str, Any]]:
    if kind == "duckdb":
        warehouse = DuckDBFile(folder)
        warehouse.path = folder / "warehouse.duckdb"
        return warehouse, {"type": "duckdb", "path": "warehouse.duckdb"}
    if kind == "postgres":
        server = request.getfixturevalue("postgres_server")
        database = server.new_database()
        stack.callback(server.drop, database)
        return PostgresDatabase(database), {"type": "postgres", **database.as_config()}
    server = request.getfixturevalue("snowflake_server")
    database = server.new_database()
    stack.callback(server.drop, database)
    return SnowflakeSchema(database), {"type": "snowflake", **database.as_config()}

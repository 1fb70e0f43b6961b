"""Hostile names of columns, tables and schemas, from the source to each target (goal S1)."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform.query_field import QueryField
from pipeline_platform.quoting import quote_duckdb, quote_postgres, quote_snowflake
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.security.hostile import HOSTILE, LONG, NAMES, WORST
from pipeline_platform_tests.servers.postgres import PostgresServer
from pipeline_platform_tests.servers.snowflake import SnowflakeServer
from pipeline_platform_tests.targets import test_snowflake
from pipeline_platform_tests.targets.snowflake_schema import SnowflakeSchema
from pipeline_platform_tests.targets.staged import START, Staging
from pipeline_platform_tests.targets.test_duckdb import DuckDBFile
from pipeline_platform_tests.targets.test_postgres import PostgresDatabase
from pipeline_platform_tests.targets.warehouse import Warehouse

DAY = datetime(2024, 3, 10, tzinfo=timezone.utc)
KEY = "2024-03-10"
KINDS = ("duckdb", "postgres", "snowflake")
# Other names the test server makes SQL of without quoting them; for a real account all are sent.
OF_THE_TEST_SERVER = (
    *test_snowflake.TestSnowflakeTarget.HOSTILE_NAMES, "two words", "%s", "--", ";", "*", "1st",
)  # fmt: skip
OF_A_TABLE_THERE = ("Hostile", "t{0};--")


class Place:
    """A warehouse, its part of a config, and a table of the user's that has to stay as it is."""

    def __init__(
        self, kind: str, folder: Path, warehouse: Warehouse, target: dict[str, Any], *,
        any_name: bool = True,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.folder = folder
        self.warehouse = warehouse
        self.target = target
        self.any_name = any_name
        self.quote: Callable[[str], str] = {
            "duckdb": quote_duckdb, "postgres": quote_postgres, "snowflake": quote_snowflake
        }[kind]  # fmt: skip
        self.store: DriveStore = pipelines.duckdb_store(folder)
        self._runs = 0
        self._bait = "analytics.orders" if kind == "snowflake" else "orders"
        warehouse.execute(f"CREATE TABLE {self._bait} (kept integer)")
        warehouse.execute(f"INSERT INTO {self._bait} VALUES (1)")

    def require_unharmed(self) -> None:
        assert self.warehouse.execute(f"SELECT * FROM {self._bait}") == [(1,)]

    def can_name(self, name: str) -> bool:
        return self.any_name or name in OF_THE_TEST_SERVER

    def move(self, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """The row that arrives when a source has columns of these names, each holding its own."""
        self._runs += 1
        source = self.folder / f"source{self._runs}.duckdb"
        with duckdb.connect(str(source)) as connection:
            listed = ", ".join(f"{quote_duckdb(name)} VARCHAR" for name in names)
            connection.execute(f"CREATE TABLE t (placed_at TIMESTAMPTZ, {listed})")
            marks = ", ".join("?" for _ in names)
            connection.execute(f"INSERT INTO t VALUES (?, {marks})", [DAY, *names])
        table = f"t{self._runs}"
        config = pipelines.duckdb_config(
            f"p{self._runs}", source_system={"path": source.name, "table": "t", "safe_names": False}
        )
        config["target_system"] = {**self.target, "schema": "analytics", "table": table}
        row = pipelines.run_window(pipelines.make_pipeline(config, self.folder), self.store, KEY)
        assert row.pipeline_status == "SUCCESS"
        columns = ", ".join(self.quote(name) for name in names)
        return self.warehouse.execute(f"SELECT {columns} FROM analytics.{table}")


@pytest.fixture(scope="module", params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind)
    if kind == "duckdb":
        file = DuckDBFile(folder)
        own = {"type": "duckdb", "path": "data/warehouse.duckdb"}
        place = Place(kind, folder, file, own)
        # Opening and closing it is most of what a small load takes.
        with duckdb.connect(str(file.path)):
            yield place
        return
    server: Any = request.getfixturevalue(f"{kind}_server")
    database = server.new_database()
    if kind == "postgres":
        assert isinstance(server, PostgresServer)
        own = {"type": "postgres", **database.as_config()}
        yield Place(kind, folder, PostgresDatabase(database), own)
    else:
        assert isinstance(server, SnowflakeServer)
        schema = SnowflakeSchema(database)
        schema.execute("CREATE SCHEMA analytics")
        own = {"type": "snowflake", **database.as_config()}
        yield Place(kind, folder, schema, own, any_name=server.is_real)
    server.drop(database)


def apart(names: Sequence[str]) -> list[str]:
    """Without those that a warehouse takes for one and the same."""
    return list({name.casefold(): name for name in names if len(name.encode()) <= 63}.values())


def test_columns_of_hostile_names_arrive(place: Place) -> None:
    names = apart([name for name in HOSTILE if place.can_name(name)])
    assert len(names) > (30 if place.any_name else 9)
    assert place.move(names) == [tuple(names)]
    place.require_unharmed()


@given(names=st.lists(NAMES, min_size=9, max_size=20))
@settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("place", ["duckdb", "postgres"], indirect=True)
def test_columns_of_any_names_arrive_or_are_refused(place: Place, names: list[str]) -> None:
    """Some fall together once a warehouse folds them: then nothing is moved."""
    names = apart(names)
    refused: StepFailedError | None = None
    try:
        assert place.move(names) == [tuple(names)]
    except StepFailedError as failed:
        refused = failed
    if refused is not None:
        assert not refused.error.retryable
        assert refused.row is not None
        assert refused.row.phase_failed in ("pre_validation", "source_to_stage_transfer")
    place.require_unharmed()


@pytest.mark.parametrize("name", [*LONG, "a\0b", ""])
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(
    place: Place, name: str, tmp_path: Path
) -> None:
    """A NUL, and no name at all, can come from a connector of one's own only."""
    if name.startswith("ö") and not place.any_name:
        name = "x" * 200  # the test server has letters beyond ASCII in lower case only
    limits = {"duckdb": 256, "postgres": 63, "snowflake": 255}
    size = len(name.encode()) if place.kind == "postgres" else len(name)
    fits = 0 < size <= limits[place.kind] and "\0" not in name
    table = f"long_{size}_{'nul' if chr(0) in name else 'text'}_{ord((name or ' ')[0])}"
    stamps = pa.array([START], pa.timestamp("us", "UTC"))
    staged = pa.table({"created_at": stamps, name: pa.array(["x"])})
    target = place.warehouse.target(table=table, query_field=QueryField("created_at"))
    request = Staging(tmp_path).request(staged)
    if fits:
        target.prepare(staged.schema)
        target.load(request)
        assert place.warehouse.execute(f"SELECT count(*) FROM analytics.{table}") == [(1,)]
        return
    with pytest.raises(ConfigurationError):
        target.prepare(staged.schema)
    with pytest.raises((PipelineError, duckdb.Error, psycopg.Error)):
        target.load(request)
    place.require_unharmed()


def test_tables_and_schemas_of_hostile_names(place: Place, tmp_path: Path) -> None:
    """Each loads its own row into a table of its own, and nothing else changes."""
    # The commit table has the name with 15 characters more.
    pairs = [(n, n) for n in WORST] if place.any_name else [OF_A_TABLE_THERE]
    for epoch, (schema, name) in enumerate(pairs, 1):
        target = place.warehouse.target(schema=schema, table=name)
        request = Staging(tmp_path / str(epoch)).request(
            [{"id": epoch, "created_at": START, "amount": None, "price": 1.0, "name": name}]
        )
        target.prepare(request.manifest.schema)
        target.load(request)
        counts = target.count(request.manifest.attempt.window)
        assert (counts.by_window_column, counts.by_query_field) == (1, 1), name
        where = f"{place.quote(schema)}.{place.quote(name)}"
        assert place.warehouse.execute(f"SELECT name FROM {where}") == [(name,)]
    place.require_unharmed()

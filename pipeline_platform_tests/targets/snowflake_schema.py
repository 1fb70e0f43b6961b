"""A Snowflake schema under test."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_platform.config.snowflake import SnowflakeTarget
from pipeline_platform.connections.snowflake import connect_snowflake
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets import build_target
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase
from pipeline_platform_tests.targets.staged import every_type
from pipeline_platform_tests.targets.warehouse import CREATED_AT, Warehouse


class SnowflakeSchema(Warehouse):
    def __init__(self, database: SnowflakeDatabase) -> None:
        self.database = database

    def system(self, table: str = "orders", **settings: Any) -> SnowflakeTarget:
        fields = {"schema": "analytics", **self.database.as_config(), **settings}
        return SnowflakeTarget(type="snowflake", table=table, **fields)

    def target(
        self, *, table: str = "orders", query_field: QueryField = CREATED_AT, **settings: Any
    ) -> Target:
        system = self.system(table, **settings)
        return build_target(system, query_field=query_field, base_dir=Path())

    def execute(self, statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with connect_snowflake(self.system(), Path()) as session:
            return session.rows(statement, parameters or ())

    def wall_clock(self, column: str) -> str:
        return f"{column}::TIMESTAMP_NTZ"

    def everything(self) -> list[Any]:
        rows = self.execute("SELECT * FROM analytics.orders")
        commits = self.execute(
            "SELECT * FROM analytics.orders_window_commits WHERE pipeline_name <> ''"
        )
        return [sorted(map(repr, rows)), sorted(map(repr, commits))]

    def load_tables(self) -> list[str]:
        with connect_snowflake(self.system(), Path()) as session:
            shown = session.records("SHOW TABLES IN SCHEMA analytics")
        return sorted(name for name in (row["name"] for row in shown) if "_LOAD_" in name)


def types_of_the_test_server() -> pa.Table:
    """All but NUMBER(38,0) in full, which fakesnow keeps in 64 bits."""
    return every_type().drop_columns(["d38_0"])


def assert_equal(warehouse: Warehouse, table: pa.Table) -> None:
    """`analytics.orders` holds exactly these values."""
    stored = warehouse.execute("SELECT * FROM analytics.orders ORDER BY created_at")
    for position, name in enumerate(table.schema.names):
        staged = table[name]
        if pa.types.is_timestamp(staged.type):
            staged = staged.cast(pa.timestamp("us", staged.type.tz and "UTC"))
        found = [row[position] for row in stored]
        assert [*map(_comparable, found)] == [*map(_comparable, staged.to_pylist())], name


def _comparable(value: object) -> object:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bytearray):
        return bytes(value)
    return value

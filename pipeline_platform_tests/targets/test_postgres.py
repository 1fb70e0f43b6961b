"""The target contract on PostgreSQL."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from pipeline_platform.config.systems import PostgresTarget
from pipeline_platform.errors import DataError, PermanentError, ToleranceError, VerificationError
from pipeline_platform.movement import TargetCounts
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets import build_target
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.servers.postgres import Database
from pipeline_platform_tests.targets.contract import TargetContract
from pipeline_platform_tests.targets.contract_bucket import BucketContract
from pipeline_platform_tests.targets.staged import (
    HOUR,
    SCHEMA,
    START,
    WINDOW,
    Staging,
    at_epoch,
    rows_of,
)
from pipeline_platform_tests.targets.warehouse import CREATED_AT, ROWS, Warehouse

DROP_THREE = (
    "CREATE FUNCTION analytics.drop_some() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RETURN CASE WHEN NEW.id < 3 THEN NULL ELSE NEW END; END $$"
)


class PostgresDatabase(Warehouse):
    def __init__(self, database: Database) -> None:
        self.database = database

    def target(
        self, *, table: str = "orders", query_field: QueryField = CREATED_AT, **settings: Any
    ) -> Target:
        fields: dict[str, Any] = {"schema": "analytics", **self.database.as_config(), **settings}
        system = PostgresTarget(type="postgres", table=table, **fields)
        return build_target(system, query_field=query_field, base_dir=Path())

    def execute(self, statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            cursor = psycopg.RawCursor(connection)
            cursor.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


def comparable(value: object) -> object:
    if isinstance(value, float):
        return repr(value)
    return value


class TestPostgresTarget(TargetContract, BucketContract):
    @pytest.fixture
    def warehouse(self, postgres: Database) -> PostgresDatabase:
        return PostgresDatabase(postgres)

    def assert_equal(self, warehouse: Warehouse, table: pa.Table) -> None:
        stored = warehouse.execute("SELECT * FROM analytics.orders ORDER BY created_at")
        for position, name in enumerate(table.schema.names):
            staged = table[name]
            if pa.types.is_float32(staged.type):
                found = pa.array([row[position] for row in stored], pa.float32()).to_pylist()
            else:
                found = [row[position] for row in stored]
            if pa.types.is_timestamp(staged.type):
                staged = staged.cast(pa.timestamp("us", staged.type.tz and "UTC"))
            assert [*map(comparable, found)] == [*map(comparable, staged.to_pylist())], name

    def test_indexes_window_and_query_field(
        self, warehouse: PostgresDatabase, target: Target
    ) -> None:
        indexes = warehouse.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'orders'")
        listed = " ".join(row[0] for row in indexes)
        assert "(_pipeline_window_start, _pipeline_name)" in listed
        assert "(created_at)" in listed

    @pytest.mark.fault_row(19)
    def test_a_trigger_that_drops_rows(
        self, warehouse: PostgresDatabase, target: Target, staging: Staging
    ) -> None:
        warehouse.execute(DROP_THREE)
        warehouse.execute(
            "CREATE TRIGGER t BEFORE INSERT ON analytics.orders FOR EACH ROW "
            "EXECUTE FUNCTION analytics.drop_some()"
        )
        request = staging.request(ROWS, tolerance="13")
        with pytest.raises(ToleranceError):
            target.load(request)
        assert target.count(WINDOW) == TargetCounts(0, 0)
        result = target.load(staging.request(ROWS, tolerance="13.1"))
        assert (result.commit.stage_rows, result.commit.target_rows) == (23, 20)

    @pytest.mark.fault_row(15)
    def test_a_text_with_nul(
        self, warehouse: PostgresDatabase, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        before = warehouse.everything()
        with pytest.raises(DataError, match="'name' holds a NUL"):
            target.load(staging.request([*ROWS, {**ROWS[0], "name": "a\0b"}], epoch=2))
        assert warehouse.everything() == before

    def test_types_of_the_users_own(self, warehouse: PostgresDatabase, staging: Staging) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute("CREATE TYPE analytics.mood AS ENUM ('good', 'bad')")
        warehouse.execute("CREATE DOMAIN analytics.money_like AS numeric(12,4)")
        warehouse.execute(
            "CREATE TABLE analytics.orders (created_at timestamptz, j json, b jsonb, u uuid, "
            "m analytics.mood, d analytics.money_like, n numeric, whole bigint, v varchar(5), "
            "c char(5), big numeric(30), f double precision, "
            "serial int GENERATED ALWAYS AS IDENTITY)"
        )
        texts = {
            "j": '{"a":  1}',
            "b": '{"a":  1}',
            "u": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "m": "bad",
            "v": "größe",
            "c": "ab",
        }
        table = pa.table(
            {
                "created_at": pa.array([START, START], pa.timestamp("us", "UTC")),
                **{name: pa.array([text, None]) for name, text in texts.items()},
                "d": pa.array([12, None]).cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2)),
                "n": pa.array([-(2**63), None]),
                "whole": pa.array([5, None]).cast(pa.decimal128(19, 0)),
                "big": pa.array([2**64 - 1, None], pa.uint64()),
                "f": pa.array([0.1, None], pa.float32()),
            }
        )
        target = warehouse.target(adopt=True)
        assert [
            check.detail for check in target.check_columns(table.schema) if not check.passed
        ] == []
        target.prepare(table.schema)
        target.load(staging.request(table))
        found = warehouse.execute(
            "SELECT j::text, b::text, u::text, m::text, v, c, d::text, n::text, whole, big::text, "
            "f::real FROM analytics.orders WHERE j IS NOT NULL"
        )
        assert found == [
            (
                '{"a":  1}', '{"a": 1}', texts["u"].lower(), "bad", "größe", "ab   ",
                "12.0000", str(-(2**63)), 5, str(2**64 - 1), 0.1,
            )
        ]  # fmt: skip
        for column, value in (("v", "too long"), ("m", "ugly"), ("u", "no uuid"), ("b", "{")):
            position = table.schema.names.index(column)
            wrong = table.set_column(position, column, pa.array([value, None]))
            with pytest.raises(DataError):
                target.load(staging.request(wrong, epoch=2))
        assert target.count(WINDOW) == TargetCounts(2, 2)

    def test_nothing_grows_when_a_window_is_loaded_again(
        self, warehouse: PostgresDatabase, target: Target, staging: Staging
    ) -> None:
        request = staging.request(ROWS)
        for epoch in range(1, 6):
            target.load(at_epoch(request, epoch))
        assert warehouse.execute("SELECT count(*) FROM analytics.orders_window_commits") == [(1,)]
        assert warehouse.ids() == list(range(23))

    @pytest.mark.fault_row(23)
    def test_says_what_the_role_may_not(
        self, warehouse: PostgresDatabase, target: Target, staging: Staging
    ) -> None:
        role = f"reader_{warehouse.database.name}"
        warehouse.execute(f'CREATE ROLE "{role}" LOGIN')
        warehouse.execute(f'GRANT USAGE ON SCHEMA analytics TO "{role}"')
        warehouse.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO "{role}"')
        weak = warehouse.target(user=role)
        failed = [check for check in weak.check() if not check.passed]
        assert [check.name for check in failed] == ["target privileges"]
        assert "insert" in failed[0].detail
        with pytest.raises(PermanentError, match="permission denied"):
            weak.load(staging.request(ROWS))

    def test_a_server_that_is_down(self, warehouse: PostgresDatabase, staging: Staging) -> None:
        gone = warehouse.target(port=1)
        checks = gone.check()
        assert [(check.passed, check.transient) for check in checks] == [(False, True)]

    def test_neighbours_of_other_lengths(
        self, warehouse: PostgresDatabase, target: Target, staging: Staging
    ) -> None:
        day = type(WINDOW)("orders", START, START + 24 * HOUR)
        target.load(staging.request(rows_of(5, day), window=day))
        for hours in (0, 12, 23):
            inner = type(WINDOW)("orders", START + hours * HOUR, START + (hours + 1) * HOUR)
            with pytest.raises(PermanentError, match="restate"):
                target.load(staging.request(rows_of(3, inner), window=inner))
        target.prepare(SCHEMA)

    def test_more_columns_than_one_row_of_results_may_have(
        self, warehouse: PostgresDatabase, staging: Staging
    ) -> None:
        columns = {f"c{n}": pa.array([float(n), None], pa.float32()) for n in range(800)}
        stamps = pa.array([START, START], pa.timestamp("us", "UTC"))
        table = pa.table({"created_at": stamps, **columns})
        target = warehouse.target()
        target.prepare(table.schema)
        request = staging.request(table)
        assert target.load(request).details["columns_verified"] == 801
        summary = replace(request.manifest.columns["c799"], maximum="798.5")
        manifest = replace(request.manifest, columns={**request.manifest.columns, "c799": summary})
        with pytest.raises(VerificationError, match="c799: maximum"):
            target.load(replace(request, manifest=manifest, epoch=2))

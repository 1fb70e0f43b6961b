"""Corruption in the load path: files that change under a load, and databases that change rows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_platform.config.systems import DuckDBTarget
from pipeline_platform.errors import VerificationError
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.movement import LoadRequest
from pipeline_platform.targets.columns import TargetTable
from pipeline_platform.targets.duckdb import DuckDBTableTarget
from pipeline_platform.targets.sql_table import Session, ours_values
from pipeline_platform_tests.corruption.contract import PLACED_AT, SCHEMA, CorruptionContract
from pipeline_platform_tests.corruption.plants import LOUD
from pipeline_platform_tests.servers.postgres import Database
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase
from pipeline_platform_tests.targets.snowflake_schema import SnowflakeSchema
from pipeline_platform_tests.targets.staged import Staging
from pipeline_platform_tests.targets.test_duckdb import DuckDBFile
from pipeline_platform_tests.targets.test_postgres import PostgresDatabase
from pipeline_platform_tests.targets.warehouse import stop_at

# What a database might do to the rows of a load, as the SET part of an UPDATE.
CHANGES = {
    "amount = round(amount, 1)": "amount: sum",
    "updated_at = updated_at + INTERVAL '1 hour'": "updated_at: sum",
    "note = NULL": "note: nulls",
    "note = coalesce(note, '')": "note: nulls",
    "id = CASE WHEN id = 3 THEN 4 ELSE id END": "id: sum",
}
LATER = "DATEADD(hour, 1, updated_at)"


class ChangingDuckDB(DuckDBTableTarget):
    """DuckDB has no triggers, so this one changes the rows after they were inserted."""

    change = ""

    def _insert(self, session: Session, request: LoadRequest, table: TargetTable) -> None:
        super()._insert(session, request, table)
        statement = f"UPDATE {{table}} SET {self.change} WHERE {{ours}}"
        session.changed(self._sql(statement), ours_values(request.manifest.attempt.window))


class TestDuckDB(CorruptionContract):
    @pytest.fixture
    def warehouse(self, tmp_path: Path) -> DuckDBFile:
        return DuckDBFile(tmp_path)

    def test_a_database_that_changes_rows(self, warehouse: DuckDBFile, staging: Staging) -> None:
        system = DuckDBTarget(
            type="duckdb", path="data/warehouse.duckdb", schema="analytics", table="orders"
        )
        target = ChangingDuckDB(system, query_field=PLACED_AT, base_dir=warehouse.folder)
        target.prepare(SCHEMA)
        for epoch, (target.change, noticed) in enumerate(CHANGES.items(), 1):
            with pytest.raises(VerificationError, match=noticed):
                target.load(self.request(staging, epoch))
            assert warehouse.execute("SELECT count(*) FROM analytics.orders") == [(0,)]


class TestPostgres(CorruptionContract):
    @pytest.fixture
    def warehouse(self, postgres: Database) -> PostgresDatabase:
        return PostgresDatabase(postgres)

    def test_a_trigger_that_changes_rows(
        self, warehouse: PostgresDatabase, staging: Staging
    ) -> None:
        target = warehouse.target(query_field=PLACED_AT)
        target.prepare(SCHEMA)
        for epoch, (change, noticed) in enumerate(CHANGES.items(), 1):
            name, _, expression = change.partition(" = ")
            for column in SCHEMA.names:
                expression = expression.replace(column, f"NEW.{column}")
            warehouse.execute(
                "CREATE OR REPLACE FUNCTION analytics.change() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN NEW.{name} = {expression}; RETURN NEW; END; $$"
            )
            warehouse.execute(
                "CREATE OR REPLACE TRIGGER t BEFORE INSERT ON analytics.orders FOR EACH ROW "
                "EXECUTE FUNCTION analytics.change()"
            )
            with pytest.raises(VerificationError, match=noticed):
                target.load(self.request(staging, epoch))
            assert warehouse.execute("SELECT count(*) FROM analytics.orders") == [(0,)]


class TestSnowflake(CorruptionContract):
    LAST_POINT = "copy.after_create"
    # The test server answers these with 500, which the driver tries again and again.
    PLANTS = {n: p for n, p in LOUD.items() if n not in ("file_truncated", "file_empty")}

    @pytest.fixture
    def warehouse(self, snowflake_database: SnowflakeDatabase) -> SnowflakeSchema:
        return SnowflakeSchema(snowflake_database)

    def test_a_load_table_that_changes_before_the_transaction(
        self, warehouse: SnowflakeSchema, staging: Staging
    ) -> None:
        target = warehouse.target(query_field=PLACED_AT)
        target.prepare(SCHEMA)

        def change_to(change: str) -> Callable[[], None]:
            def act() -> None:
                [name] = warehouse.load_tables()
                warehouse.execute(f"UPDATE analytics.{name} SET {change}")

            return act

        for epoch, (change, noticed) in enumerate(CHANGES.items(), 1):
            change = change.replace(
                "updated_at + INTERVAL '1 hour'", "DATEADD(hour, 1, updated_at)"
            )
            with (
                fault_hook(stop_at("load.before_begin", change_to(change))),
                pytest.raises(VerificationError, match=noticed),
            ):
                target.load(self.request(staging, epoch))
            assert warehouse.execute("SELECT count(*) FROM analytics.orders") == [(0,)]
        assert warehouse.load_tables() == []

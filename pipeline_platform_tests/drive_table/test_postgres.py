"""The drive store in PostgreSQL, where concurrency is proven."""

import json
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline_platform.config.systems import PostgresState
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.postgres import PostgresStore
from pipeline_platform.drive_table.statements import CLAIM, Statements
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import PermanentError, TransientError
from pipeline_platform_tests.drive_table.contract import DriveStoreContract
from pipeline_platform_tests.drive_table.examples import (
    START,
    Raw,
    a_record,
    a_row,
    claimed,
    key_of,
    together,
)
from pipeline_platform_tests.servers.postgres import Database

SCHEMA = '"my 100% ""state"""'


class Explaining:
    """A session that answers every statement with the names of its plan's nodes and indexes."""

    def __init__(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        self.connection = connection

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self.connection.execute(f"EXPLAIN (FORMAT JSON) {sql}", values).fetchone()
        return [{"plan": json.dumps(answer)}]

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        raise NotImplementedError


class TestPostgresStore(DriveStoreContract):
    @pytest.fixture
    def base_dir(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.fixture
    def state(self, postgres: Database) -> PostgresState:
        config = {**postgres.as_config(), "schema": 'my 100% "state"', "type": "postgres"}
        return PostgresState.model_validate(config)

    @pytest.fixture
    def raw(self, postgres: Database) -> Raw:
        def execute(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            with postgres.connect() as connection:
                cursor = connection.execute(sql.replace("{}", f"{SCHEMA}.").encode())
                columns = [column.name for column in cursor.description or ()]
                return columns, cursor.fetchall() if columns else []

        return execute

    @pytest.mark.fault_row(5)
    def test_many_connections_one_winner(self, store: DriveStore) -> None:
        for round_ in range(5):
            record = a_record(round_)
            store.register([record] if round_ % 2 else [])
            results = together(
                [partial(store.claim, record, f"run-{number}") for number in range(24)]
            )
            assert sum(claim is not None for claim in results) == 1

    def test_an_expired_claim_has_one_successor(self, store: DriveStore) -> None:
        for round_ in range(5):
            record = a_record(round_)
            claimed(store, record, "dead", lease_seconds=0)
            results = together(
                [partial(store.claim, record, f"run-{number}") for number in range(16)]
            )
            assert [claim.epoch for claim in results if claim is not None] == [2]

    def test_saves_at_once_get_revisions_of_their_own(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        row = a_row(a_record(), claim.epoch)
        saved = together([lambda: store.save(claim, a_record(), row) for _ in range(8)])
        assert sorted(row.revision for row in saved) == list(range(1, 9))

    def test_no_history_is_read_to_claim_or_to_find(
        self, store: DriveStore, postgres: Database, raw: Raw
    ) -> None:
        assert isinstance(store, PostgresStore)
        claim = claimed(store, a_record())
        store.save(claim, a_record(), a_row(a_record(), claim.epoch))
        fill_with_history(raw, 20_000)
        values = {
            **vars(key_of()), "owner": "o", "seen": 1, "at_least": 0, "lease": timedelta(1),
            "limit": 10, "run_id": "run-1", "id": "orders_20251115T1000Z_run1",
        }  # fmt: skip
        window = (
            "run.pipeline_name = :pipeline_name "
            "AND run.query_window_start_timestamp = :window_start_time"
        )
        with postgres.connect() as connection:
            explaining = Statements(Explaining(connection), store.dialect, store._table)
            for sql, index in (
                (CLAIM, "pipeline_records_pkey"),
                (
                    "SELECT * FROM {records} WHERE pipeline_name = :pipeline_name "
                    "AND pipeline_status = 'PENDING' AND {free} "
                    "ORDER BY window_start_time LIMIT :limit",
                    "pipeline_records_pending",
                ),
                (
                    "SELECT max(revision) FROM {log} WHERE pipeline_id = :id",
                    "pipeline_execution_log_pkey",
                ),
                (
                    "SELECT * FROM {log} AS run WHERE run.dagster_run_id = :run_id AND {latest}",
                    "pipeline_execution_log_run",
                ),
                (f"SELECT * FROM {{log}} AS run WHERE {window} AND {{latest}}", "log_window"),
            ):
                [answer] = explaining.rows(sql, values)
                assert index in answer["plan"], sql
                assert "Seq Scan" not in answer["plan"], sql

    def test_a_role_without_rights_is_told(
        self, store: DriveStore, postgres: Database, state: PostgresState, base_dir: Path
    ) -> None:
        with postgres.connect() as connection:
            connection.execute("DROP ROLE IF EXISTS drive_table_reader")
            connection.execute("CREATE ROLE drive_table_reader LOGIN")
        reader = build_store(
            state.model_copy(update={"user": "drive_table_reader"}), base_dir=base_dir
        )
        with pytest.raises(PermanentError, match="permission denied"):
            reader.record(key_of())

    @pytest.mark.fault_row(22)
    def test_a_lock_that_does_not_come_free(
        self, store: DriveStore, postgres: Database, state: PostgresState, base_dir: Path
    ) -> None:
        store.register([a_record()])
        hurried = build_store(
            state.model_copy(update={"lock_timeout_seconds": 0.1}), base_dir=base_dir
        )
        with postgres.connect() as connection, connection.transaction():
            connection.execute(f"LOCK TABLE {SCHEMA}.pipeline_records".encode())
            with pytest.raises(TransientError, match="lock timeout"):
                hurried.claim(a_record(), "run-1")
        assert hurried.claim(a_record(), "run-1") is not None

    @pytest.mark.fault_row(22)
    def test_a_server_that_is_not_there(self, state: PostgresState, base_dir: Path) -> None:
        gone = build_store(state.model_copy(update={"port": 1}), base_dir=base_dir)
        with pytest.raises(TransientError, match="Connection refused"):
            gone.now()

    def test_reading_what_was_never_migrated(self, unmigrated: DriveStore) -> None:
        with pytest.raises(PermanentError, match="does not exist"):
            unmigrated.record(key_of())


def fill_with_history(raw: Raw, rows: int) -> None:
    """Completed windows before the first one, with one finished run each."""
    columns = ", ".join(raw("SELECT * FROM {}pipeline_records")[0][1:4])
    raw(
        f"INSERT INTO {{}}pipeline_records ({columns}, target_day, time_interval, "
        "source_to_stage_ingestion_status, stage_to_target_ingestion_status, audit_status, "
        "pipeline_status, retry_attempt, epoch) "
        f"SELECT 'orders', '{START}'::timestamptz - i * interval '1 hour', "
        f"'{START}'::timestamptz - (i - 1) * interval '1 hour', '2025-01-01', '1h', "
        f"'COMPLETED', 'COMPLETED', 'COMPLETED', 'COMPLETED', 0, 1 "
        f"FROM generate_series(1, {rows}) AS i"
    )
    raw(
        "INSERT INTO {}pipeline_execution_log "
        "SELECT (jsonb_populate_record(run, jsonb_build_object("
        "'pipeline_id', 'old_' || i, 'dagster_run_id', 'old_' || i, 'pipeline_status', 'SUCCESS', "
        "'query_window_start_timestamp', run.query_window_start_timestamp - i * interval '1 hour'"
        f"))).* FROM {{}}pipeline_execution_log AS run, generate_series(1, {rows}) AS i"
    )
    raw("ANALYZE {}pipeline_records")
    raw("ANALYZE {}pipeline_execution_log")

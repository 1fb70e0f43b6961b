"""The target contract on Snowflake, and what only Snowflake does."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline_platform.connections import snowflake as snowflake_connection
from pipeline_platform.connections.snowflake import close_idle_connections
from pipeline_platform.connections.snowflake_session import first_word
from pipeline_platform.errors import (
    DataError,
    PipelineError,
    TransientError,
    VerificationError,
)
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.movement import AttemptPath, LoadRequest, Manifest, TargetCounts, WindowSlice
from pipeline_platform.targets import snowflake_load
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase
from pipeline_platform_tests.targets.contract import TargetContract
from pipeline_platform_tests.targets.recorded import recording
from pipeline_platform_tests.targets.snowflake_schema import (
    SnowflakeSchema,
    assert_equal,
    types_of_the_test_server,
)
from pipeline_platform_tests.targets.staged import HOUR, SCHEMA, START, WINDOW, Staging, rows_of
from pipeline_platform_tests.targets.warehouse import OTHER_ROWS, ROWS, Warehouse, fail, stop_at


class TestSnowflakeTarget(TargetContract):
    NARROW_FLOAT = "varchar"  # REAL is as wide as DOUBLE here
    NARROW_INTEGER = "numeric(4,0)"  # and SMALLINT as BIGINT
    # fakesnow makes SQL of these names without quoting them; see test_snowflake_statements.py.
    HOSTILE_SCHEMA = "Hostile"
    HOSTILE_TABLE = "t{0};--"
    HOSTILE_NAMES = (
        "select", 'a"b', "x.y", "100%", "$1", "{table}", "new\nline", "A @ b", "A `b` c",
    )  # fmt: skip

    @pytest.fixture
    def warehouse(self, snowflake_database: SnowflakeDatabase) -> SnowflakeSchema:
        return SnowflakeSchema(snowflake_database)

    def every_type(self) -> pa.Table:
        return types_of_the_test_server()

    def assert_equal(self, warehouse: Warehouse, table: pa.Table) -> None:
        assert_equal(warehouse, table)

    @pytest.mark.fault_row(15)
    def test_nanoseconds_are_never_dropped(self, warehouse: Warehouse, staging: Staging) -> None:
        """Snowflake keeps them; the test server has microseconds, and the sums notice it."""
        assert isinstance(warehouse, SnowflakeSchema)
        for zone in (None, "UTC"):
            stamps = pa.array([START, START], pa.timestamp("us", "UTC"))
            ticks = pc.add(stamps.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()), 1)
            fine = ticks.cast(pa.timestamp("ns", zone))
            table = pa.table({"created_at": stamps, "fine": fine})
            target = warehouse.target(table=f"in_{zone}".lower())
            target.prepare(table.schema)
            if warehouse.database.server.is_real:
                assert target.load(staging.request(table)).details["columns_verified"] == 2
                continue
            with pytest.raises(VerificationError, match="in fine: sum"):
                target.load(staging.request(table))
            assert target.count(WINDOW) == TargetCounts(0, 0)

    # Load tables

    def test_tells_what_the_load_took(self, target: Target, staging: Staging) -> None:
        request = staging.request(ROWS, epoch=3)
        details = target.load(request).details
        assert details["rows_copied"] == 23
        assert details["bytes_copied"] == request.manifest.bytes
        assert {"put_seconds", "copy_seconds", "insert_seconds", "verify_seconds"} <= set(details)
        ids = details["query_ids"]
        assert {"COPY", "DELETE", "INSERT", "UPDATE", "SELECT"} <= set(ids)
        assert all(query_id for listed in ids.values() for query_id in listed)
        json.dumps(details)

    def test_no_load_table_is_left(
        self, warehouse: SnowflakeSchema, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        with fault_hook(stop_at("load.after_verify", fail)), pytest.raises(TransientError):
            target.load(staging.request(OTHER_ROWS, epoch=2))
        assert warehouse.load_tables() == []

    def test_what_a_dead_run_left_goes_with_the_next_load(
        self,
        warehouse: SnowflakeSchema,
        target: Target,
        staging: Staging,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        neighbour = WindowSlice("orders", WINDOW.end, WINDOW.end + HOUR)
        with monkeypatch.context() as dead:
            dead.setattr(snowflake_load, "drop", lambda session, load: None)
            target.load(staging.request(ROWS))
            target.load(staging.request(rows_of(3, neighbour), window=neighbour))
        assert [name[-5:] for name in warehouse.load_tables()] == ["_RUN1", "_RUN1"]
        target.load(staging.request(ROWS, epoch=2))
        assert len(warehouse.load_tables()) == 1
        target.load(staging.request(rows_of(3, neighbour), epoch=2, window=neighbour))
        assert warehouse.load_tables() == []

    def test_drops_the_load_tables_of_the_attempts_it_is_told(
        self,
        warehouse: SnowflakeSchema,
        target: Target,
        staging: Staging,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        neighbour = WindowSlice("orders", WINDOW.end, WINDOW.end + HOUR)
        with monkeypatch.context() as dead:
            dead.setattr(snowflake_load, "drop", lambda session, load: None)
            target.load(staging.request(ROWS))
            target.load(staging.request(ROWS, epoch=2))
            target.load(staging.request(rows_of(3, neighbour), window=neighbour))
        before = warehouse.everything()
        assert len(warehouse.load_tables()) == 3
        told = [AttemptPath(WINDOW, 1), AttemptPath(neighbour, 1), AttemptPath(neighbour, 7)]
        assert target.drop_load_tables([*told, *told]) == 2
        [left] = warehouse.load_tables()
        assert left.endswith("_RUN2")
        assert target.drop_load_tables(told) == 0
        assert warehouse.everything() == before

    def test_a_load_whose_table_is_dropped_changes_nothing(
        self, warehouse: SnowflakeSchema, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(OTHER_ROWS))
        before = warehouse.everything()[0]

        def drop() -> None:
            assert target.drop_load_tables([AttemptPath(WINDOW, 2)]) == 1

        with fault_hook(stop_at("load.before_begin", drop)), pytest.raises(PipelineError):
            target.load(staging.request(ROWS, epoch=2))
        assert warehouse.everything()[0] == before
        assert target.count(WINDOW) == TargetCounts(17, 17)

    @pytest.mark.fault_row(19)
    def test_rows_that_copy_counts_otherwise_than_the_manifest(
        self, warehouse: SnowflakeSchema, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(OTHER_ROWS))
        before = warehouse.everything()

        def one_more(manifest: Manifest) -> Manifest:
            first, *others = manifest.files
            return replace(manifest, files=(replace(first, rows=first.rows + 1), *others))

        with pytest.raises(VerificationError, match=r"7 of 8.*Nothing was changed"):
            target.load(staging.request(ROWS, epoch=2, change=one_more, tolerance="50"))
        assert warehouse.everything() == before
        assert warehouse.load_tables() == []

    # The transaction

    @pytest.mark.fault_row(20)
    def test_nothing_but_dml_is_in_the_transaction(
        self,
        warehouse: SnowflakeSchema,
        target: Target,
        staging: Staging,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The lock, the fence, then the rest; and all of it as many statements for more files."""
        target.load(staging.request(ROWS))
        sent = recording(monkeypatch)
        lengths = []
        for epoch, rows in ((2, ROWS), (3, rows_of(300)), (4, [])):
            sent.clear()
            target.load(staging.request(rows, epoch=epoch))
            assert sent.count("BEGIN") == sent.count("COMMIT") == 1
            inside = sent[sent.index("BEGIN") + 1 : sent.index("COMMIT")]
            assert {first_word(text) for text in inside} <= {
                "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE",
            }  # fmt: skip
            assert inside[0].endswith("WHERE pipeline_name = ''")
            assert inside[1].endswith("AND epoch < ?")
            lengths.append(len(sent))
        assert lengths[0] == lengths[1] > lengths[2]
        assert lengths[0] <= 20

    def test_the_row_to_lock_comes_back(
        self, warehouse: SnowflakeSchema, target: Target, staging: Staging
    ) -> None:
        for epoch in (1, 2):
            warehouse.execute(
                "DELETE FROM analytics.orders_window_commits WHERE pipeline_name = ''"
            )
            target.load(staging.request(ROWS, epoch=epoch))
            assert warehouse.execute(
                "SELECT count(*) FROM analytics.orders_window_commits WHERE pipeline_name = ''"
            ) == [(1,)]

    def test_windows_of_one_table_at_once(
        self, warehouse: SnowflakeSchema, target: Target, staging: Staging
    ) -> None:
        """One commit row each, and whole windows; the test server refuses where Snowflake waits."""
        windows = [
            WindowSlice("orders", START + n * HOUR, START + (n + 1) * HOUR) for n in range(4)
        ]
        requests = [staging.request(rows_of(5, window), window=window) for window in windows]

        def load(request: LoadRequest) -> bool:
            for _ in range(40):
                with suppress(TransientError):
                    target.load(request)
                    return True
                time.sleep(random.uniform(0.02, 0.2))
            return False

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(load, requests))
        for window in windows:
            assert target.count(window) == TargetCounts(5, 5)
        rows = warehouse.execute(
            "SELECT window_start, count(*) FROM analytics.orders_window_commits "
            "WHERE pipeline_name = 'orders' GROUP BY 1"
        )
        assert [count for _, count in rows] == [1, 1, 1, 1]

    @pytest.mark.fault_row(5)
    def test_one_window_from_several_runs_at_once(
        self, warehouse: SnowflakeSchema, target: Target, staging: Staging
    ) -> None:
        requests = [staging.request(rows_of(9, first=1000 * n), epoch=n) for n in range(1, 6)]

        def load(request: LoadRequest) -> int:
            try:
                return target.load(request).commit.epoch
            except TransientError:
                return 0

        with ThreadPoolExecutor(5) as pool:
            committed = list(pool.map(load, requests))
        row = target.commit_row(WINDOW)
        assert row is not None
        assert row.epoch == max(committed)
        ids = [*range(1000 * row.epoch, 1000 * row.epoch + 9)] if row.epoch else []
        assert warehouse.ids() == ids

    def test_a_load_logs_in_once(
        self, target: Target, staging: Staging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        close_idle_connections()
        logins: list[object] = []
        log_in = snowflake_connection._logged_in

        def counted(*arguments: Any) -> Any:
            logins.append(arguments)
            return log_in(*arguments)

        monkeypatch.setattr(snowflake_connection, "_logged_in", counted)
        target.check()
        target.prepare(SCHEMA)
        target.load(staging.request(ROWS))
        target.count(WINDOW)
        target.store_audit(WINDOW, 1, "PASS")
        assert len(logins) == 1

    # Semi-structured columns

    def test_texts_of_json_go_into_variant_columns(
        self, warehouse: SnowflakeSchema, staging: Staging
    ) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute(
            "CREATE TABLE analytics.orders (created_at timestamp_tz, v variant, n number(10,0))"
        )
        texts = ['{"a": {"b": [1, "x"]}}', "[1, 2]", '"text"', "null", None]
        table = pa.table(
            {
                "created_at": pa.array([START] * 5, pa.timestamp("us", "UTC")),
                "v": pa.array(texts),
                "n": pa.array(range(5), pa.int64()),
            }
        )
        target = warehouse.target(adopt=True)
        assert all(check.passed for check in target.check_columns(table.schema))
        target.prepare(table.schema)
        target.load(staging.request(table))
        found = warehouse.execute("SELECT v, v:a.b[1]::varchar FROM analytics.orders ORDER BY n")
        assert [None if v is None else json.loads(v) for v, _ in found] == [
            {"a": {"b": [1, "x"]}}, [1, 2], "text", None, None,
        ]  # fmt: skip
        assert found[0][1] == "x"
        broken = table.set_column(1, "v", pa.array([*texts[:4], '{"a": ']))
        # The test server has no error of its own for this.
        error = DataError if warehouse.database.server.is_real else TransientError
        with pytest.raises(error):
            target.load(staging.request(broken, epoch=2))
        assert target.count(WINDOW) == TargetCounts(5, 5)

    # Checks

    def test_checks_what_is_missing(self, warehouse: SnowflakeSchema, target: Target) -> None:
        warehouse.execute("CREATE STAGE analytics.inside")
        warehouse.execute("CREATE STAGE analytics.outside URL = 's3://bucket/stage/'")
        assert [check.name for check in target.check()] == [
            "target", "target schema", "target table",
        ]  # fmt: skip
        for stage, passed in {
            "outside": True, "ANALYTICS.OUTSIDE": True, "public.outside": False,
            "inside": False, "nowhere": False, '"outside"': False,
        }.items():  # fmt: skip
            [*_, check] = warehouse.target(external_stage=stage).check()
            assert (check.name, check.passed) == ("target stage", passed), check.detail
        missing = warehouse.target(schema="elsewhere", create_table=False)
        failed = [check.name for check in missing.check() if not check.passed]
        assert failed == ["target schema", "target table"]

    @pytest.mark.fault_row(24)
    def test_a_server_that_is_down(self, warehouse: SnowflakeSchema) -> None:
        gone = warehouse.target(port=1, login_timeout_seconds=1, network_timeout_seconds=1)
        checks = gone.check()
        assert [(check.passed, check.transient) for check in checks] == [(False, True)]

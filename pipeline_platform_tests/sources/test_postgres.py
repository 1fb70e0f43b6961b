import threading
from collections.abc import Sequence
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.config import systems
from pipeline_platform.errors import PermanentError, TransientError
from pipeline_platform.sources import build_source
from pipeline_platform.sources.base import Source
from pipeline_platform_tests.servers.postgres import Database
from pipeline_platform_tests.sources.contract import START, WINDOW, rows_of
from pipeline_platform_tests.sources.contract_sql import SqlSourceContract

US = pa.timestamp("us")
TEXT = pa.string()
COUNT_SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid()"
)


class TestPostgresSource(SqlSourceContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres: Database, tmp_path: Path) -> None:
        self.database = postgres
        self.folder = tmp_path

    def execute(self, statement: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        with self.database.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            if rows:
                connection.execute("BEGIN")
                text = statement.replace("%", "%%").replace("?)", "%s)").replace("?,", "%s,")
                connection.cursor().executemany(text, rows)
                connection.execute("COMMIT")
            else:
                connection.execute(statement.encode())

    def source(self, table: str = "orders", **settings: Any) -> Source:
        config = systems.PostgresSource(
            type="postgres", table=table, **{**self.database.as_config(), **settings}
        )
        return build_source(config, base_dir=self.folder)

    def query(self, statement: str) -> Any:
        with self.database.connect() as connection:
            row = connection.execute(statement.encode()).fetchone()
            assert row is not None
            return row[0]

    def test_schema_of_its_own(self) -> None:
        self.execute("CREATE SCHEMA shop")
        self.execute(
            "CREATE TABLE shop.orders AS SELECT 5 AS id, '2025-11-15 10:00Z'::timestamptz AS at"
        )
        assert self.ids(self.source(schema="shop", query_field="at")) == [5]
        assert self.failed(self.source(query_field="at")) == ["source table"]

    @pytest.mark.parametrize(
        ("expression", "kind", "value"),
        [
            ("true", pa.bool_(), True),
            ("(-32768)::int2", pa.int16(), -32768),
            ("(-2147483648)::int4", pa.int32(), -(2**31)),
            ("(-9223372036854775808)::int8", pa.int64(), -(2**63)),
            ("1.5::float4", pa.float32(), 1.5),
            ("'-Infinity'::float8", pa.float64(), float("-inf")),
            ("1.123456789012345::numeric(38, 15)", pa.decimal128(38, 15),
             Decimal("1.123456789012345")),
            ("1e-14::numeric(20, 18)", pa.decimal128(20, 18), Decimal("1e-14")),
            ("(-0.5)::numeric(2, 1)", pa.decimal128(2, 1), Decimal("-0.5")),
            ("12345::numeric(3, -2)", pa.decimal128(5, 0), Decimal(12300)),
            ("0.00123::numeric(3, 5)", pa.decimal128(5, 5), Decimal("0.00123")),
            ("1.5::numeric(50, 3)", pa.decimal128(38, 3), Decimal("1.500")),
            ("12345678901234567890123456789.123456789::numeric", pa.decimal128(38, 9),
             Decimal("12345678901234567890123456789.123456789")),
            ("NULL::numeric", pa.decimal128(38, 9), None),
            ("'größe'::text", TEXT, "größe"),
            ("'ab'::varchar(10)", TEXT, "ab"),
            ("'ab'::char(4)", TEXT, "ab  "),
            ("'ab'::name", TEXT, "ab"),
            ("'x'::\"char\"", TEXT, "x"),
            ("'\\x00ff'::bytea", pa.binary(), b"\x00\xff"),
            ("'0001-01-01'::date", pa.date32(), date(1, 1, 1)),
            ("'23:59:59.999999'::time", pa.time64("us"), time(23, 59, 59, 999_999)),
            ("'10:00+02'::timetz", TEXT, "10:00:00+02"),
            ("'2025-01-01 01:02:03.000004'::timestamp", US, datetime(2025, 1, 1, 1, 2, 3, 4)),
            ("'2025-01-01 01:02:03.000004+01'::timestamptz", pa.timestamp("us", "UTC"),
             datetime(2025, 1, 1, 0, 2, 3, 4, tzinfo=timezone.utc)),
            ("'1 year 3 days 04:05:06.7'::interval", TEXT, "P1Y3DT4H5M6.7S"),
            ("'6b0a23ab-0000-4000-8000-000000000001'::uuid", TEXT,
             "6b0a23ab-0000-4000-8000-000000000001"),
            ("'{\"b\": 1,  \"a\": 2}'::json", TEXT, '{"b": 1,  "a": 2}'),
            ("'{\"b\": 1,  \"a\": 2}'::jsonb", TEXT, '{"a": 2, "b": 1}'),
            ("'10.0.0.0/8'::cidr", TEXT, "10.0.0.0/8"),
            ("4294967295::oid", TEXT, "4294967295"),
            ("ARRAY[1, NULL, 3]", TEXT, "[1,null,3]"),
            ("ARRAY['a', 'b\"']", TEXT, '["a","b\\""]'),
            ("'[1,5)'::int4range", TEXT, "[1,5)"),
            ("B'101'", TEXT, "101"),
            ("NULL::int8", pa.int64(), None),
        ],
    )  # fmt: skip
    def test_types(self, expression: str, kind: pa.DataType, value: Any) -> None:
        assert self.values(expression) == (kind, value)

    def test_types_of_ones_own(self) -> None:
        self.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
        self.execute("CREATE TYPE pair AS (a int, b text)")
        self.execute("CREATE DOMAIN money2 AS numeric(10, 2) CHECK (VALUE >= 0)")
        self.execute("CREATE DOMAIN price AS money2")
        self.execute("CREATE DOMAIN stamp AS timestamptz")
        self.execute("CREATE DOMAIN label AS text")
        assert self.values("'bad'::mood") == (TEXT, "bad")
        assert self.values("ROW(1, 'x')::pair") == (TEXT, '{"a":1,"b":"x"}')
        assert self.values("1.5::price") == (pa.decimal128(10, 2), Decimal("1.50"))
        assert self.values("'x'::label") == (TEXT, "x")
        assert self.values("'2025-01-01 00:00Z'::stamp") == (
            pa.timestamp("us", "UTC"), datetime(2025, 1, 1, tzinfo=timezone.utc),
        )  # fmt: skip

    @pytest.mark.parametrize(
        "expression",
        [
            "'NaN'::numeric",
            "'NaN'::numeric(5, 2)",
            "'Infinity'::numeric",
            "0.1234567891::numeric",
            "1e29::numeric",
            "1e45::numeric",
            "123456789012345678901234567890123456.789::numeric(50, 3)",
            "'infinity'::timestamptz",
            "'-infinity'::timestamptz",
            "'infinity'::timestamp",
            "'-infinity'::timestamp",
            "'294276-12-31'::timestamp",
            "'infinity'::date",
            "'-infinity'::date",
            "'24:00'::time",
        ],
    )
    @pytest.mark.fault_row(15)
    def test_values_without_an_exact_form_are_refused(self, expression: str) -> None:
        self.refused(expression)

    def test_text_does_not_depend_on_the_roles_settings(self) -> None:
        self.execute(
            f"ALTER DATABASE {self.database.name} SET IntervalStyle = 'sql_standard'; "
            f"ALTER DATABASE {self.database.name} SET DateStyle = 'SQL, DMY'; "
            f"ALTER DATABASE {self.database.name} SET TimeZone = 'Asia/Tokyo'"
        )
        assert self.values("'3 days'::interval") == (TEXT, "P3D")
        assert self.values("'[2025-01-02,2025-02-03)'::daterange") == (
            TEXT, "[2025-01-02,2025-02-03)",
        )  # fmt: skip

    def test_role_without_select_fails_the_check(self) -> None:
        self.orders([START])
        role = f"reader_{self.database.name}"
        self.execute(f"CREATE ROLE {role} LOGIN")
        source = self.source(user=role, query_field="at")
        assert self.failed(source) == ["source readable"]
        with pytest.raises(PermanentError, match="permission denied"):
            source.count(WINDOW)
        with pytest.raises(PermanentError, match="permission denied"), source.read(WINDOW):
            pass
        self.execute(f"GRANT SELECT (id, at) ON orders TO {role}")
        assert self.ids(source) == [0]
        self.execute(f"REVOKE ALL (id, at) ON orders FROM {role}; DROP ROLE {role}")

    def test_field_without_a_greatest_value_fails_the_check(self) -> None:
        self.execute("CREATE TABLE orders (id json, at timestamptz)")
        assert self.failed(self.source(query_field="at", change_field="id")) == [
            "change_field comparable"
        ]

    def test_unreachable_server_is_one_failed_check(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHOP_PASSWORD", "canary-7e1b")
        source = self.source(query_field="at", port=1, password="env:SHOP_PASSWORD")
        (check,) = source.check()
        assert (check.name, check.passed, check.transient) == ("source reachable", False, True)
        assert "canary" not in repr(check) + source.name
        for call in (lambda: source.count(WINDOW), lambda: source.read(WINDOW).__enter__()):
            with pytest.raises(TransientError) as raised:
                call()
            assert "canary" not in str(raised.value)

    def test_wrong_database_is_permanent(self) -> None:
        source = self.source(query_field="at", database="no_such_database")
        (check,) = source.check()
        assert not check.transient
        with pytest.raises(PermanentError), source.read(WINDOW):
            pass

    def many(self, rows: int = 300_000) -> None:
        self.execute(
            f"CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS h, g::numeric(12, 2) AS n, "
            f"'2025-11-15 10:00Z'::timestamptz AS at FROM generate_series(1, {rows}) g"
        )

    @pytest.mark.fault_row(24)
    def test_session_killed_half_way_is_transient(self) -> None:
        self.many()
        with pytest.raises(TransientError):
            self.read_and_be_killed()

    def read_and_be_killed(self) -> None:
        with self.source(query_field="at").read(WINDOW) as snapshot:
            next(snapshot.batches)
            self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            rows_of(snapshot)

    @pytest.mark.fault_row(24)
    def test_statement_timeout_is_transient(self) -> None:
        self.many(1)
        self.execute("CREATE VIEW slow AS SELECT id, at, pg_sleep(id * 5) IS NULL AS z FROM orders")
        source = self.source("slow", query_field="at", statement_timeout_seconds=0.3)
        with pytest.raises(TransientError), source.read(WINDOW) as snapshot:
            rows_of(snapshot)

    def test_lock_timeout_is_transient(self) -> None:
        self.orders([START])
        source = self.source(query_field="at", lock_timeout_seconds=0.2)
        with self.database.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            for call in (lambda: source.count(WINDOW), lambda: source.read(WINDOW).__enter__()):
                with pytest.raises(TransientError):
                    call()
            (check,) = [check for check in source.check() if not check.passed]
            assert check.transient

    def test_leaving_early_ends_the_session_at_once(self) -> None:
        self.many()
        with pytest.raises(KeyError):
            self.abandon(self.source(query_field="at"))
        done = threading.Event()
        for _ in range(100):
            if self.query(COUNT_SESSIONS) == 0:
                break
            done.wait(0.05)
        assert self.query(COUNT_SESSIONS) == 0

    def test_memory_is_flat_in_the_number_of_rows(self) -> None:
        pool = pa.default_memory_pool()

        def peak(rows: int) -> int:
            self.execute("DROP TABLE IF EXISTS orders")
            self.many(rows)
            began, highest, found = pool.bytes_allocated(), 0, 0
            with self.source(query_field="at", batch_rows=10_000).read(WINDOW) as snapshot:
                for batch in snapshot.batches:
                    found += batch.rows.num_rows
                    highest = max(highest, pool.bytes_allocated() - began)
            assert found == rows
            return highest

        assert peak(400_000) <= peak(40_000) * 1.15 + 1_000_000

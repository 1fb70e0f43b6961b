from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipeline_platform.config import systems
from pipeline_platform.errors import PermanentError
from pipeline_platform.sources import build_source
from pipeline_platform.sources.base import Source
from pipeline_platform_tests.sources.contract import START, WINDOW, rows_of
from pipeline_platform_tests.sources.contract_sql import SqlSourceContract

US, NS = pa.timestamp("us"), pa.timestamp("ns")
TEXT = pa.string()


class TestDuckDBSource(SqlSourceContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def execute(self, statement: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        with duckdb.connect(self.folder / "shop.duckdb") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            if rows:
                connection.begin()
                connection.executemany(statement, [list(row) for row in rows])
                connection.commit()
            else:
                connection.execute(statement)

    def source(self, table: str = "orders", **settings: Any) -> Source:
        config = systems.DuckDBSource(type="duckdb", path="shop.duckdb", table=table, **settings)
        return build_source(config, base_dir=self.folder)

    def writer_in_this_process(self) -> AbstractContextManager[Any]:
        return duckdb.connect(self.folder / "shop.duckdb")

    def test_missing_file_fails_the_check(self) -> None:
        assert self.failed(self.source(query_field="at")) == ["source reachable"]

    def test_schema_of_its_own(self) -> None:
        self.execute("CREATE SCHEMA shop")
        self.execute(
            "CREATE TABLE shop.shop.orders AS SELECT 5 AS id, "
            "TIMESTAMPTZ '2025-11-15 10:00:00+00' AS \"at\""
        )
        assert self.ids(self.source(schema="shop", query_field="at")) == [5]
        assert self.failed(self.source(schema="other", query_field="at")) == ["source table"]

    def test_table_name_is_never_a_file_or_a_variable(self) -> None:
        self.execute("CREATE TABLE x (i INTEGER)")
        (self.folder / "orders.csv").write_text("id,at\n1,2025-11-15 10:00:00\n")
        orders = pa.table({"id": [1]})
        for table in (str(self.folder / "orders.csv"), "orders"):
            with pytest.raises(PermanentError, match="does not exist"):
                self.source(table, query_field="at").count(WINDOW)
        assert orders.num_rows == 1

    @pytest.mark.parametrize(
        ("expression", "kind", "value"),
        [
            ("TRUE", pa.bool_(), True),
            ("CAST(-128 AS TINYINT)", pa.int8(), -128),
            ("CAST(18446744073709551615 AS UBIGINT)", pa.uint64(), 2**64 - 1),
            ("CAST(-9223372036854775808 AS BIGINT)", pa.int64(), -(2**63)),
            ("CAST(1.5 AS FLOAT)", pa.float32(), 1.5),
            ("CAST('1.123456789012345' AS DECIMAL(38, 15))", pa.decimal128(38, 15),
             Decimal("1.123456789012345")),
            ("CAST('" + "9" * 38 + "' AS HUGEINT)", pa.decimal128(38, 0), Decimal("9" * 38)),
            ("CAST('-" + "9" * 38 + "' AS HUGEINT)", pa.decimal128(38, 0), Decimal("-" + "9" * 38)),
            ("'größe'", TEXT, "größe"),
            ("CAST('a' AS BLOB)", pa.binary(), b"a"),
            ("DATE '0001-01-01'", pa.date32(), date(1, 1, 1)),
            ("TIME '23:59:59.999999'", pa.time64("us"), time(23, 59, 59, 999_999)),
            ("CAST('2025-01-01 01:02:03' AS TIMESTAMP_S)", US, datetime(2025, 1, 1, 1, 2, 3)),
            ("CAST('2025-01-01 01:02:03.004' AS TIMESTAMP_MS)", US,
             datetime(2025, 1, 1, 1, 2, 3, 4000)),
            ("TIMESTAMP '2025-01-01 01:02:03.000004'", US, datetime(2025, 1, 1, 1, 2, 3, 4)),
            ("TIMESTAMPTZ '2025-01-01 01:02:03.000004+01'", pa.timestamp("us", "UTC"),
             datetime(2025, 1, 1, 0, 2, 3, 4, tzinfo=timezone.utc)),
            ("CAST(NULL AS BIGINT)", pa.int64(), None),
            ("CAST('6b0a23ab-0000-4000-8000-000000000001' AS UUID)", TEXT,
             "6b0a23ab-0000-4000-8000-000000000001"),
            ("CAST('{\"a\": 1}' AS JSON)", TEXT, '{"a": 1}'),
            ("CAST('a' AS ENUM('a', 'b'))", TEXT, "a"),
            ("INTERVAL 3 DAYS", TEXT, "3 days"),
            ("CAST('101' AS BIT)", TEXT, "101"),
            ("[1, NULL]", TEXT, "[1,null]"),
            ("{'a': 1, 'b': [DATE '2025-01-01']}", TEXT, '{"a":1,"b":["2025-01-01"]}'),
            ("MAP {'k': 1}", TEXT, '{"k":1}'),
            ("CAST([1, 2] AS INTEGER[2])", TEXT, "[1,2]"),
            ("union_value(num := 2)", TEXT, '{"num":2}'),
        ],
    )  # fmt: skip
    def test_types(self, expression: str, kind: pa.DataType, value: Any) -> None:
        assert self.values(expression) == (kind, value)

    def test_nanoseconds_are_kept(self) -> None:
        self.execute('CREATE TABLE orders (id INTEGER, "at" TIMESTAMP_NS)')
        for n, at in enumerate(
            ("09:59:59.999999999", "10:00:00.000000001", "10:59:59.999999999", "11:00:00")
        ):
            self.execute(f"INSERT INTO orders VALUES ({n}, '2025-11-15 {at}')")
        source = self.source(query_field="at", query_field_timezone="UTC")
        with source.read(WINDOW) as snapshot:
            assert snapshot.schema.field("at").type == NS
            ticks = [
                n for batch in snapshot.batches
                for n in batch.rows.column("at").cast(pa.int64()).to_pylist()
            ]  # fmt: skip
        start = int(START.timestamp()) * 10**9
        assert sorted(ticks) == [start + 1, start + 3600 * 10**9 - 1]

    @pytest.mark.parametrize(
        "expression",
        [
            "CAST('" + "1" + "0" * 38 + "' AS HUGEINT)",
            "CAST('170141183460469231731687303715884105727' AS HUGEINT)",
            "CAST('infinity' AS TIMESTAMP)",
            "CAST('-infinity' AS TIMESTAMP)",
            "CAST('infinity' AS TIMESTAMPTZ)",
            "CAST('infinity' AS DATE)",
            "CAST('-infinity' AS DATE)",
            "CAST('infinity' AS TIMESTAMP_NS)",
            "CAST('24:00:00' AS TIME)",
        ],
    )
    @pytest.mark.fault_row(15)
    def test_values_without_an_exact_form_are_refused(self, expression: str) -> None:
        self.refused(expression)

    def test_memory_is_flat_in_the_number_of_rows(self) -> None:
        pool = pa.default_memory_pool()

        def peak(rows: int) -> int:
            self.execute(
                "CREATE OR REPLACE TABLE orders AS SELECT range AS id, md5(range::VARCHAR) AS h, "
                "CAST(range AS HUGEINT) AS big, TIMESTAMPTZ '2025-11-15 10:00:00+00' AS \"at\" "
                f"FROM range({rows})"
            )
            began, highest, found = pool.bytes_allocated(), 0, 0
            with self.source(query_field="at", batch_rows=10_000).read(WINDOW) as snapshot:
                for batch in snapshot.batches:
                    found += batch.rows.num_rows
                    highest = max(highest, pool.bytes_allocated() - began)
            assert found == rows
            return highest

        assert peak(500_000) <= peak(50_000) * 1.15 + 1_000_000

    def test_rows_reach_the_stage_by_the_way(self) -> None:
        self.execute(
            "CREATE TABLE orders AS SELECT range AS id, "
            "TIMESTAMPTZ '2025-11-15 10:00:00+00' AS \"at\" FROM range(5)"
        )
        with self.source(query_field="at").read(WINDOW) as snapshot:
            assert [row["id"] for row in rows_of(snapshot)] == [0, 1, 2, 3, 4]

"""What every source with SQL must do beyond the contract of all sources."""

import itertools
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from pipeline_platform.errors import ConfigurationError, DataError
from pipeline_platform.movement import RejectedRecord, WindowSlice
from pipeline_platform_tests.sources.contract import (
    START,
    TICK,
    UTC,
    WINDOW,
    SourceContract,
    rows_of,
)


class SqlSourceContract(SourceContract):
    """Subclass as `TestXSource`. Rows are literals, so that every system is asked for the same."""

    @abstractmethod
    def execute(self, statement: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        """Run in the system, committed, once per row with `?` for its values."""

    def create(self, table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]) -> None:
        listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        self.execute(f"CREATE TABLE {quoted(table)} ({listed})")
        if rows:
            self.insert(table, rows)

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        marks = ", ".join("?" for _ in rows[0])
        self.execute(f"INSERT INTO {quoted(table)} VALUES ({marks})", rows)

    def delete(self, table: str, ids: Sequence[int]) -> None:
        listed = ", ".join(map(str, ids))
        self.execute(f"DELETE FROM {quoted(table)} WHERE id IN ({listed})")

    def drop(self, table: str) -> None:
        self.execute(f"DROP TABLE {quoted(table)}")

    def test_timestamp_without_zone_needs_its_zone(self) -> None:
        wall = START.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
        self.orders([wall - TICK, wall, wall + timedelta(hours=1) - TICK], self.TIMESTAMP)
        zoned = self.source(query_field="at", query_field_timezone="America/New_York")
        assert self.ids(zoned) == [1, 2]
        with pytest.raises(ConfigurationError, match="query_field_timezone"):
            self.source(query_field="at").count(WINDOW)

    def test_date_field_by_day(self) -> None:
        self.create(
            "orders",
            {"id": "INTEGER", "at": "DATE"},
            [(n, f"2025-11-{day}") for n, day in enumerate((14, 15, 16))],
        )
        start = datetime(2025, 11, 15, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
        day = WindowSlice("orders", start, start + timedelta(days=1))
        source = self.source(query_field="at", query_field_timezone="America/New_York")
        assert self.ids(source, day) == [1]
        with pytest.raises(ConfigurationError, match="1d"):
            source.count(WINDOW)

    @pytest.mark.parametrize("minutes", [30, 60, 1440])
    @pytest.mark.parametrize(
        ("zone", "day"),
        [
            ("America/New_York", datetime(2025, 3, 9)),
            ("America/New_York", datetime(2025, 11, 2)),
            ("Australia/Lord_Howe", datetime(2025, 4, 6)),
            ("Australia/Lord_Howe", datetime(2025, 10, 5)),
        ],
    )
    def test_on_days_of_clock_changes_every_row_is_in_exactly_one_window(
        self, zone: str, day: datetime, minutes: int
    ) -> None:
        hours = 48 if minutes == 1440 else 8
        first = day if minutes == 1440 else day - timedelta(hours=2)
        walls = [first + timedelta(minutes=10 * n) for n in range(hours * 6)]
        self.orders(walls, self.TIMESTAMP)
        source = self.source(query_field="at", query_field_timezone=zone)
        tz = ZoneInfo(zone)
        last = (first + timedelta(hours=hours)).replace(tzinfo=tz).astimezone(UTC)
        bounds = [first.replace(tzinfo=tz).astimezone(UTC)]
        while bounds[-1] < last:
            if minutes < 1440:
                bounds.append(bounds[-1] + timedelta(minutes=minutes))
            else:
                next_day = bounds[-1].astimezone(tz).date() + timedelta(days=1)
                midnight = datetime(next_day.year, next_day.month, next_day.day, tzinfo=tz)
                bounds.append(midnight.astimezone(UTC))
        found: Counter[int] = Counter()
        for start, end in itertools.pairwise(bounds):
            with source.read(WindowSlice("orders", start, end)) as snapshot:
                found.update(row["id"] for row in rows_of(snapshot))
        assert found == Counter(range(len(walls)))

    def test_rows_without_required_values_are_rejected_with_their_reason(self) -> None:
        self.create(
            "orders",
            {
                "ID": "INTEGER",
                "at": self.TIMESTAMPTZ,
                "Amount": "DECIMAL(9, 2)",
                "ratio": "DOUBLE PRECISION",
            },
            [
                (1, START, "1.50", 0.5),
                (None, START + TICK, "2.50", float("nan")),
                (3, START, None, None),
                (None, START, None, 1.0),
            ],
        )
        source = self.source(query_field="at", required_fields=("ID", "Amount"))
        with source.read(WINDOW) as snapshot:
            assert snapshot.count == 4
            batches = list(snapshot.batches)
        good = [row for batch in batches for row in batch.rows.to_pylist()]
        assert [row["id"] for row in good] == [1]
        bad: list[RejectedRecord] = [record for batch in batches for record in batch.rejected]
        assert sorted(record.reason for record in bad) == [
            "amount is NULL", "id is NULL", "id is NULL",
        ]  # fmt: skip
        records = [json.loads(record.record) for record in bad]
        assert {
            "id": None,
            "at": "2025-11-15 10:00:00.000001Z",
            "amount": "2.50",
            "ratio": "nan",
        } in records

    def test_check_lists_what_is_wrong(self) -> None:
        columns = {"id": "INTEGER", "at": self.TIMESTAMPTZ, "wall": self.TIMESTAMP, "t": "TEXT"}
        self.create("orders", columns, [])
        assert self.failed(self.source(query_field="at", change_field="id")) == []
        for settings, name in (
            ({"query_field": "none"}, "query_field"),
            ({"query_field": "wall"}, "query_field"),
            ({"query_field": "id"}, "query_field"),
            ({"query_field": "t"}, "query_field"),
            ({"query_field": "at", "change_field": "none"}, "change_field"),
            ({"query_field": "at", "required_fields": ("none",)}, "required_fields"),
            ({"query_field": "at", "include_columns": ("at", "none")}, "include_columns"),
            ({"query_field": "at", "exclude_columns": ("none",)}, "exclude_columns"),
        ):  # fmt: skip
            source = self.source(**settings)
            assert self.failed(source) == [name]
            with pytest.raises(ConfigurationError):
                source.count(WINDOW)

    def test_view_is_read_like_a_table(self) -> None:
        self.orders([START])
        self.execute('CREATE VIEW orders_view AS SELECT id + 1 AS id, "at" FROM orders')
        assert self.ids(self.source("orders_view", query_field="at")) == [1]

    def values(self, expression: str) -> tuple[pa.DataType, Any]:
        """One value through the whole way."""
        self.execute("DROP TABLE IF EXISTS typed")
        at = f"CAST('{START:%Y-%m-%d %H:%M:%S}+00' AS {self.TIMESTAMPTZ})"
        self.execute(f'CREATE TABLE typed AS SELECT {expression} AS v, {at} AS "at"')
        with self.source("typed", query_field="at").read(WINDOW) as snapshot:
            (row,) = rows_of(snapshot)
            return snapshot.schema.field("v").type, row["v"]

    def refused(self, expression: str) -> None:
        """Values without an exact staged form name their column."""
        with pytest.raises(DataError, match="'v'"):
            self.values(expression)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

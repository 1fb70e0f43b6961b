"""What every SQL source must do; a test class gives the system and how to fill it.

Columns are described by a dialect's own type names, rows by literals, so that the same rows can be
asked for from every system.
"""

import itertools
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from pipeline_platform.errors import ConfigurationError, DataError, PermanentError
from pipeline_platform.movement import RejectedRecord, Snapshot, WindowSlice
from pipeline_platform.sources.base import Source

UTC = timezone.utc
START = datetime(2025, 11, 15, 10, tzinfo=UTC)
WINDOW = WindowSlice("orders", START, START + timedelta(hours=1))
TICK = timedelta(microseconds=1)
HOSTILE = ['quo"te', "two\nlines", "größe 日", "semi; DROP TABLE x; --", "per%s {cent} ?", "back\\"]


def rows_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for batch in snapshot.batches:
        assert batch.rows.schema.equals(snapshot.schema)
        rows += batch.rows.to_pylist()
    return rows


class SourceContract(ABC):
    """Subclass as `TestXSource`."""

    TIMESTAMPTZ = "TIMESTAMPTZ"
    TIMESTAMP = "TIMESTAMP"

    @abstractmethod
    def execute(self, statement: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        """Run in the system, committed, once per row with `?` for its values."""

    @abstractmethod
    def source(self, table: str = "orders", **settings: Any) -> Source: ...

    def writer_in_this_process(self) -> AbstractContextManager[Any]:
        """What lets `execute` write while a snapshot is read."""
        return nullcontext()

    def create(self, table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]) -> None:
        listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        self.execute(f"CREATE TABLE {quoted(table)} ({listed})")
        if rows:
            marks = ", ".join("?" for _ in columns)
            self.execute(f"INSERT INTO {quoted(table)} VALUES ({marks})", rows)

    def orders(self, times: Sequence[datetime | None], kind: str | None = None) -> None:
        columns = {"id": "INTEGER", "at": kind or self.TIMESTAMPTZ}
        self.create("orders", columns, [(n, at) for n, at in enumerate(times)])

    def ids(self, source: Source, window: WindowSlice = WINDOW) -> list[int]:
        with source.read(window) as snapshot:
            ids = sorted(row["id"] for row in rows_of(snapshot))
            assert snapshot.count == len(ids)
            assert snapshot.kind == "exact"
        assert source.count(window) == len(ids)
        return ids

    def test_bounds_are_start_included_end_excluded_to_the_microsecond(self) -> None:
        end = WINDOW.end
        self.orders([START - TICK, START, START + TICK, end - TICK, end, end + TICK, None])
        assert self.ids(self.source(query_field="at")) == [1, 2, 3]

    def test_timestamp_without_zone_needs_its_zone(self) -> None:
        wall = START.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
        self.orders([wall - TICK, wall, wall + timedelta(hours=1) - TICK], self.TIMESTAMP)
        zoned = self.source(query_field="at", query_field_timezone="America/New_York")
        assert self.ids(zoned) == [1, 2]
        with pytest.raises(ConfigurationError, match="query_field_timezone"):
            self.source(query_field="at").count(WINDOW)

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_epoch_field(self, unit: Any) -> None:
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        first, last = (int(at.timestamp()) * per_second for at in (WINDOW.start, WINDOW.end))
        self.create(
            "orders",
            {"id": "INTEGER", "at": "BIGINT"},
            [(n, at) for n, at in enumerate([first - 1, first, last - 1, last])],
        )
        assert self.ids(self.source(query_field="at", query_field_unit=unit)) == [1, 2]

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

    def test_empty_window(self) -> None:
        self.orders([START - timedelta(days=1)])
        source = self.source(query_field="at", change_field="id")
        with source.read(WINDOW) as snapshot:
            assert (snapshot.count, snapshot.change_value) == (0, None)
            assert snapshot.schema.names == ["id", "at"]
            assert rows_of(snapshot) == []
        assert source.count(WINDOW) == 0
        assert source.change_value(WINDOW) is None

    def test_batches_are_bounded(self) -> None:
        self.orders([START] * 25)
        with self.source(query_field="at", batch_rows=10).read(WINDOW) as snapshot:
            sizes = [batch.rows.num_rows for batch in snapshot.batches]
        assert sum(sizes) == 25
        assert max(sizes) == 10

    def test_snapshot_does_not_see_later_writes(self) -> None:
        self.orders([START + TICK * n for n in range(30)])
        source = self.source(query_field="at", batch_rows=7, change_field="id")
        with self.writer_in_this_process(), source.read(WINDOW) as snapshot:
            self.execute("DELETE FROM orders WHERE id < 20")
            first = next(snapshot.batches)
            self.execute('INSERT INTO orders SELECT id + 100, "at" FROM orders')
            self.execute("UPDATE orders SET id = id + 1000")
            rows = first.rows.to_pylist() + rows_of(snapshot)
            assert sorted(row["id"] for row in rows) == list(range(30))
            assert (snapshot.count, snapshot.change_value) == (30, "29")
        assert source.count(WINDOW) == 20

    def test_change_value_is_the_windows_greatest_as_text(self) -> None:
        self.create(
            "orders",
            {"id": "INTEGER", "at": self.TIMESTAMPTZ, "changed": self.TIMESTAMP},
            [
                (1, START, "2025-11-15 10:00:00.000001"),
                (2, START, "2025-11-15 12:00:00.5"),
                (3, START, None),
                (4, START + timedelta(days=1), "2025-11-20 12:00:00"),
            ],
        )
        source = self.source(query_field="at", change_field="changed")
        assert source.change_value(WINDOW) == "2025-11-15 12:00:00.5"
        with source.read(WINDOW) as snapshot:
            assert snapshot.change_value == "2025-11-15 12:00:00.5"
        assert self.source(query_field="at").change_value(WINDOW) is None

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

    def test_include_and_exclude(self) -> None:
        self.create("orders", {"id": "INTEGER", "a": "INTEGER", "at": self.TIMESTAMPTZ}, [])
        for settings in ({"include_columns": ("at", "id")}, {"exclude_columns": ("a",)}):
            with self.source(query_field="at", **settings).read(WINDOW) as snapshot:
                assert snapshot.schema.names == ["id", "at"]

    def test_names_are_made_safe_and_the_originals_kept(self) -> None:
        self.create("orders", {"OrderID (net)": "INTEGER", "At": self.TIMESTAMPTZ}, [(1, START)])
        with self.source(query_field="At").read(WINDOW) as snapshot:
            assert rows_of(snapshot)[0]["order_id_net"] == 1
            assert snapshot.original_names == {"order_id_net": "OrderID (net)", "at": "At"}
        with self.source(query_field="At", safe_names=False).read(WINDOW) as snapshot:
            assert snapshot.schema.names == ["OrderID (net)", "At"]

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_names(self, name: str) -> None:
        columns = {name: self.TIMESTAMPTZ, f"{name}2": "INTEGER"}
        self.create(name, columns, [(START, 7), (START - TICK, 8)])
        source = self.source(name, query_field=name, change_field=f"{name}2", safe_names=False)
        assert all(check.passed for check in source.check()), source.check()
        with source.read(WINDOW) as snapshot:
            assert [row[f"{name}2"] for row in rows_of(snapshot)] == [7]
            assert snapshot.change_value == "7"
        assert source.count(WINDOW) == 1
        self.execute(f"DROP TABLE {quoted(name)}")

    def test_two_names_that_fall_together_are_refused(self) -> None:
        self.create("orders", {"a b": "INTEGER", "a_b": "INTEGER", "at": self.TIMESTAMPTZ}, [])
        source = self.source(query_field="at")
        assert self.failed(source) == ["column names"]
        with (
            pytest.raises(ConfigurationError, match="both become"),
            source.read(WINDOW),
        ):
            pass

    def failed(self, source: Source) -> list[str]:
        checks = source.check()
        for check in checks:
            assert check.passed or check.hint, check
        return [check.name for check in checks if not check.passed]

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

    def test_missing_table(self) -> None:
        self.orders([])
        source = self.source("no_such_table", query_field="at")
        assert self.failed(source) == ["source table"]
        with pytest.raises(PermanentError, match="does not exist"):
            source.count(WINDOW)
        with pytest.raises(PermanentError, match="does not exist"), source.read(WINDOW):
            pass

    def test_view_is_read_like_a_table(self) -> None:
        self.orders([START])
        self.execute('CREATE VIEW orders_view AS SELECT id + 1 AS id, "at" FROM orders')
        assert self.ids(self.source("orders_view", query_field="at")) == [1]

    def abandon(self, source: Source) -> None:
        with source.read(WINDOW) as snapshot:
            next(snapshot.batches)
            raise KeyError

    def test_leaving_early_closes_everything(self) -> None:
        self.orders([START] * 200)
        source = self.source(query_field="at", batch_rows=1)
        for _ in range(3):
            with pytest.raises(KeyError):
                self.abandon(source)
            with source.read(WINDOW) as snapshot:
                next(snapshot.batches)
        self.execute("DROP TABLE orders")

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

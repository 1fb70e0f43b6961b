"""What every source must do; a test class gives the system and how to fill it.

Columns are described by type names of SQL, which a system without SQL translates.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pipeline_platform.errors import ConfigurationError, PermanentError
from pipeline_platform.movement import Snapshot, WindowSlice
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
    OBJECT_CHECK = "source table"
    GREATEST_CHANGE = "2025-11-15 12:00:00.5"

    @abstractmethod
    def create(
        self, table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]
    ) -> None: ...

    @abstractmethod
    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None: ...

    @abstractmethod
    def delete(self, table: str, ids: Sequence[int]) -> None:
        """Rows whose column `id` is one of these."""

    @abstractmethod
    def drop(self, table: str) -> None: ...

    @abstractmethod
    def source(self, table: str = "orders", **settings: Any) -> Source: ...

    def writer_in_this_process(self) -> AbstractContextManager[Any]:
        """What lets this process write while a snapshot is read."""
        return nullcontext()

    def in_order(self, *names: str) -> list[str]:
        """The order in which the system lists columns that were created in this order."""
        return list(names)

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

    def test_empty_window(self) -> None:
        self.orders([START - timedelta(days=1)])
        source = self.source(query_field="at", change_field="id")
        with source.read(WINDOW) as snapshot:
            assert (snapshot.count, snapshot.change_value) == (0, None)
            assert snapshot.schema.names == self.in_order("id", "at")
            assert rows_of(snapshot) == []
        assert source.count(WINDOW) == 0
        assert source.change_value(WINDOW) is None

    def test_batches_are_bounded(self) -> None:
        self.orders([START] * 25)
        with self.source(query_field="at", batch_rows=10).read(WINDOW) as snapshot:
            sizes = [batch.rows.num_rows for batch in snapshot.batches]
        assert sum(sizes) == 25
        assert max(sizes) == 10

    @pytest.mark.fault_row(12)
    def test_snapshot_does_not_see_later_writes(self) -> None:
        self.orders([START + TICK * n for n in range(30)])
        source = self.source(query_field="at", batch_rows=7, change_field="id")
        with self.writer_in_this_process(), source.read(WINDOW) as snapshot:
            self.delete("orders", range(20))
            first = next(snapshot.batches)
            self.insert("orders", [(n + 100, START) for n in range(20)])
            self.delete("orders", range(20, 30))
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
        assert source.change_value(WINDOW) == self.GREATEST_CHANGE
        with source.read(WINDOW) as snapshot:
            assert snapshot.change_value == self.GREATEST_CHANGE
        assert self.source(query_field="at").change_value(WINDOW) is None

    def test_include_and_exclude(self) -> None:
        self.create("orders", {"id": "INTEGER", "a": "INTEGER", "at": self.TIMESTAMPTZ}, [])
        for settings in ({"include_columns": ("at", "id")}, {"exclude_columns": ("a",)}):
            with self.source(query_field="at", **settings).read(WINDOW) as snapshot:
                assert snapshot.schema.names == self.in_order("id", "at")

    def test_names_are_made_safe_and_the_originals_kept(self) -> None:
        self.create("orders", {"OrderID (net)": "INTEGER", "At": self.TIMESTAMPTZ}, [(1, START)])
        with self.source(query_field="At").read(WINDOW) as snapshot:
            assert rows_of(snapshot)[0]["order_id_net"] == 1
            assert snapshot.original_names == {"order_id_net": "OrderID (net)", "at": "At"}
        with self.source(query_field="At", safe_names=False).read(WINDOW) as snapshot:
            assert snapshot.schema.names == self.in_order("OrderID (net)", "At")

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
        self.drop(name)

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

    def test_missing_table(self) -> None:
        self.orders([])
        source = self.source("no_such_table", query_field="at")
        assert self.failed(source) == [self.OBJECT_CHECK]
        with pytest.raises(PermanentError, match="does not exist"):
            source.count(WINDOW)
        with pytest.raises(PermanentError, match="does not exist"), source.read(WINDOW):
            pass

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
        self.drop("orders")

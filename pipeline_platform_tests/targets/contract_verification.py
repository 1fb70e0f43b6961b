"""What a load must notice: counts, sums, files, names, types, zones."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.errors import (
    ToleranceError,
    VerificationError,
)
from pipeline_platform.movement import Manifest, TargetCounts, WindowSlice
from pipeline_platform.query_field import QueryField, wall_clock_bound
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.targets.staged import (
    HOUR,
    START,
    WINDOW,
    Staging,
    at_epoch,
    every_type,
)
from pipeline_platform_tests.targets.warehouse import (
    BERLIN,
    ROWS,
    TargetTests,
    Warehouse,
)


class VerificationContract(TargetTests):
    HOSTILE_SCHEMA = 's"x %s'
    HOSTILE_TABLE = "t{0};--'"
    HOSTILE_NAMES: tuple[str, ...] = (
        "select", 'a"b', "x.y", "100%", "$1", "{table}", "new\nline", "größe 🎈", "A b'c",
    )  # fmt: skip

    @pytest.mark.fault_row(19)
    def test_loss_over_and_within_tolerance(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        before = warehouse.everything()
        more: Callable[[Manifest], Manifest] = lambda manifest: replace(manifest, rows=25)  # noqa: E731
        with pytest.raises(ToleranceError, match=r"8\.00 % is over") as caught:
            target.load(staging.request(ROWS, epoch=2, change=more, tolerance="7.99"))
        assert caught.value.facts["observed"] == 23
        assert caught.value.facts["expected"] == 25
        assert warehouse.everything() == before
        result = target.load(staging.request(ROWS, epoch=2, change=more, tolerance="8"))
        assert result.details["loss_percent"] == 8.0
        assert (result.commit.stage_rows, result.commit.target_rows) == (25, 23)

    def test_more_rows_than_staged(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        before = warehouse.everything()
        fewer: Callable[[Manifest], Manifest] = lambda manifest: replace(manifest, rows=22)  # noqa: E731
        with pytest.raises(VerificationError, match="1 rows too many"):
            target.load(staging.request(ROWS, epoch=2, change=fewer, tolerance="50"))
        assert warehouse.everything() == before

    @pytest.mark.parametrize(
        ("column", "changed"),
        [
            ("id", lambda row: row["id"] + 1),
            ("id", lambda row: 0 if row["id"] == 1 else row["id"]),
            ("amount", lambda row: row["amount"] and row["amount"].quantize(Decimal("0.1"))),
            ("amount", lambda row: row["amount"] or Decimal(0)),
            ("created_at", lambda row: row["created_at"] + timedelta(microseconds=1)),
            ("price", lambda row: row["price"] * 1.0000001),
            ("name", lambda row: row["name"] and row["name"].replace("ö", "o")),
            ("name", lambda row: row["name"] or None),
        ],
    )
    def test_silent_changes_are_caught(
        self,
        column: str,
        changed: Callable[[dict[str, Any]], Any],
        warehouse: Warehouse,
        target: Target,
        staging: Staging,
    ) -> None:
        target.load(staging.request(ROWS))
        before = warehouse.everything()
        honest = staging.manifest(ROWS, epoch=2)
        edited = [{**row, column: changed(row)} for row in ROWS]
        request = staging.request(edited, epoch=3)
        swapped = replace(request, manifest=replace(request.manifest, columns=honest.columns))
        with pytest.raises(VerificationError, match=f"manifest in {column}"):
            target.load(swapped)
        assert warehouse.everything() == before

    @pytest.mark.fault_row(19)
    def test_a_row_dropped_and_another_doubled(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        honest = staging.manifest(ROWS, epoch=1)
        request = staging.request([*ROWS[1:], ROWS[7]], epoch=2)
        with pytest.raises(VerificationError, match="id: sum"):
            target.load(
                replace(request, manifest=replace(request.manifest, columns=honest.columns))
            )
        assert warehouse.ids() == []

    def test_rows_outside_the_window(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        late = [*ROWS, {**ROWS[0], "created_at": WINDOW.end}]
        with pytest.raises(VerificationError, match="24 rows carry the window"):
            target.load(staging.request(late, tolerance="50"))
        assert warehouse.ids() == []

    @pytest.mark.fault_row(18)
    def test_missing_and_foreign_files(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        request = staging.request(ROWS)
        other = staging.request(every_type(), epoch=9)
        Path(request.files[0]).unlink()
        with pytest.raises(VerificationError, match="cannot be read"):
            target.load(request)
        with pytest.raises(VerificationError, match="columns"):
            target.load(replace(request, files=(other.files[0], *request.files[1:])))
        with pytest.raises(VerificationError, match="files are to be loaded"):
            target.load(replace(request, files=()))
        assert warehouse.ids() == []

    # Names, types, zones

    def test_hostile_names(self, warehouse: Warehouse, tmp_path: Path) -> None:
        staging = Staging(tmp_path / "a[b]*?{c}'s k=v")
        evil = 'o"; DROP TABLE x; --'
        names = self.HOSTILE_NAMES
        table = pa.table(
            {
                evil: pa.array([START], pa.timestamp("us", "UTC")),
                **{n: pa.array([n]) for n in names},
            }
        )
        schema, named = self.HOSTILE_SCHEMA, self.HOSTILE_TABLE
        target = warehouse.target(schema=schema, table=named, query_field=QueryField(evil))
        target.prepare(table.schema)
        target.prepare(table.schema)
        assert all(check.passed for check in target.check_columns(table.schema))
        window = replace(WINDOW, pipeline_name="orders")
        target.load(staging.request(table, window=window, query_field=evil))
        assert target.count(window) == TargetCounts(1, 1)
        schema = schema.replace('"', '""')
        rows = warehouse.execute(f'SELECT * FROM "{schema}"."{named}"')
        assert rows[0][1:10] == names
        assert target.delete_window(window, 1) == 1

    def every_type(self) -> pa.Table:
        """Staged columns of all types that the database holds."""
        return every_type()

    def test_every_type(self, warehouse: Warehouse, staging: Staging) -> None:
        table = self.every_type()
        target = warehouse.target()
        target.prepare(table.schema)
        assert all(check.passed for check in target.check_columns(table.schema))
        request = staging.request(table)
        result = target.load(request)
        assert result.details["columns_verified"] == len(table.schema)
        target.load(at_epoch(request, 2))
        self.assert_equal(warehouse, table)

    @abstractmethod
    def assert_equal(self, warehouse: Warehouse, table: pa.Table) -> None:
        """`analytics.orders` holds exactly these values."""

    def test_wall_clock_on_the_day_the_clocks_go_back(
        self, warehouse: Warehouse, staging: Staging
    ) -> None:
        """02:00 to 03:00 happens twice; both belong to the first occurrence's window."""
        field = QueryField("created_at", time_zone="Europe/Berlin")
        schema = pa.schema({"created_at": pa.timestamp("us"), "id": pa.int64()})
        target = warehouse.target(query_field=field)
        target.prepare(schema)
        midnight = datetime(2025, 10, 25, 22, tzinfo=timezone.utc)
        walls = [datetime(2025, 10, 26) + timedelta(minutes=20 * n) for n in range(24 * 3)]
        loaded = []
        for hour in range(25):
            window = WindowSlice("orders", midnight + hour * HOUR, midnight + (hour + 1) * HOUR)
            low, high = wall_clock_bound(window.start, BERLIN), wall_clock_bound(window.end, BERLIN)
            rows = [{"created_at": w, "id": n} for n, w in enumerate(walls) if low <= w < high]
            target.load(staging.request(rows, window=window, schema=schema))
            assert target.count(window) == TargetCounts(len(rows), len(rows))
            loaded.append(len(rows))
        assert loaded == [3, 3, 3, 0, *[3] * 21]
        assert warehouse.ids() == list(range(72))

    def test_query_fields_that_are_days_or_ticks(
        self, warehouse: Warehouse, staging: Staging
    ) -> None:
        ticks = pa.schema({"created_at": pa.int64(), "id": pa.int64()})
        at = int(START.timestamp()) * 1000
        target = warehouse.target(query_field=QueryField("created_at", unit="ms"))
        target.prepare(ticks)
        rows = [{"created_at": at + n, "id": n} for n in (0, 3_599_999)]
        target.load(staging.request(rows, schema=ticks))
        with pytest.raises(VerificationError):
            target.load(
                staging.request([{"created_at": at + 3_600_000, "id": 1}], epoch=2, schema=ticks)
            )
        assert warehouse.ids() == [0, 3_599_999]
        days = pa.schema({"created_at": pa.date32(), "id": pa.int64()})
        daily = warehouse.target(table="daily", query_field=QueryField("created_at", "UTC"))
        daily.prepare(days)
        day = WindowSlice("orders", START - 10 * HOUR, START + 14 * HOUR)
        row = {"created_at": START.date(), "id": 1}
        daily.load(staging.request([row], window=day, schema=days))
        assert daily.count(day) == TargetCounts(1, 1)

"""What a target must refuse before and inside the transaction."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline_platform.errors import (
    DataError,
    PermanentError,
    ToleranceError,
)
from pipeline_platform.movement import TargetCounts, WindowSlice
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.targets.staged import (
    HOUR,
    SCHEMA,
    START,
    WINDOW,
    Staging,
    rows_of,
)
from pipeline_platform_tests.targets.warehouse import (
    ROWS,
    TargetTests,
    Warehouse,
)

HALVES = [
    WindowSlice("orders", START + HOUR / 2 * half, START + HOUR / 2 * (half + 1)) for half in (0, 1)
]


class RefusalContract(TargetTests):
    # Types that cannot hold every staged value: of price (float64), and of id (int64).
    NARROW_FLOAT = "real"
    NARROW_INTEGER = "smallint"

    def test_overlap_is_refused(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        before = warehouse.everything()[0]
        for start, end in ((0, 30), (-60, 90), (30, 90), (-30, 30), (10, 20), (0, 61)):
            window = WindowSlice(
                "orders", START + timedelta(minutes=start), START + timedelta(minutes=end)
            )
            with pytest.raises(PermanentError, match="restate"):
                target.load(staging.request(rows_of(3, window), window=window, adopt=True))
        assert warehouse.everything()[0] == before
        target.delete_window(WINDOW, 2)
        half = HALVES[0]
        target.load(staging.request(rows_of(3, half), window=half))
        assert warehouse.ids() == [0, 1, 2]

    def test_restating_replaces_windows_with_other_bounds(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        """An hour is cut into halves and put together again; at no moment is a row there twice."""
        target.load(staging.request(ROWS))
        first, second = HALVES
        neighbour = WindowSlice("orders", START + HOUR, START + 2 * HOUR)
        target.load(staging.request(rows_of(5, neighbour), window=neighbour))
        assert not target.check_window(first).passed
        assert target.check_window(WINDOW).passed
        result = target.load(staging.request(rows_of(3, first), window=first, restate=True))
        assert result.details["windows_restated"] == 1
        replaced = sum(row["created_at"] < first.end for row in ROWS)
        assert result.details["rows_restated"] == replaced
        assert target.count(second) == TargetCounts(0, len(ROWS) - replaced)
        given_up = target.commit_row(WINDOW)
        assert given_up is not None
        assert (given_up.manifest_hash, given_up.audit_result) == (None, "RESTATED")
        assert target.count(first) == TargetCounts(3, 3)
        with pytest.raises(PermanentError, match="--restate"):
            target.load(staging.request(rows_of(2, second), window=second))
        target.load(staging.request(rows_of(2, second), window=second, restate=True))
        assert target.count(second) == TargetCounts(2, 2)
        assert target.count(WINDOW) == TargetCounts(3, 5)
        target.load(staging.request(ROWS, epoch=2, restate=True))
        assert target.count(WINDOW) == TargetCounts(len(ROWS), len(ROWS))
        assert target.count(neighbour) == TargetCounts(5, 5)

    def test_what_a_restated_window_left_behind_is_never_taken_for_another_one_s(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        """The second half is restated; the first begins when the whole hour did."""
        target.load(staging.request(ROWS))
        first, second = HALVES
        target.load(staging.request(rows_of(2, second), window=second, restate=True))
        left = sum(row["created_at"] < first.end for row in ROWS)
        assert target.count(first) == TargetCounts(0, left)
        with pytest.raises(PermanentError, match=f"{left} rows of the window.*--restate"):
            target.load(staging.request(rows_of(3, first), window=first))
        assert target.delete_window(WINDOW, 9) == 0
        assert target.count(first) == TargetCounts(0, left)
        target.load(staging.request(rows_of(3, first), window=first, restate=True))
        assert target.delete_window(WINDOW, 9) == 0
        assert target.count(first) == TargetCounts(3, 3)
        assert target.count(second) == TargetCounts(2, 2)

    def test_restating_does_not_wipe_history(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        before = warehouse.everything()[0]
        half = HALVES[0]
        request = staging.request([], window=half, restate=True, max_shrink_percent=Decimal(5))
        with pytest.raises(ToleranceError, match="restating it would lose more than 5 %"):
            target.load(request)
        assert warehouse.everything()[0] == before
        target.load(replace(request, max_shrink_percent=None))
        assert target.count(half) == TargetCounts(0, 0)

    @pytest.mark.parametrize("owner", ["nobody", "other pipeline", "other window"])
    def test_rows_of_others_are_refused_or_adopted(
        self, owner: str, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        name, start = {
            "nobody": (None, None),
            "other pipeline": ("invoices", START),
            "other window": ("orders", START - 10 * HOUR),
        }[owner]
        for minutes in (-1, 0, 59, 60):
            warehouse.execute(
                "INSERT INTO analytics.orders (id, created_at, _pipeline_name, "
                "_pipeline_window_start) VALUES ($1, $2, $3, $4)",
                [5000 + minutes, START + timedelta(minutes=minutes), name, start],
            )
        before = warehouse.everything()[0]
        with pytest.raises(PermanentError, match="2 rows of the window"):
            target.load(staging.request(ROWS))
        assert warehouse.everything()[0] == before
        if owner != "nobody":
            # Their own commit row vouches for them: not even `adopt` takes them.
            with pytest.raises(PermanentError, match="2 rows of the window"):
                target.load(staging.request(ROWS, adopt=True))
            assert warehouse.everything()[0] == before
            return
        result = target.load(staging.request(ROWS, adopt=True))
        assert result.details["rows_adopted"] == 2
        assert warehouse.ids() == [*range(23), 4999, 5060]
        warehouse.execute(
            "INSERT INTO analytics.orders (id, created_at) VALUES (7000, $1)", [START]
        )
        with pytest.raises(PermanentError, match="1 rows of the window"):
            target.load(staging.request(ROWS, epoch=2, adopt=True))

    def test_takes_over_a_table_of_the_user(self, warehouse: Warehouse, staging: Staging) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute(
            "CREATE TABLE analytics.orders (name varchar, extra int DEFAULT 7, "
            "created_at timestamptz, amount numeric(20,4), id bigint, price double precision)"
        )
        warehouse.execute("INSERT INTO analytics.orders (id, created_at) VALUES (1, $1)", [START])
        strict = warehouse.target()
        assert [check.name for check in strict.check() if not check.passed] == ["target table"]
        assert strict.count(WINDOW) == TargetCounts(0, 1)
        with pytest.raises(PermanentError, match="adopt"):
            strict.prepare(SCHEMA)
        target = warehouse.target(adopt=True)
        assert all(check.passed for check in [*target.check(), *target.check_columns(SCHEMA)])
        target.prepare(SCHEMA)
        target.load(staging.request(ROWS, adopt=True))
        assert warehouse.ids() == list(range(23))
        assert warehouse.execute("SELECT DISTINCT extra FROM analytics.orders") == [(7,)]

    @pytest.mark.fault_row(23)
    def test_columns_that_do_not_fit(self, warehouse: Warehouse, staging: Staging) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute(
            "CREATE TABLE analytics.orders (id varchar, created_at timestamp, "
            f"amount numeric(18,1), price {self.NARROW_FLOAT}, demanded int NOT NULL)"
        )
        target = warehouse.target(adopt=True)
        checks = target.check_columns(SCHEMA)
        failed = {check.name.lower() for check in checks if not check.passed}
        wanted = ("id", "created_at", "amount", "price", "demanded", "name")
        assert failed == {f"column {name}" for name in wanted}
        target.prepare(SCHEMA)
        with pytest.raises(PermanentError):
            target.load(staging.request(ROWS))
        nested = pa.schema({"created_at": pa.timestamp("us", "UTC"), "x": pa.list_(pa.int8())})
        assert "column x" in {
            check.name for check in target.check_columns(nested) if not check.passed
        }
        assert not warehouse.target(query_field=QueryField("gone")).check_columns(SCHEMA)[0].passed

    @pytest.mark.fault_row(15)
    def test_a_value_too_great_for_the_column(self, warehouse: Warehouse, staging: Staging) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute(
            f"CREATE TABLE analytics.orders (id {self.NARROW_INTEGER}, created_at timestamptz, "
            "amount numeric(18,2), price double precision, name varchar)"
        )
        target = warehouse.target(adopt=True)
        target.prepare(SCHEMA)
        target.load(staging.request(ROWS))
        before = warehouse.everything()
        with pytest.raises(DataError):
            target.load(staging.request([*ROWS, {**ROWS[0], "id": 40_000}], epoch=2))
        assert warehouse.everything() == before

    def test_nanoseconds_are_never_dropped(self, warehouse: Warehouse, staging: Staging) -> None:
        for zone in (None, "UTC"):
            stamps = pa.array([START, START], pa.timestamp("us", "UTC"))
            ticks = pc.add(stamps.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()), 1)
            table = pa.table({"created_at": stamps, "fine": ticks.cast(pa.timestamp("ns", zone))})
            target = warehouse.target()
            target.prepare(table.schema)
            with pytest.raises(DataError, match="'fine' has nanoseconds"):
                target.load(staging.request(table))
            assert target.count(WINDOW) == TargetCounts(0, 0)

"""What every SQL target must do; a database's own test class gives `warehouse`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline_platform.errors import (
    ClaimLostError,
    DataError,
    PermanentError,
    ToleranceError,
    TransientError,
    VerificationError,
)
from pipeline_platform.fault_points import InjectedFaultError, fault_hook
from pipeline_platform.movement import CommitRow, Manifest, TargetCounts, WindowSlice
from pipeline_platform.query_field import QueryField, wall_clock_bound
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.targets.staged import (
    HASHES,
    HOUR,
    SCHEMA,
    START,
    WINDOW,
    Staging,
    at_epoch,
    every_type,
    rows_of,
)

BERLIN = ZoneInfo("Europe/Berlin")
CREATED_AT = QueryField("created_at")
ROWS = rows_of(23)
OTHER_ROWS = rows_of(17, first=1000)


class Warehouse(ABC):
    """A database of its own per test."""

    @abstractmethod
    def target(
        self, *, table: str = "orders", query_field: QueryField = CREATED_AT, **settings: Any
    ) -> Target:
        """A target in the schema `analytics` unless `schema` says otherwise."""

    @abstractmethod
    def execute(self, statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement behind the target's back."""

    def ids(self) -> list[int]:
        return sorted(row[0] for row in self.execute("SELECT id FROM analytics.orders"))

    def everything(self) -> list[Any]:
        """Both tables byte for byte, in order."""
        rows = self.execute("SELECT t::text FROM analytics.orders t")
        commits = self.execute("SELECT t::text FROM analytics.orders_window_commits t")
        return [sorted(rows), sorted(commits)]


def content(row: CommitRow) -> CommitRow:
    """A commit row without its epoch and times."""
    return replace(row, epoch=0, committed_at=None, audited_at=None, updated_at=None)


def stop_at(point: str, action: Callable[[], None]) -> Callable[[str], None]:
    """A hook that acts at one fault point, once."""
    pending = [point]

    def hook(name: str) -> None:
        if pending == [name]:
            pending.clear()
            action()

    return hook


def fail() -> None:
    raise InjectedFaultError("cut")


class TargetContract(ABC):
    @pytest.fixture
    @abstractmethod
    def warehouse(self, request: pytest.FixtureRequest) -> Warehouse: ...

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Staging:
        return Staging(tmp_path)

    @pytest.fixture
    def target(self, warehouse: Warehouse) -> Target:
        target = warehouse.target()
        target.prepare(SCHEMA)
        return target

    # Before anything is there

    def test_says_nothing_is_there(self, warehouse: Warehouse) -> None:
        target = warehouse.target()
        assert target.commit_row(WINDOW) is None
        assert target.count(WINDOW) == TargetCounts(0, 0)
        assert all(check.passed for check in target.check())
        assert all(check.passed for check in target.check_columns(SCHEMA))
        assert target.delete_window(WINDOW, 1) == 0

    def test_prepares_once_and_again(self, warehouse: Warehouse, target: Target) -> None:
        target.prepare(SCHEMA)
        assert warehouse.ids() == []
        assert target.commit_row(WINDOW) is None
        assert all(check.passed for check in target.check())

    def test_may_not_create_the_table(self, warehouse: Warehouse) -> None:
        target = warehouse.target(create_table=False)
        assert not all(check.passed for check in target.check())
        with pytest.raises(PermanentError, match="create_table"):
            target.prepare(SCHEMA)

    # Loading

    def test_loads(self, warehouse: Warehouse, target: Target, staging: Staging) -> None:
        request = staging.request(ROWS, epoch=3)
        result = target.load(request)
        commit = target.commit_row(WINDOW)
        assert commit == result.commit
        assert commit is not None
        assert content(commit) == CommitRow(
            "orders", WINDOW.start, WINDOW.end, 0, request.manifest.hash, HASHES, "v1", 23, 23, 23
        )
        assert commit.epoch == 3
        assert commit.committed_at is not None
        assert abs(commit.committed_at - datetime.now(timezone.utc)) < timedelta(minutes=1)
        assert commit.audit_result is None
        assert result.counts == target.count(WINDOW) == TargetCounts(23, 23)
        assert result.details["columns_verified"] == 5
        assert warehouse.ids() == list(range(23))
        names = warehouse.execute(
            "SELECT DISTINCT _pipeline_name, _pipeline_window_start AT TIME ZONE 'UTC' "
            "FROM analytics.orders"
        )
        assert names == [("orders", WINDOW.start.replace(tzinfo=None))]

    def test_reload_replaces(self, warehouse: Warehouse, target: Target, staging: Staging) -> None:
        target.load(staging.request(ROWS))
        target.store_audit(WINDOW, 1, "PASS")
        result = target.load(staging.request(OTHER_ROWS, epoch=2))
        assert warehouse.ids() == list(range(1000, 1017))
        assert result.details["rows_replaced"] == 23
        assert result.commit.audit_result is None
        assert result.commit.audited_at is None

    def test_the_same_manifest_again_changes_nothing(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        request = staging.request(ROWS)
        target.load(request)
        before, rows = target.commit_row(WINDOW), warehouse.everything()[0]
        for epoch in range(2, 6):
            target.load(at_epoch(request, epoch))
        after = target.commit_row(WINDOW)
        assert before is not None
        assert after is not None
        assert content(after) == content(before)
        assert warehouse.everything()[0] == rows

    def test_an_empty_window(self, warehouse: Warehouse, target: Target, staging: Staging) -> None:
        target.load(staging.request(ROWS))
        result = target.load(staging.request([], epoch=2))
        assert result.counts == target.count(WINDOW) == TargetCounts(0, 0)
        assert result.commit.target_rows == 0
        assert warehouse.ids() == []

    def test_windows_lie_side_by_side(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        after = WindowSlice("orders", WINDOW.end, WINDOW.end + HOUR)
        before = WindowSlice("orders", WINDOW.start - HOUR, WINDOW.start)
        for number, window in enumerate((after, before, WINDOW)):
            target.load(staging.request(rows_of(9, window, 100 * number), window=window))
        assert target.count(WINDOW) == TargetCounts(9, 9)
        assert target.delete_window(WINDOW, 2) == 9
        assert target.count(WINDOW) == TargetCounts(0, 0)
        assert target.count(before) == target.count(after) == TargetCounts(9, 9)

    def test_asks_whether_it_is_still_ours(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        before = warehouse.everything()
        asked = 0

        def lost() -> None:
            nonlocal asked
            asked += 1
            raise ClaimLostError("gone")

        with pytest.raises(ClaimLostError):
            target.load(staging.request(OTHER_ROWS, epoch=2, still_ours=lost))
        assert asked == 1
        assert warehouse.everything() == before

    # Fencing

    def test_an_older_epoch_changes_nothing(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS, epoch=5))
        target.store_audit(WINDOW, 5, "PASS")
        before = warehouse.everything()
        for epoch in (4, 1):
            with pytest.raises(ClaimLostError):
                target.load(staging.request(OTHER_ROWS, epoch=epoch))
            with pytest.raises(ClaimLostError):
                target.store_audit(WINDOW, epoch, "FAIL")
            with pytest.raises(ClaimLostError):
                target.delete_window(WINDOW, epoch)
            with pytest.raises(ClaimLostError):
                target.resolve(WINDOW, epoch)
        assert warehouse.everything() == before

    def test_one_epoch_loads_once(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS, epoch=5))
        before = warehouse.everything()
        with pytest.raises(ClaimLostError):
            target.load(staging.request(OTHER_ROWS, epoch=5))
        assert warehouse.everything() == before

    def test_resolve_fences(self, warehouse: Warehouse, target: Target, staging: Staging) -> None:
        target.load(staging.request(ROWS, epoch=1))
        assert target.resolve(WINDOW, 3).epoch == 3
        with pytest.raises(ClaimLostError):
            target.load(staging.request(OTHER_ROWS, epoch=2))
        assert target.delete_window(WINDOW, 3) == 23

    def test_audit_and_delete_of_the_same_run(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS, epoch=2))
        row = target.store_audit(WINDOW, 2, "PASS")
        assert (row.audit_result, row.epoch) == ("PASS", 2)
        assert row.audited_at is not None
        assert target.store_audit(WINDOW, 2, "PASS").audit_result == "PASS"
        assert target.delete_window(WINDOW, 2) == 23
        row_after = target.commit_row(WINDOW)
        assert row_after is not None
        assert content(row_after) == CommitRow("orders", WINDOW.start, WINDOW.end, 0)
        assert (row_after.epoch, row_after.committed_at) == (2, None)
        assert target.delete_window(WINDOW, 2) == 0
        with pytest.raises(PermanentError, match="no committed load"):
            target.store_audit(WINDOW, 2, "PASS")
        target.load(staging.request(ROWS, epoch=3))
        assert warehouse.ids() == list(range(23))

    # Refusals

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
        half = WindowSlice("orders", START, START + HOUR / 2)
        target.load(staging.request(rows_of(3, half), window=half))
        assert warehouse.ids() == [0, 1, 2]

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

    def test_columns_that_do_not_fit(self, warehouse: Warehouse, staging: Staging) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute(
            "CREATE TABLE analytics.orders (id varchar, created_at timestamp, "
            "amount numeric(18,1), price real, demanded int NOT NULL)"
        )
        target = warehouse.target(adopt=True)
        failed = {check.name for check in target.check_columns(SCHEMA) if not check.passed}
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

    def test_a_value_too_great_for_the_column(self, warehouse: Warehouse, staging: Staging) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute(
            "CREATE TABLE analytics.orders (id smallint, created_at timestamptz, "
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

    # Verification

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
        names = ["select", 'a"b', "x.y", "100%", "$1", "{table}", "new\nline", "größe 🎈", "A b'c"]
        table = pa.table(
            {
                evil: pa.array([START], pa.timestamp("us", "UTC")),
                **{n: pa.array([n]) for n in names},
            }
        )
        target = warehouse.target(schema='s"x %s', table="t{0};--'", query_field=QueryField(evil))
        target.prepare(table.schema)
        target.prepare(table.schema)
        assert all(check.passed for check in target.check_columns(table.schema))
        window = replace(WINDOW, pipeline_name="orders")
        target.load(staging.request(table, window=window, query_field=evil))
        assert target.count(window) == TargetCounts(1, 1)
        rows = warehouse.execute('SELECT * FROM "s""x %s"."t{0};--\'"')
        assert list(rows[0][1:10]) == names
        assert target.delete_window(window, 1) == 1

    def test_every_type(self, warehouse: Warehouse, staging: Staging) -> None:
        table = every_type()
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

    # Faults

    LOAD_POINTS = (
        "load.before_commit_row", "load.before_begin", "load.after_begin", "load.after_fence",
        "load.after_refusals", "load.after_delete", "load.after_insert", "load.after_verify",
        "load.after_update", "load.before_commit",
    )  # fmt: skip

    @pytest.mark.parametrize("point", LOAD_POINTS)
    def test_a_load_that_fails_leaves_the_old_rows(
        self, point: str, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        target.load(staging.request(ROWS))
        rows, before = warehouse.everything()[0], target.commit_row(WINDOW)
        with fault_hook(stop_at(point, fail)), pytest.raises(TransientError):
            target.load(staging.request(OTHER_ROWS, epoch=2))
        after = target.commit_row(WINDOW)
        assert warehouse.everything()[0] == rows
        assert before is not None
        assert after is not None
        assert content(after) == content(before)
        target.load(staging.request(OTHER_ROWS, epoch=3))
        assert warehouse.ids() == list(range(1000, 1017))

    def test_a_commit_whose_answer_got_lost(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        with fault_hook(stop_at("load.after_commit", fail)):
            result = target.load(staging.request(ROWS, epoch=2))
        assert result.details["outcome_resolved"]
        assert result.commit == target.commit_row(WINDOW) or content(result.commit) == content(
            target.resolve(WINDOW, 2)
        )
        with fault_hook(stop_at("audit.after_commit", fail)):
            assert target.store_audit(WINDOW, 2, "PASS").audit_result == "PASS"
        with fault_hook(stop_at("delete.after_commit", fail)):
            assert target.delete_window(WINDOW, 2) == 23
        assert warehouse.ids() == []

    def test_a_commit_that_did_not_arrive(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        """The same manifest again: its hash in the commit row proves nothing about this load."""
        request = staging.request(ROWS)
        target.load(request)
        warehouse.execute("DELETE FROM analytics.orders WHERE id < 5")
        with fault_hook(stop_at("load.before_commit", fail)), pytest.raises(TransientError):
            target.load(at_epoch(request, 2))
        assert warehouse.ids() == list(range(5, 23))
        with fault_hook(stop_at("audit.before_commit", fail)), pytest.raises(TransientError):
            target.store_audit(WINDOW, 3, "PASS")
        with fault_hook(stop_at("delete.before_commit", fail)), pytest.raises(TransientError):
            target.delete_window(WINDOW, 3)
        row = target.commit_row(WINDOW)
        assert row is not None
        assert (row.audit_result, row.manifest_hash) == (None, request.manifest.hash)
        target.load(at_epoch(request, 4))
        assert warehouse.ids() == list(range(23))

    def test_a_newer_run_was_faster_than_the_resolution(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        newer = staging.request(OTHER_ROWS, epoch=3)

        def take_over(name: str) -> None:
            if name == "load.after_commit":
                fail()
            if name == "load.before_resolve":
                with fault_hook(lambda name: None):
                    target.load(newer)

        with fault_hook(take_over), pytest.raises(ClaimLostError):
            target.load(staging.request(ROWS, epoch=2))
        assert warehouse.ids() == list(range(1000, 1017))

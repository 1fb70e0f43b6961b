"""What every SQL target must do; a database's own test class gives `warehouse`."""

from datetime import datetime, timedelta, timezone

import pytest

from pipeline_platform.errors import (
    ClaimLostError,
    PermanentError,
)
from pipeline_platform.movement import AttemptPath, CommitRow, TargetCounts, WindowSlice
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.targets.contract_faults import FaultContract
from pipeline_platform_tests.targets.contract_refusals import RefusalContract
from pipeline_platform_tests.targets.contract_verification import VerificationContract
from pipeline_platform_tests.targets.staged import (
    HASHES,
    HOUR,
    SCHEMA,
    WINDOW,
    Staging,
    at_epoch,
    rows_of,
)
from pipeline_platform_tests.targets.warehouse import (
    OTHER_ROWS,
    ROWS,
    Warehouse,
    content,
)


class TargetContract(RefusalContract, VerificationContract, FaultContract):
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
            "SELECT DISTINCT _pipeline_name, "
            f"{warehouse.wall_clock('_pipeline_window_start')} FROM analytics.orders"
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

    @pytest.mark.fault_row(21)
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

    def test_has_no_load_table_to_drop(
        self, warehouse: Warehouse, target: Target, staging: Staging
    ) -> None:
        attempts = [AttemptPath(WINDOW, epoch) for epoch in (1, 2)]
        assert warehouse.target(table="missing").drop_load_tables(attempts) == 0
        assert warehouse.target(schema="missing").drop_load_tables(attempts) == 0
        target.load(staging.request(ROWS, epoch=2))
        before = warehouse.everything()
        assert target.drop_load_tables(attempts) == target.drop_load_tables([]) == 0
        assert warehouse.everything() == before

    # Fencing

    @pytest.mark.fault_row(4)
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

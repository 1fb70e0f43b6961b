"""What a failed or doubtful transaction must leave behind."""

import pytest

from pipeline_platform.errors import (
    ClaimLostError,
    TransientError,
)
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.targets.staged import (
    WINDOW,
    Staging,
    at_epoch,
)
from pipeline_platform_tests.targets.warehouse import (
    OTHER_ROWS,
    ROWS,
    TargetTests,
    Warehouse,
    content,
    fail,
    stop_at,
)


class FaultContract(TargetTests):
    LOAD_POINTS = (
        "load.before_commit_row", "load.before_begin", "load.after_begin", "load.after_fence",
        "load.after_refusals", "load.after_delete", "load.after_insert", "load.after_verify",
        "load.after_update", "load.before_commit",
    )  # fmt: skip

    @pytest.mark.parametrize("point", LOAD_POINTS)
    @pytest.mark.fault_row(19)
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

    @pytest.mark.fault_row(3)
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

    @pytest.mark.fault_row(3)
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

    @pytest.mark.fault_row(3)
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

"""Revisions, the view, and runs that died."""

import time
from dataclasses import fields, replace
from datetime import timezone

import pytest

from pipeline_platform.drive_table.store import Claim, DriveStore
from pipeline_platform.errors import ClaimLostError
from pipeline_platform.execution import PHASES, ExecutionRow, PhaseRecord
from pipeline_platform.record import CLAIM_COLUMNS, PipelineRecord
from pipeline_platform_tests.drive_table.examples import (
    SHORT,
    START,
    Raw,
    a_full_record,
    a_full_row,
    a_record,
    a_row,
    claimed,
    hours,
    key_of,
    run,
    together,
)

SEED_COLUMNS = [
    "pipeline_id", "pipeline_name", "pipeline_status", "pipeline_retry_number",
    "pipeline_start_timestamp", "pipeline_end_timestamp", "pipeline_run_duration",
    "query_window_start_timestamp", "query_window_end_timestamp", "target_date",
    "query_window_duration", "stale_pipeline_handling_phase", "pre_validation_phase",
    "source_to_stage_transfer_phase", "stage_to_target_transfer_phase", "audit_phase",
    "stage_cleaning_phase", "target_cleaning_phase", "phases_completed", "phases_skipped",
    "phase_failed", "phases_pending", "created_at", "updated_at",
]  # fmt: skip
COLUMNS = [*SEED_COLUMNS, "dagster_run_id", "epoch", "config_hash", "error_category"]


class RunContract:
    """Part of `DriveStoreContract`."""

    def test_every_record_column_comes_back(self, store: DriveStore) -> None:
        record = a_full_record()
        for field in fields(PipelineRecord):
            if field.name not in CLAIM_COLUMNS:
                assert getattr(record, field.name) not in (None, 0, "PENDING"), field.name
        claim = claimed(store, a_record())
        store.save(claim, record, None, release=True)
        stored = store.record(record.key)
        assert stored is not None
        assert replace(stored, epoch=0, owner=None, lease_until=None, id=None) == record
        assert (stored.epoch, stored.owner, stored.lease_until) == (1, None, None)
        assert stored.audit_start_time is not None
        assert stored.audit_start_time.tzinfo is timezone.utc
        assert str(stored.percentage_difference) == "-9999999.99"

    def test_nulls_come_back(self, store: DriveStore) -> None:
        claim = claimed(store, a_full_record())
        store.save(claim, a_record(), None, release=True)
        stored = store.record(key_of())
        assert stored is not None
        assert replace(stored, epoch=0, id=None) == a_record()

    def test_every_execution_column_comes_back(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        row = a_full_row(a_record(), claim.epoch)
        saved = store.save(claim, None, row)
        assert saved is not None
        assert (saved.revision, saved.created_at) == (1, saved.updated_at)
        assert replace(saved, revision=0, created_at=None, updated_at=None) == row
        assert store.run_of("orders", "run-1") == saved
        assert store.run_of("orders", "run-2") is None
        assert store.run_of("other", "run-1") is None

    def test_an_untouched_row_comes_back(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        saved = store.save(claim, None, a_row(a_record(), claim.epoch))
        assert store.run_of("orders", "run-1") == saved

    def test_what_no_database_stores_does_not_stop_a_row(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        details = {"nul": "a\x00b", "nan": float("nan"), "half": "\ud800", "at": START}
        phase = PhaseRecord("FAILED", error_message="\x00", phase_specific_details=details)
        row = a_row(a_record(), claim.epoch).with_phase("audit", phase)
        store.save(claim, replace(a_record(), stage_path="a\x00b"), row)
        stored = store.run_of("orders", "run-1")
        assert stored is not None
        assert stored.phase_failed == "audit"
        assert stored.phases["audit"].phase_specific_details == {
            "nul": "a\ufffdb",
            "nan": "nan",
            "half": "?",
            "at": START.isoformat(),
        }

    def test_revisions_are_appended_and_the_view_has_the_last(
        self, store: DriveStore, raw: Raw
    ) -> None:
        claim = claimed(store, a_record())
        row = a_row(a_record(), claim.epoch)
        first = store.save(claim, a_record(), row)
        assert first is not None
        last = store.save(claim, a_record(), replace(first, pipeline_status="SUCCESS"))
        assert last is not None
        assert last.updated_at is not None
        assert first.updated_at is not None
        assert (first.revision, last.revision) == (1, 2)
        assert last.created_at == first.created_at
        assert last.updated_at > first.updated_at
        log = "SELECT revision, pipeline_status FROM {}pipeline_execution_log ORDER BY revision"
        assert raw(log)[1] == [(1, "RUNNING"), (2, "SUCCESS")]
        view = "SELECT pipeline_status FROM {}pipeline_execution_drive"
        assert raw(view)[1] == [("SUCCESS",)]

    def test_the_view_has_seed_003s_columns_in_its_order(self, store: DriveStore, raw: Raw) -> None:
        columns, _ = raw("SELECT * FROM {}pipeline_execution_drive")
        assert columns == COLUMNS

    def test_phase_columns_are_disjoint_and_together_all(self, store: DriveStore, raw: Raw) -> None:
        claim = claimed(store, a_record())
        row = a_row(a_record(), claim.epoch)
        for phase in PHASES[:4]:
            row = row.with_phase(phase, PhaseRecord("COMPLETED"))
        row = row.with_phase("stage_count", PhaseRecord("FAILED"))
        row = row.with_phase("stage_cleaning", PhaseRecord("SKIPPED"))
        store.save(claim, None, row)
        [(completed, skipped, failed, pending)] = raw(
            "SELECT phases_completed, phases_skipped, phase_failed, phases_pending "
            "FROM {}pipeline_execution_drive"
        )[1]
        assert completed == list(PHASES[:4])
        assert skipped == ["stage_cleaning"]
        assert failed == "stage_count"
        assert sorted([*completed, *skipped, failed, *pending]) == sorted(PHASES)

    def test_runs_of_a_window_newest_first(self, store: DriveStore) -> None:
        for number in (1, 2, 3):
            run(store, a_record(), f"run-{number}", "FAILED")
        run(store, a_record(1), "run-4", "SUCCESS")
        found = store.look_up(key_of()).runs
        assert [row.epoch for row in found] == [3, 2, 1]
        assert {row.pipeline_status for row in found} == {"FAILED"}
        assert {row.revision for row in found} == {2}
        assert [row.dagster_run_id for row in store.latest_runs("orders", 2)] == ["run-4", "run-3"]

    # dead runs

    def test_a_live_run_is_not_dead(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        row = store.save(claim, None, a_row(a_record(), claim.epoch))
        assert row is not None
        assert store.dead_runs() == []
        assert not store.close_run(replace(row, pipeline_status="FAILED"))
        assert store.look_up(key_of()).claim_of("run-1") == claim

    @pytest.mark.fault_row(8)
    def test_a_run_that_died_is_closed_once(self, store: DriveStore) -> None:
        claim = claimed(store, a_record(), lease_seconds=SHORT)
        row = store.save(claim, None, a_row(a_record(), claim.epoch))
        time.sleep(0.01)
        assert store.dead_runs() == [row]
        assert store.dead_runs("orders") == [row]
        assert store.dead_runs("other") == []
        assert row is not None
        closed = replace(row, pipeline_status="FAILED", error_category="transient")
        assert store.close_run(closed)
        assert not store.close_run(closed)
        assert store.dead_runs() == []
        latest = store.run_of("orders", "run-1")
        assert latest is not None
        assert (latest.revision, latest.pipeline_status) == (2, "FAILED")
        assert latest.created_at == row.created_at

    @pytest.mark.fault_row(8)
    def test_a_closed_run_cannot_come_back(self, store: DriveStore) -> None:
        claim = claimed(store, a_record(), lease_seconds=SHORT)
        row = store.save(claim, None, a_row(a_record(), claim.epoch))
        time.sleep(0.01)
        assert row is not None
        assert store.close_run(replace(row, pipeline_status="FAILED"))
        with pytest.raises(ClaimLostError):
            store.heartbeat(claim)
        assert hours(store.pending("orders", 1)) == [0]

    def test_closing_an_old_run_leaves_the_new_claim_alone(self, store: DriveStore) -> None:
        old = claimed(store, a_record(), lease_seconds=SHORT)
        row = store.save(old, None, a_row(a_record(), old.epoch))
        time.sleep(0.01)
        new = claimed(store, a_record(), "run-2")
        assert row is not None
        assert store.dead_runs() == [row]
        assert store.close_run(replace(row, pipeline_status="FAILED"))
        assert store.look_up(key_of()).claim_of("run-2") == new

    def test_a_run_released_while_running_is_dead(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        row = store.save(claim, None, a_row(a_record(), claim.epoch), release=True)
        assert store.dead_runs() == [row]

    def test_closing_and_finishing_at_once(self, store: DriveStore) -> None:
        for round_ in range(5):
            record = a_record(round_)
            claim = claimed(store, record, f"run-{round_}", lease_seconds=SHORT)
            row = store.save(claim, None, a_row(record, claim.epoch, f"run-{round_}"))
            time.sleep(0.01)
            assert row is not None
            dead, good = (
                replace(row, pipeline_status="FAILED"),
                replace(row, pipeline_status="SUCCESS"),
            )

            def finish(claim: Claim = claim, good: ExecutionRow = good) -> bool:
                try:
                    return store.save(claim, None, good, release=True) is not None
                except ClaimLostError:
                    return False

            closed, finished = together([lambda dead=dead: store.close_run(dead), finish])  # type: ignore[misc]
            assert closed != finished
            [latest] = store.look_up(record.key).runs
            assert latest.pipeline_status == ("FAILED" if closed else "SUCCESS")
            assert latest.revision == 2

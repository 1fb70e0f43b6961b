"""Named queries on real rows."""

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest

from pipeline_platform.drive_table.queries import QUERIES
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.execution import PhaseRecord, RunStatus
from pipeline_platform_tests.drive_table.contract_runs import COLUMNS
from pipeline_platform_tests.drive_table.examples import (
    HOUR,
    START,
    a_record,
    claimed,
    run,
)

REWORKED: tuple[tuple[int, RunStatus], ...] = (
    (0, "SUCCESS"), (0, "SUCCESS"), (0, "SKIPPED"), (1, "FAILED"), (2, "SUCCESS"),
)  # fmt: skip


class QueryContract:
    """Part of `DriveStoreContract`."""

    def test_latest_execution(self, store: DriveStore) -> None:
        run(store, a_record(0), "run-1", "SUCCESS")
        run(store, a_record(1), "run-2", "FAILED")
        [row] = store.query("latest_execution", pipeline_name="orders")
        assert list(row) == COLUMNS
        assert row["dagster_run_id"] == "run-2"
        assert row["audit_phase"]["status"] == "PENDING"
        assert row["query_window_start_timestamp"] == START + HOUR
        assert row["created_at"].tzinfo is timezone.utc

    def test_failed_executions_of_the_last_hours(self, store: DriveStore) -> None:
        run(store, a_record(0), "run-1", "FAILED")
        run(store, a_record(1), "run-2", "SUCCESS")
        run(store, a_record(2, "other"), "run-3", "FAILED")
        assert [row["dagster_run_id"] for row in store.query("failed_executions")] == [
            "run-3",
            "run-1",
        ]
        assert store.query("failed_executions", hours=0) == []

    def test_failed_phase_says_why(self, store: DriveStore) -> None:
        failed = PhaseRecord(
            "FAILED", error_message="boom", phase_specific_details={"expected": 5, "value": 4}
        )
        run(store, a_record(0), "run-1", "FAILED", source_to_stage_transfer=failed)
        run(store, a_record(1), "run-2", "FAILED", stage_count=failed)
        [row] = store.query("failed_phase", pipeline_id="orders_20251115T1000Z_run1")
        assert row["phase_failed"] == "source_to_stage_transfer"
        assert row["error_message"] == "boom"
        assert row["phase_specific_details"] == {"expected": 5, "value": 4}
        [row] = store.query("failed_phase", pipeline_id="orders_20251115T1100Z_run1")
        assert (row["phase_failed"], row["error_message"]) == ("stage_count", "boom")
        assert store.query("failed_phase", pipeline_id="unknown") == []

    def test_slow_phases(self, store: DriveStore) -> None:
        def took(seconds: int) -> PhaseRecord:
            return PhaseRecord(
                "COMPLETED",
                start_timestamp=START.isoformat(),
                end_timestamp=(START + timedelta(seconds=seconds)).isoformat(),
                actual_run_duration=f"{seconds}s",
                expected_run_duration="1m30s",
            )

        run(
            store, a_record(), "run-1", "SUCCESS",
            source_count=took(300), source_to_stage_transfer=took(181), audit=took(180),
        )  # fmt: skip
        rows = store.query("slow_phases", pipeline_name="orders")
        assert [(row["phase"], row["actual_seconds"], row["expected_seconds"]) for row in rows] == [
            ("source_count", 300, 90),
            ("source_to_stage_transfer", 181, 90),
        ]
        assert rows[0]["ratio"] == pytest.approx(300 / 90)
        assert len(store.query("slow_phases", pipeline_name="orders", factor=1.5)) == 3
        assert store.query("slow_phases", pipeline_name="orders", hours=0) == []

    def test_execution_history_latest_date_first(self, store: DriveStore) -> None:
        for number, hour in enumerate((0, 30, 0)):
            run(store, a_record(hour), f"run-{number}", "FAILED")
        rows = store.query("execution_history", pipeline_name="orders")
        assert [row["dagster_run_id"] for row in rows] == ["run-1", "run-2", "run-0"]
        assert len(store.query("execution_history", pipeline_name="orders", limit=1)) == 1

    def test_data_freshness(self, store: DriveStore) -> None:
        assert store.query("data_freshness", pipeline_name="orders") == []
        ended = store.now() - timedelta(hours=2)
        run(store, a_record(), "run-1", "SUCCESS", ended=ended, audit=PhaseRecord("COMPLETED"))
        run(store, a_record(1), "run-2", "FAILED")
        # A run of a part of the assets that ended before the audit made nothing fresh.
        run(store, a_record(2), "run-3", "SUCCESS", source_count=PhaseRecord("COMPLETED"))
        [row] = store.query("data_freshness", pipeline_name="orders")
        assert row["query_window_end_timestamp"] == START + HOUR
        assert row["hours_since_success"] == pytest.approx(2, abs=0.1)
        assert row["stale"] is False
        [row] = store.query("data_freshness", pipeline_name="orders", hours=1)
        assert row["stale"] is True

    def test_window_summary(self, store: DriveStore) -> None:
        store.register(a_record(hour) for hour in range(4))
        for hour in (0, 1):
            claim = claimed(store, a_record(hour))
            done = replace(a_record(hour), pipeline_status="COMPLETED")
            store.save(claim, done, None, release=True)
        claimed(store, a_record(2))
        assert store.query("window_summary", pipeline_name="orders") == [
            {
                "pipeline_name": "orders",
                "completed": 2,
                "pending": 2,
                "held": 1,
                "latest_completed_window": START + HOUR,
                "oldest_pending_window": START + 2 * HOUR,
            }
        ]

    def test_window_states(self, store: DriveStore) -> None:
        store.register([a_record(0), a_record(1), a_record(1, "other")])
        run(store, a_record(2), "run-1", "SUCCESS")
        run(store, a_record(2), "run-2", "FAILED")
        run(store, a_record(3), "run-3", "SUCCESS")
        claimed(store, a_record(1))
        rows = store.query(
            "window_states", pipeline_name="orders", from_time=START, to_time=START + 3 * HOUR
        )
        assert [list(row.values()) for row in rows] == [
            [START, START + HOUR, "PENDING", False, None],
            [START + HOUR, START + 2 * HOUR, "PENDING", True, None],
            [START + 2 * HOUR, START + 3 * HOUR, "PENDING", False, "FAILED"],
        ]

    def test_reworked_windows(self, store: DriveStore) -> None:
        """Failed runs, and those after the first that moved their window; newest first."""
        for number, (hour, status) in enumerate(REWORKED, start=1):
            run(store, a_record(hour), f"run-{number}", status)
        run(store, a_record(0, "other"), "other", "FAILED")
        now = store.now()
        day = timedelta(days=1)
        asked = {"pipeline_name": "orders", "from_time": now - day, "to_time": now + day}
        rows = store.query("reworked_windows", **asked)
        assert [list(row.values())[:4] for row in rows] == [
            [START + HOUR, START + 2 * HOUR, 1, "FAILED"],
            [START, START + HOUR, 2, "SUCCESS"],
        ]
        assert rows[0]["created_at"] > rows[1]["created_at"]
        assert len(store.query("reworked_windows", **asked, limit=1)) == 1
        assert store.query("reworked_windows", **{**asked, "to_time": now - day}) == []
        assert store.query("reworked_windows", **{**asked, "from_time": now + day}) == []

    def test_audited_windows(self, store: DriveStore) -> None:
        """Completed with a passed audit and held by nobody; newest first."""
        audited: dict[str, Any] = {"pipeline_status": "COMPLETED", "audit_result": "PASS"}
        for hour, changes in enumerate(
            (audited, audited, {**audited, "audit_result": "FAIL"}, {}, audited)
        ):
            record = replace(a_record(hour), source_count=hour, target_count=7, **changes)
            store.save(claimed(store, record), record, None, release=True)
        claimed(store, a_record(4))
        rows = store.query("audited_windows", pipeline_name="orders")
        assert [list(row.values()) for row in rows] == [
            [START + HOUR, START + 2 * HOUR, 1, a_record().config_hash, 1, 7],
            [START, START + HOUR, 1, a_record().config_hash, 0, 7],
        ]
        assert len(store.query("audited_windows", pipeline_name="orders", limit=1)) == 1
        assert store.query("audited_windows", pipeline_name="other") == []

    def test_a_query_says_what_it_takes(self, store: DriveStore) -> None:
        with pytest.raises(ConfigurationError, match="window_summary"):
            store.query("nope")
        with pytest.raises(ConfigurationError, match=r"pipeline_name, hours \(default 24"):
            store.query("data_freshness")
        with pytest.raises(ConfigurationError, match="It takes: pipeline_name"):
            store.query("latest_execution", pipeline_name="a", more=1)
        for query in QUERIES.values():
            assert query.description
            assert set(query.defaults) <= set(query.parameters)

    def test_values_are_bound_not_pasted(self, store: DriveStore) -> None:
        hostile = "x'; DROP TABLE pipeline_records; --"
        assert store.query("latest_execution", pipeline_name=hostile) == []
        assert store.pending(hostile, 1) == []
        assert store.register([replace(a_record(), pipeline_name=hostile)]) == 1
        assert len(store.pending(hostile, 1)) == 1

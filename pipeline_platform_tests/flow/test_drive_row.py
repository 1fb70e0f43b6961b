"""What drive view and records say after success, failure, skip and retry (seeds 003, 000)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.execution import PHASES
from pipeline_platform.fault_points import InjectedFaultError, fault_hook
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS, World
from pipeline_platform_tests.pipelines import run_window

SEED_003 = {
    "pipeline_id", "pipeline_name", "pipeline_status", "pipeline_retry_number",
    "pipeline_start_timestamp", "pipeline_end_timestamp", "pipeline_run_duration",
    "query_window_start_timestamp", "query_window_end_timestamp", "target_date",
    "query_window_duration", "stale_pipeline_handling_phase", "pre_validation_phase",
    "source_to_stage_transfer_phase", "stage_to_target_transfer_phase", "audit_phase",
    "stage_cleaning_phase", "target_cleaning_phase", "phases_completed", "phases_skipped",
    "phase_failed", "phases_pending", "created_at", "updated_at",
}  # fmt: skip
ADDED = {"dagster_run_id", "epoch", "config_hash", "error_category"}
VARIANT = {
    "start_timestamp", "end_timestamp", "actual_run_duration", "retry_number", "error_message",
    "status", "expected_run_duration", "phase_specific_details",
}  # fmt: skip
SEED_000 = {
    "id", "window_start_time", "window_end_time", "target_day", "time_interval",
    "source_to_stage_ingestion_start_time", "source_to_stage_ingestion_end_time",
    "source_to_stage_ingestion_status", "stage_to_target_ingestion_start_time",
    "stage_to_target_ingestion_end_time", "stage_to_target_ingestion_status", "audit_start_time",
    "audit_end_time", "audit_status", "audit_result", "source_count", "target_count",
    "count_difference", "percentage_difference", "pipeline_start_time", "pipeline_end_time",
    "pipeline_status", "phase_completed", "retry_attempt", "record_first_created_time",
    "record_last_updated_time",
}  # fmt: skip
MOVED = ["stale_pipeline_handling", "pre_validation", "source_count", "source_to_stage_transfer",
         "stage_count", "stage_to_target_transfer", "target_count", "audit"]  # fmt: skip
CLEANINGS = ["stage_cleaning", "target_cleaning"]


def drive_rows(world: World) -> list[dict[str, Any]]:
    """Every row of the view, newest first, as SQL gives it."""
    return world.store.query("execution_history", pipeline_name="orders")


def record(world: World) -> dict[str, Any]:
    found = world.store.latest_record("orders")
    assert found is not None
    return dict(vars(found))


def columns(world: World, table: str) -> set[str]:
    found = world.at_target(
        "SELECT column_name FROM information_schema.columns "
        f"WHERE table_schema = 'pipeline_platform' AND table_name = '{table}'"
    )
    return {name for (name,) in found}


@contextmanager
def fails_at(point: str, error: BaseException | None = None) -> Iterator[None]:
    def hook(name: str) -> None:
        if name == point:
            raise error or InjectedFaultError(f"Injected fault at {name}.")

    with fault_hook(hook):
        yield


def details(row: dict[str, Any], phase: str) -> dict[str, Any]:
    found: dict[str, Any] = row[f"{phase}_phase"]["phase_specific_details"]
    return found


def require_arrays(row: dict[str, Any], completed: list[str], skipped: list[str],
                   failed: str | None, pending: list[str]) -> None:  # fmt: skip
    told = (row["phases_completed"], row["phases_skipped"], row["phase_failed"])
    assert told == (completed, skipped, failed)
    assert row["phases_pending"] == pending
    everything = [*completed, *skipped, *([failed] if failed else []), *pending]
    assert sorted(everything) == sorted(PHASES)


def test_every_column_of_the_seeds_is_there(world: World) -> None:
    assert columns(world, "pipeline_execution_drive") == SEED_003 | ADDED
    assert columns(world, "pipeline_records") >= SEED_000 | {"epoch", "owner", "lease_until"}


def test_success(world: World) -> None:
    pipeline = world.pipeline(phases={"audit": {"expected_run_duration": "2m"}})
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    run_window(pipeline, world.store, KEY, run_id="the-run")
    [row] = drive_rows(world)
    assert set(row) == SEED_003 | ADDED
    scalars = {name: row[name] for name in (
        "pipeline_id", "pipeline_name", "pipeline_status", "pipeline_retry_number",
        "query_window_start_timestamp", "query_window_end_timestamp", "target_date",
        "query_window_duration", "dagster_run_id", "epoch", "config_hash",
        "error_category")}  # fmt: skip
    assert scalars == {
        "pipeline_id": "orders_20240310T0000Z_run1", "pipeline_name": "orders",
        "pipeline_status": "SUCCESS", "pipeline_retry_number": 0,
        "query_window_start_timestamp": DAY, "query_window_end_timestamp": DAY + timedelta(days=1),
        "target_date": date(2024, 3, 10), "query_window_duration": "1d",
        "dagster_run_id": "the-run", "epoch": 1, "config_hash": pipeline.config.config_hash,
        "error_category": None,
    }  # fmt: skip
    start, end = row["pipeline_start_timestamp"], row["pipeline_end_timestamp"]
    assert before < start < end < before + timedelta(minutes=2)
    assert start <= row["created_at"] < row["updated_at"]
    assert re.fullmatch(r"[\d.]+(ms|s|m \d+s|m)", row["pipeline_run_duration"])
    require_arrays(row, MOVED, CLEANINGS, None, [])

    for name in (n for n in row if n.endswith("_phase")):
        variant = row[name]
        assert set(variant) == VARIANT, name
        assert variant["retry_number"] == 0
        assert variant["error_message"] is None
        skipped = name.removesuffix("_phase") in CLEANINGS
        assert variant["status"] == ("SKIPPED" if skipped else "COMPLETED")
        assert (variant["start_timestamp"] is None) == skipped
        if not skipped:
            began, ended = (datetime.fromisoformat(variant[f"{edge}_timestamp"])
                            for edge in ("start", "end"))  # fmt: skip
            assert start <= began <= ended <= end
            assert variant["actual_run_duration"]
    assert row["audit_phase"]["expected_run_duration"] == "2m"

    stale = {"stale_records_found": 0, "records_resolved": 0, "timeout_minutes": 120}
    assert details(row, "stale_pipeline_handling").items() >= stale.items()
    validated = details(row, "pre_validation")
    assert validated["is_fresh_run"] is True
    assert validated["previous_phases_completed"] == []
    assert validated["action"] == "start_over"
    checks = validated["validation_checks"]
    assert len(checks) >= 5
    assert all(set(check) == {"name", "passed", "detail"} and check["passed"] for check in checks)
    staged = details(row, "source_to_stage_transfer")
    assert (staged["source_count"], staged["stage_count"], staged["records_failed"],
            staged["transfer_status"]) == (ROWS, ROWS, 0, "SUCCESS")  # fmt: skip
    loaded = details(row, "stage_to_target_transfer")
    assert (loaded["stage_count"], loaded["target_count"], loaded["records_failed"],
            loaded["transformations_applied"]) == (ROWS, ROWS, 0, "none")  # fmt: skip
    audited = details(row, "audit")
    counts = audited.pop("counts")
    assert audited == {
        "source_count": ROWS, "stage_count": ROWS, "target_count": ROWS, "source_count_now": ROWS,
        "drift": 0, "source_to_stage_loss_percent": 0.0, "source_to_stage_tolerance_percent": 0.0,
        "stage_to_target_loss_percent": 0.0, "stage_to_target_tolerance_percent": 0.0,
        "validation_status": "PASSED", "loss_reasons": "no loss",
    }  # fmt: skip
    assert {name: (c["value"], c["status"]) for name, c in counts.items()} == dict.fromkeys(
        ("source_count", "stage_count", "target_count"), (ROWS, "COMPLETED")
    )
    assert all(set(count) == VARIANT | {"value"} for count in counts.values())

    known = record(world)
    times = [known[name] for name in (
        "record_first_created_time", "source_to_stage_ingestion_start_time",
        "source_to_stage_ingestion_end_time", "stage_to_target_ingestion_start_time",
        "stage_to_target_ingestion_end_time", "audit_start_time", "audit_end_time",
        "pipeline_end_time", "record_last_updated_time")]  # fmt: skip
    assert times == sorted(times)
    assert {name: known[name] for name in (*SEED_000, "owner", "lease_until", "epoch")
            if not name.endswith("_time") and name not in ("id",)} == {
        "target_day": date(2024, 3, 10), "time_interval": "1d",
        "source_to_stage_ingestion_status": "COMPLETED",
        "stage_to_target_ingestion_status": "COMPLETED", "audit_status": "COMPLETED",
        "audit_result": "PASS", "source_count": ROWS, "target_count": ROWS, "count_difference": 0,
        "percentage_difference": Decimal("0.00"), "pipeline_status": "COMPLETED",
        "phase_completed": "AUDIT", "retry_attempt": 0, "owner": None, "lease_until": None,
        "epoch": 1,
    }  # fmt: skip
    assert (known["window_start_time"], known["window_end_time"]) == (DAY, DAY + timedelta(days=1))


def test_skip_is_a_second_row_and_unmakes_nothing(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    known = record(world)
    run_window(world.pipeline(), world.store, KEY)
    row, first = drive_rows(world)
    assert (first["pipeline_id"], row["pipeline_id"]) == (
        "orders_20240310T0000Z_run1", "orders_20240310T0000Z_run2",
    )  # fmt: skip
    assert (first["pipeline_status"], row["pipeline_status"]) == ("SUCCESS", "SKIPPED")
    require_arrays(row, MOVED[:2], [*MOVED[2:], *CLEANINGS], None, [])
    validated = details(row, "pre_validation")
    assert validated["is_fresh_run"] is False
    assert validated["previous_phases_completed"] == MOVED
    assert validated["action"] == "skip"
    assert (validated["source_count"], validated["stage_rows"], validated["target_rows"]) == (
        ROWS, ROWS, ROWS,
    )  # fmt: skip
    for phase in ("source_to_stage_transfer", "stage_to_target_transfer", "audit"):
        assert "already right" in details(row, phase)["reason"]
    assert row["pipeline_run_duration"]
    moved_on = {"pipeline_start_time", "pipeline_end_time", "record_last_updated_time", "epoch",
                "pipeline_id", "stage_path"}  # fmt: skip
    now = record(world)
    assert {k for k in now if now[k] != known[k]} == moved_on


def test_failure_and_retry(world: World) -> None:
    pipeline = world.pipeline()
    with fails_at("load.after_insert"), pytest.raises(StepFailedError):
        run_window(pipeline, world.store, KEY)
    [row] = drive_rows(world)
    assert (row["pipeline_status"], row["error_category"]) == ("FAILED", "transient")
    require_arrays(row, MOVED[:5], [], "stage_to_target_transfer", MOVED[6:] + CLEANINGS)
    failed = row["stage_to_target_transfer_phase"]
    assert failed["status"] == "FAILED"
    assert "Injected fault at load.after_insert" in failed["error_message"]
    assert failed["end_timestamp"] is not None
    assert row["pipeline_end_timestamp"] is not None
    assert row["pipeline_run_duration"] is not None
    [told] = world.store.query("failed_phase", pipeline_id=row["pipeline_id"])
    assert told["phase_failed"] == "stage_to_target_transfer"
    assert world.at_target("SELECT count(*) FROM analytics.orders") == [(0,)]

    run_window(pipeline, world.store, KEY)
    retry, first = drive_rows(world)
    assert first == row
    assert (retry["pipeline_status"], retry["pipeline_retry_number"]) == ("SUCCESS", 1)
    require_arrays(
        retry, [p for p in MOVED if p != "source_to_stage_transfer"],
        ["source_to_stage_transfer", *CLEANINGS], None, [],
    )  # fmt: skip
    validated = details(retry, "pre_validation")
    assert validated["previous_phases_completed"] == MOVED[:5]
    assert (validated["action"], validated["manifest_epoch"]) == ("continue", 1)
    assert all(retry[n]["retry_number"] == 1 for n in retry if n.endswith("_phase"))
    assert record(world)["retry_attempt"] == 0


def test_retry_number_counts_failures_since_the_last_success(world: World) -> None:
    pipeline = world.pipeline()

    def failing() -> None:
        with fails_at("stage.before_read"), pytest.raises(StepFailedError):
            run_window(pipeline, world.store, KEY, force=True)

    def numbers() -> list[tuple[str, int]]:
        return [(r["pipeline_status"], r["pipeline_retry_number"]) for r in drive_rows(world)][::-1]

    failing()
    assert record(world)["retry_attempt"] == 1
    failing()
    assert record(world)["retry_attempt"] == 2
    run_window(pipeline, world.store, KEY)
    run_window(pipeline, world.store, KEY)
    failing()
    run_window(pipeline, world.store, KEY)
    run_window(pipeline, world.store, KEY)
    assert record(world)["retry_attempt"] == 1
    run_window(pipeline, world.store, KEY, force=True)
    run_window(pipeline, world.store, KEY)
    assert numbers() == [
        ("FAILED", 0), ("FAILED", 1), ("SUCCESS", 2), ("SKIPPED", 0), ("FAILED", 0),
        ("SKIPPED", 1), ("SKIPPED", 1), ("SUCCESS", 1), ("SKIPPED", 0),
    ]  # fmt: skip


def test_a_run_that_still_works_says_so(world: World, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def look(name: str) -> None:
        if name == "audit.before_verdict":
            seen.extend(drive_rows(world))

    with fault_hook(look):
        run_window(world.pipeline(), world.store, KEY)
    [row] = seen
    assert row["pipeline_status"] == "RUNNING"
    assert row["pipeline_end_timestamp"] is None
    assert row["pipeline_run_duration"] is None
    require_arrays(row, MOVED[:7], [], None, [MOVED[7], *CLEANINGS])

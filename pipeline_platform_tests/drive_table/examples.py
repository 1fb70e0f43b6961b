"""Records and rows for the tests of the drive table."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from pipeline_platform.drive_table.store import Claim, DriveStore
from pipeline_platform.execution import (
    PHASES,
    ExecutionRow,
    PhaseRecord,
    RunStatus,
    pipeline_id,
)
from pipeline_platform.record import PipelineRecord, RecordKey

START = datetime(2025, 11, 15, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SHORT = 0.001
"""Seconds of a lease that is meant to expire at once."""

# SQL text, with {} where the schema belongs, to columns and rows
Raw = Callable[[str], tuple[list[str], list[tuple[Any, ...]]]]


def a_record(hour: int = 0, pipeline_name: str = "orders") -> PipelineRecord:
    start = START + hour * HOUR
    return PipelineRecord(pipeline_name, start, start + HOUR, start.date(), "1h")


def a_row(record: PipelineRecord, epoch: int, run_id: str = "run-1") -> ExecutionRow:
    return ExecutionRow(
        pipeline_id=pipeline_id(record.pipeline_name, record.window_start_time, epoch),
        pipeline_name=record.pipeline_name,
        pipeline_status="RUNNING",
        pipeline_retry_number=0,
        pipeline_start_timestamp=START + 2 * HOUR,
        query_window_start_timestamp=record.window_start_time,
        query_window_end_timestamp=record.window_end_time,
        target_date=record.target_day,
        query_window_duration="1h",
        epoch=epoch,
        dagster_run_id=run_id,
        config_hash="c0ffee",
    )


def a_full_record() -> PipelineRecord:
    """Every column filled, each with a value of its own."""

    def at(minute: int) -> datetime:
        return START + timedelta(minutes=minute, microseconds=minute + 1)

    return replace(
        a_record(),
        source_to_stage_ingestion_start_time=at(1),
        source_to_stage_ingestion_end_time=at(2),
        source_to_stage_ingestion_status="COMPLETED",
        stage_to_target_ingestion_start_time=at(3),
        stage_to_target_ingestion_end_time=at(4),
        stage_to_target_ingestion_status="COMPLETED",
        audit_start_time=at(5),
        audit_end_time=at(6),
        audit_status="COMPLETED",
        audit_result="PASS",
        source_count=9_000_000_000_000_000_001,
        target_count=9_000_000_000_000_000_000,
        count_difference=1,
        percentage_difference=Decimal("-9999999.99"),
        pipeline_start_time=at(7),
        pipeline_end_time=at(8),
        pipeline_status="COMPLETED",
        phase_completed="AUDIT",
        retry_attempt=3,
        record_first_created_time=at(9),
        record_last_updated_time=at(10),
        source_name="postgres://db/shop.public.orders",
        stage_path="stage/orders 'quoted' 100 %",
        target_name='Größe "é" ✓ \U0001f600',
        pipeline_id="orders_20251115T1000Z_run1",
        config_hash="abc",
    )


def a_full_row(record: PipelineRecord, epoch: int) -> ExecutionRow:
    """Every column filled, and every phase with details, the count phases too."""
    statuses = ("COMPLETED", "SKIPPED", "FAILED", "PENDING")
    phases = {
        phase: PhaseRecord(
            status=statuses[number % 4],  # type: ignore[arg-type]
            start_timestamp=f"2025-11-15T10:{number:02}:00.000001+00:00",
            end_timestamp=f"2025-11-15T10:{number:02}:30+00:00",
            actual_run_duration="30s",
            expected_run_duration="1m",
            retry_number=number,
            error_message=f"{phase}: 'it' \"broke\" :here {{and}} 5 % ✓",
            phase_specific_details={
                "value": number * 10**12,
                "nested": {"list": [1, 2.5, None, True]},
            },
        )
        for number, phase in enumerate(PHASES)
    }
    return replace(
        a_row(record, epoch),
        pipeline_status="FAILED",
        pipeline_retry_number=2,
        pipeline_end_timestamp=START + 3 * HOUR,
        pipeline_run_duration="1h",
        error_category="data",
        phases=phases,
    )


def key_of(hour: int = 0) -> RecordKey:
    return a_record(hour).key


def hours(records: Iterable[PipelineRecord]) -> list[int]:
    return [int((record.window_start_time - START) / HOUR) for record in records]


def claimed(
    store: DriveStore, record: PipelineRecord, owner: str = "run-1", lease_seconds: float = 300
) -> Claim:
    claim = store.claim(record, owner, lease_seconds=lease_seconds)
    assert claim is not None
    return claim


def run(
    store: DriveStore,
    record: PipelineRecord,
    run_id: str,
    status: RunStatus,
    *,
    ended: datetime | None = None,
    **phases: PhaseRecord,
) -> None:
    """One run from claim to release: two revisions."""
    claim = claimed(store, record, run_id)
    row = store.save(claim, record, a_row(record, claim.epoch, run_id))
    assert row is not None
    row = replace(row, pipeline_status=status, pipeline_end_timestamp=ended or store.now())
    for phase, done in phases.items():
        row = row.with_phase(phase, done)  # type: ignore[arg-type]
    store.save(claim, record, row, release=True)


def together(actions: list[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own, all released at once; errors are raised here."""
    barrier = threading.Barrier(len(actions))
    results: list[Any] = [None] * len(actions)
    errors: list[BaseException] = []

    def body(number: int) -> None:
        barrier.wait(30)
        try:
            results[number] = actions[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(n,)) for n in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    return results

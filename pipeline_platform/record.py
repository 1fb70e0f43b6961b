"""The record of one window: the row of `pipeline_records`, and how it changes (pure).

Columns are those of seed 000 ("Records Table"), in lower case, plus what a claim needs. A record
lives as long as its window; the history of its runs is in `execution.py`.
"""

from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from pipeline_platform.tolerance import loss_percent

RecordStatus = Literal["PENDING", "COMPLETED"]
TransferPhase = Literal["source_to_stage_transfer", "stage_to_target_transfer", "audit"]

PENDING: RecordStatus = "PENDING"
COMPLETED: RecordStatus = "COMPLETED"

# PHASE_COMPLETED values of seed 000
SOURCE_TO_STAGE = "SOURCE_TO_STAGE"
STAGE_TO_TARGET = "STAGE_TO_TARGET"
AUDIT = "AUDIT"


@dataclass(frozen=True)
class RecordKey:
    """Identity of a record. Bounds are UTC instants, `[start, end)`."""

    pipeline_name: str
    window_start_time: datetime
    window_end_time: datetime


@dataclass(frozen=True)
class PipelineRecord:
    """One window of one pipeline. All times are UTC; counts are rows.

    Statuses are PENDING or COMPLETED, never "in progress": a running phase is PENDING with a
    start time (seed 000, "Status Management").
    """

    pipeline_name: str
    window_start_time: datetime
    window_end_time: datetime
    target_day: date
    time_interval: str

    source_to_stage_ingestion_start_time: datetime | None = None
    source_to_stage_ingestion_end_time: datetime | None = None
    source_to_stage_ingestion_status: RecordStatus = PENDING

    stage_to_target_ingestion_start_time: datetime | None = None
    stage_to_target_ingestion_end_time: datetime | None = None
    stage_to_target_ingestion_status: RecordStatus = PENDING

    audit_start_time: datetime | None = None
    audit_end_time: datetime | None = None
    audit_status: RecordStatus = PENDING
    audit_result: str | None = None
    source_count: int | None = None
    target_count: int | None = None
    count_difference: int | None = None
    percentage_difference: Decimal | None = None

    pipeline_start_time: datetime | None = None
    pipeline_end_time: datetime | None = None
    pipeline_status: RecordStatus = PENDING
    phase_completed: str | None = None

    retry_attempt: int = 0
    record_first_created_time: datetime | None = None
    record_last_updated_time: datetime | None = None

    source_name: str | None = None
    stage_path: str | None = None
    target_name: str | None = None
    pipeline_id: str | None = None
    config_hash: str | None = None

    epoch: int = 0
    owner: str | None = None
    lease_until: datetime | None = None
    id: int | None = None

    @property
    def key(self) -> RecordKey:
        """Identity of the record."""
        return RecordKey(self.pipeline_name, self.window_start_time, self.window_end_time)


RECORD_COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(PipelineRecord))

# Only a claim or its release writes these; a record saved under a claim leaves them alone.
CLAIM_COLUMNS: tuple[str, ...] = ("epoch", "owner", "lease_until", "id")

# Fields a record must have before it may run (seed 002/004, `check_fields`).
CHECK_FIELDS: tuple[str, ...] = (
    "pipeline_name",
    "window_start_time",
    "window_end_time",
    "target_day",
    "time_interval",
    "source_name",
    "stage_path",
    "target_name",
    "config_hash",
)

_RESET_SOURCE_TO_STAGE: dict[str, Any] = {
    "source_to_stage_ingestion_start_time": None,
    "source_to_stage_ingestion_end_time": None,
    "source_to_stage_ingestion_status": PENDING,
}
_RESET_STAGE_TO_TARGET: dict[str, Any] = {
    "stage_to_target_ingestion_start_time": None,
    "stage_to_target_ingestion_end_time": None,
    "stage_to_target_ingestion_status": PENDING,
}
_RESET_AUDIT: dict[str, Any] = {
    "audit_start_time": None,
    "audit_end_time": None,
    "audit_status": PENDING,
    "audit_result": None,
    "source_count": None,
    "target_count": None,
    "count_difference": None,
    "percentage_difference": None,
}
_RESET_PIPELINE: dict[str, Any] = {
    "pipeline_start_time": None,
    "pipeline_end_time": None,
    "pipeline_status": PENDING,
}
_RESET_OF_PHASE: dict[str, dict[str, Any]] = {
    "source_count": _RESET_SOURCE_TO_STAGE,
    "source_to_stage_transfer": _RESET_SOURCE_TO_STAGE,
    "stage_count": _RESET_SOURCE_TO_STAGE,
    "stage_to_target_transfer": _RESET_STAGE_TO_TARGET,
    "target_count": _RESET_STAGE_TO_TARGET,
    "audit": _RESET_AUDIT,
}


def check_fields(record: PipelineRecord, required: tuple[str, ...] = CHECK_FIELDS) -> list[str]:
    """Names of required fields that are missing or empty (seed 004, completeness)."""
    return [name for name in required if getattr(record, name) in (None, "")]


def reset_on_process_failure(record: PipelineRecord, phase: str, now: datetime) -> PipelineRecord:
    """Limited reset of seed 000: the failed phase and PIPELINE_* start again.

    PHASE_COMPLETED is kept, RETRY_ATTEMPT grows by one, RECORD_LAST_UPDATED_TIME moves on.
    """
    return replace(
        record,
        **_RESET_OF_PHASE.get(phase, {}),
        **_RESET_PIPELINE,
        retry_attempt=record.retry_attempt + 1,
        record_last_updated_time=now,
    )


def reset_on_audit_mismatch(record: PipelineRecord) -> PipelineRecord:
    """Complete reset of seed 000: everything of the window starts from zero.

    PHASE_COMPLETED and both RECORD_* times become NULL, RETRY_ATTEMPT grows by one.
    """
    return replace(
        record,
        **_RESET_SOURCE_TO_STAGE,
        **_RESET_STAGE_TO_TARGET,
        **_RESET_AUDIT,
        **_RESET_PIPELINE,
        phase_completed=None,
        retry_attempt=record.retry_attempt + 1,
        record_first_created_time=None,
        record_last_updated_time=None,
    )


def started_over(record: PipelineRecord) -> PipelineRecord:
    """The record at the start of an attempt that reads the source again; it is no failure."""
    return replace(
        record,
        **_RESET_SOURCE_TO_STAGE,
        **_RESET_STAGE_TO_TARGET,
        **_RESET_AUDIT,
        phase_completed=None,
    )


def count_fields(source_count: int, target_count: int) -> dict[str, Any]:
    """SOURCE_COUNT, TARGET_COUNT and their difference, as the audit stores them."""
    return {
        "source_count": source_count,
        "target_count": target_count,
        "count_difference": source_count - target_count,
        "percentage_difference": loss_percent(source_count, target_count),
    }

"""The row of one run in `pipeline_execution_drive` (seed 003, "Database Schema"; pure).

A run that claimed a window owns one row. Every change gives a new revision of it; the store
appends revisions and never updates one.
"""

from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any, Literal, get_args

Phase = Literal[
    "stale_pipeline_handling",
    "pre_validation",
    "source_count",
    "source_to_stage_transfer",
    "stage_count",
    "stage_to_target_transfer",
    "target_count",
    "audit",
    "stage_cleaning",
    "target_cleaning",
]
PHASES: tuple[Phase, ...] = get_args(Phase)
# These have no column of their own: audit_phase.phase_specific_details.counts holds them.
COUNT_PHASES: tuple[Phase, ...] = ("source_count", "stage_count", "target_count")

PhaseStatus = Literal["PENDING", "COMPLETED", "FAILED", "SKIPPED"]
RunStatus = Literal["RUNNING", "SUCCESS", "FAILED", "SKIPPED"]


@dataclass(frozen=True)
class PhaseRecord:
    """What one phase of one run did; the VARIANT of seed 003. Times are ISO 8601, UTC."""

    status: PhaseStatus = "PENDING"
    start_timestamp: str | None = None
    end_timestamp: str | None = None
    actual_run_duration: str | None = None
    expected_run_duration: str | None = None
    retry_number: int = 0
    error_message: str | None = None
    phase_specific_details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The mapping that the store writes."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class ExecutionRow:
    """One revision of one run's row. Counts are rows, times UTC; `phases` maps phase to record.

    phases_completed, phases_skipped, phase_failed and phases_pending are derived from `phases`,
    so they are disjoint and together the ten phases.
    """

    pipeline_id: str
    pipeline_name: str
    pipeline_status: RunStatus
    pipeline_retry_number: int
    pipeline_start_timestamp: datetime
    query_window_start_timestamp: datetime
    query_window_end_timestamp: datetime
    target_date: date
    query_window_duration: str
    epoch: int
    dagster_run_id: str
    config_hash: str
    pipeline_end_timestamp: datetime | None = None
    pipeline_run_duration: str | None = None
    error_category: str | None = None
    revision: int = 0
    phases: dict[Phase, PhaseRecord] = field(
        default_factory=lambda: {phase: PhaseRecord() for phase in PHASES}
    )
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def _in_status(self, status: PhaseStatus) -> list[str]:
        return [phase for phase in PHASES if self.phases[phase].status == status]

    @property
    def phases_completed(self) -> list[str]:
        """Phases that ran to their end in this run."""
        return self._in_status("COMPLETED")

    @property
    def phases_skipped(self) -> list[str]:
        """Phases this run did not need, or that the config disables."""
        return self._in_status("SKIPPED")

    @property
    def phases_pending(self) -> list[str]:
        """Phases that have not finished, the running one included."""
        return self._in_status("PENDING")

    @property
    def phase_failed(self) -> str | None:
        """The phase that stopped the run, if one did.

        A cleaning phase may fail without stopping it; it is still named here, so that every
        phase stands in exactly one of the four columns.
        """
        failed = self._in_status("FAILED")
        return failed[0] if failed else None

    def with_phase(self, phase: Phase, record: PhaseRecord) -> "ExecutionRow":
        """The row with one phase replaced; the revision is the store's to count."""
        return replace(self, phases={**self.phases, phase: record})

    def counts(self) -> dict[str, dict[str, Any]]:
        """`{count phase: its record as JSON, with the counted rows as value}`.

        Holds a count phase from its first touch on (started, skipped or failed).
        """
        counts: dict[str, dict[str, Any]] = {}
        for phase in COUNT_PHASES:
            if self.phases[phase] != PhaseRecord():
                details = dict(self.phases[phase].phase_specific_details)
                value = details.pop("value", None)
                whole = {**self.phases[phase].to_json(), "phase_specific_details": details}
                counts[phase] = {**whole, "value": value}
        return counts

    def phase_json(self, phase: Phase) -> dict[str, Any]:
        """The JSON of one phase column; the audit's carries the three counts."""
        value = self.phases[phase].to_json()
        if phase == "audit" and self.counts():
            value["phase_specific_details"] = {
                **value["phase_specific_details"],
                "counts": self.counts(),
            }
        return value


def pipeline_id(pipeline_name: str, window_start: datetime, epoch: int) -> str:
    """`{pipeline_name}_{window start, e.g. 20251115T1000Z}_run{epoch}`; seconds only if any."""
    form = "%Y%m%dT%H%M%SZ" if window_start.second else "%Y%m%dT%H%MZ"
    return f"{pipeline_name}_{window_start.strftime(form)}_run{epoch}"

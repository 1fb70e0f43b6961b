"""One asset of one window, without Dagster: claim or resume, run the phases, report."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline_platform.drive_table.heartbeat import heartbeat
from pipeline_platform.drive_table.store import Claim, DriveStore
from pipeline_platform.errors import (
    ClaimLostError,
    PermanentError,
    PipelineError,
    WindowHeldError,
)
from pipeline_platform.execution import PHASES, ExecutionRow
from pipeline_platform.flow.audit import audit_step
from pipeline_platform.flow.claim import claim_window, resume_window
from pipeline_platform.flow.cleaning import cleaning_step
from pipeline_platform.flow.failure import record_failure
from pipeline_platform.flow.phase import PhaseFailedError, as_pipeline_error
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.plan import committed_load
from pipeline_platform.flow.run import CheckOutcome, Log, RunRequest, Step, WindowRun
from pipeline_platform.flow.source import prepare, source_step
from pipeline_platform.flow.stage import require_manifest, stage_step
from pipeline_platform.flow.target import target_step
from pipeline_platform.record import PipelineRecord
from pipeline_platform.window import Window

STEPS: Mapping[str, Step] = {
    "source": source_step,
    "stage": stage_step,
    "target": target_step,
    "audit": audit_step,
    "cleaning": cleaning_step,
}
# The one check of each asset that has one.
CHECK_OF_STEP: Mapping[str, str] = {
    "source": "ready",
    "stage": "stage_count",
    "target": "target_count",
    "audit": "audit",
}


@dataclass(frozen=True)
class Handover:
    """What a step gives to the next one, through the drive table: state, never rows of data."""

    claim: Claim
    record: PipelineRecord
    row: ExecutionRow
    release: bool


@dataclass(frozen=True)
class StepResult:
    """A step that went well. `metadata` holds plain numbers and texts."""

    handover: Handover
    checks: tuple[CheckOutcome, ...]
    metadata: Mapping[str, Any]


class StepFailedError(Exception):
    """A step that failed; all of it is stored already. `error` decides about a retry."""

    def __init__(
        self,
        error: PipelineError,
        check: CheckOutcome | None,
        row: ExecutionRow | None,
        interrupted: BaseException | None,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.check = check
        self.row = row
        self.interrupted = interrupted


def perform(
    step: str,
    pipeline: Pipeline,
    window: Window,
    store: DriveStore,
    request: RunRequest,
    log: Log,
) -> StepResult:
    """Run one asset of the window. Raises StepFailedError once the failure is stored."""
    began = time.monotonic()
    try:
        opened = claim_window if request.first else resume_window
        run = opened(pipeline, window, store, request, log)
    except Exception as caught:
        error = as_pipeline_error(caught)
        raise StepFailedError(error, _failed_check(step, error), None, None) from caught
    try:
        with heartbeat(store, run.claim, now=run.clock.now()) as pulse:
            run.lease_is_ours = pulse.still_ours
            if request.first:
                prepare(run)
                enter_at(step, run)
            STEPS[step](run)
            pulse.still_ours()
    except BaseException as caught:
        failed = caught if isinstance(caught, PhaseFailedError) else _outside_phase(run, caught)
        record_failure(run, failed)
        check = _failed_check(step, failed.error)
        raise StepFailedError(failed.error, check, run.row, failed.interrupted) from caught
    if request.last:
        _close(run)
    run.metadata.setdefault("seconds", round(time.monotonic() - began, 3))
    handover = Handover(run.claim, run.record, run.row, release=request.last)
    return StepResult(handover, tuple(run.checks), run.metadata)


def enter_at(step: str, run: WindowRun) -> None:
    """Begin a run in the middle: what the assets before `step` produce must be there.

    Their cheap parts run (counts, hashes); PermanentError says which asset to materialize.
    """
    decision = run.row.phases["pre_validation"].phase_specific_details
    for earlier in list(STEPS)[: list(STEPS).index(step)]:
        missing = not run.passes_through and (
            (earlier == "stage" and decision["action"] == "start_over")
            or (earlier == "target" and committed_load(run, require_manifest(run)) is None)
            or earlier == "audit"
        )
        if missing:
            raise PermanentError(
                f"Nothing to go on from: {run.pipeline.name}/{earlier} is missing for the window "
                f"{run.window.key} ({decision['reason']}).",
                hint=f"Materialize {run.pipeline.name}/{earlier} for this partition first.",
            )
        STEPS[earlier](run)
    run.checks.clear()
    run.metadata.clear()
    if step == "cleaning":
        run.row = replace(run.row, pipeline_status="RUNNING")


def _close(run: WindowRun) -> None:
    """End the run's row. One that ends before the audit is SUCCESS with phases pending."""
    if run.row.pipeline_status == "RUNNING":
        run.row = replace(run.row, pipeline_status="SUCCESS")
    run.end()


def _outside_phase(run: WindowRun, caught: BaseException) -> PhaseFailedError:
    """A failure between phases belongs to the next one."""
    error = as_pipeline_error(caught)
    name = next((name for name in PHASES if run.row.phases[name].status == "PENDING"), PHASES[-1])
    record = replace(run.row.phases[name], status="FAILED", error_message=str(error))
    run.row = run.row.with_phase(name, record)
    return PhaseFailedError(name, error, None if isinstance(caught, Exception) else caught)


def _failed_check(step: str, error: PipelineError) -> CheckOutcome | None:
    if isinstance(error, (ClaimLostError, WindowHeldError)):
        return None  # the run that has the window gives the verdict
    name = CHECK_OF_STEP.get(step)
    return CheckOutcome(name, False, str(error), error.facts) if name else None

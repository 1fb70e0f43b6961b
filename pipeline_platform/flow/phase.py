"""The executor of one phase: times, expected duration, timeout, error category, status."""

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline_platform.errors import PermanentError, PipelineError, TransientError
from pipeline_platform.execution import Phase, PhaseRecord
from pipeline_platform.flow.run import CheckOutcome, WindowRun
from pipeline_platform.moment import human_duration, parse_time_to_seconds
from pipeline_platform.tolerance import HopVerdict

# These ask before they commit; what is committed by then is not undone by a late look at the clock.
_COMMITTING = ("stage_to_target_transfer", "audit")


class PhaseFailedError(Exception):
    """A phase stopped the run; `error` says why and decides the recovery.

    `interrupted` is the signal that ended the worker, to be raised again once all is stored.
    """

    def __init__(
        self, phase: Phase, error: PipelineError, interrupted: BaseException | None = None
    ) -> None:
        super().__init__(f"{phase}: {error}")
        self.phase = phase
        self.error = error
        self.interrupted = interrupted


@contextmanager
def phase(run: WindowRun, name: Phase) -> Iterator[dict[str, Any]]:
    """Run the body as phase `name`; what it puts into the yielded dict is stored as details.

    The body fails by raising. Whatever it raises becomes a PhaseFailedError with the phase marked
    FAILED in `run.row`; an exception that is no PipelineError counts as permanent, an interrupt
    (Ctrl-C, cancelled run) as transient.
    """
    settings = getattr(run.pipeline.config.phases, name)
    started, began = run.clock.now(), time.monotonic()
    details: dict[str, Any] = {}
    record = PhaseRecord(
        start_timestamp=started.isoformat(),
        expected_run_duration=settings.expected_run_duration,
        retry_number=run.row.pipeline_retry_number,
        phase_specific_details=details,
    )
    run.row = run.row.with_phase(name, record)
    if settings.timeout is not None:
        run.deadline = began + parse_time_to_seconds(settings.timeout)
    try:
        run.still_ours()
        yield details
        if name not in _COMMITTING:
            run.still_ours()
    except BaseException as caught:
        error = as_pipeline_error(caught)
        details.update(error.facts)
        failed = replace(record, status="FAILED", error_message=str(error))
        run.row = run.row.with_phase(name, _ended(run, failed, began))
        raise PhaseFailedError(
            name, error, None if isinstance(caught, Exception) else caught
        ) from caught
    finally:
        run.deadline = None
    run.row = run.row.with_phase(name, _ended(run, replace(record, status="COMPLETED"), began))
    _report_slow(run, name, time.monotonic() - began, settings.expected_run_duration)


def skip_phase(run: WindowRun, name: Phase, reason: str, **details: Any) -> None:
    """Mark a phase as not needed in this run, with the reason."""
    record = PhaseRecord(
        status="SKIPPED",
        retry_number=run.row.pipeline_retry_number,
        expected_run_duration=getattr(run.pipeline.config.phases, name).expected_run_duration,
        phase_specific_details={"reason": reason, **details},
    )
    run.row = run.row.with_phase(name, record)


def pass_through(run: WindowRun, check: str, phases: Sequence[Phase], verdict: HopVerdict) -> None:
    """Report a window that is right already: phases not needed, the check passed as it stands."""
    reason = run.row.phases["pre_validation"].phase_specific_details["reason"]
    for name in phases:
        skip_phase(run, name, reason)
    run.metadata.update(rows=verdict.after, loss_percent=float(verdict.loss_percent))
    run.checks.append(CheckOutcome(check, True, reason, verdict.facts()))


def as_pipeline_error(caught: BaseException) -> PipelineError:
    """The error that decides the recovery. Unknown exceptions are permanent."""
    if isinstance(caught, PipelineError):
        return caught
    if isinstance(caught, Exception):
        return PermanentError(
            f"Unexpected {type(caught).__name__} in {_place_of(caught)}.",
            hint="This is not a failure the platform knows. Its text may hold values of rows or "
            "secrets and is not stored; run the window in a debugger to see it.",
        )
    return TransientError(f"Interrupted ({type(caught).__name__}).", hint="Run the window again.")


def _place_of(caught: BaseException) -> str:
    frames = traceback.extract_tb(caught.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "native code"


def _ended(run: WindowRun, record: PhaseRecord, began: float) -> PhaseRecord:
    return replace(
        record,
        end_timestamp=run.clock.now().isoformat(),
        actual_run_duration=human_duration(time.monotonic() - began),
    )


def _report_slow(run: WindowRun, name: Phase, seconds: float, expected: str | None) -> None:
    if expected is None:
        return
    factor = float(run.pipeline.config.monitoring.duration_multiplier_threshold)
    if seconds > factor * parse_time_to_seconds(expected):
        run.log.warning(
            "%s took %s, more than %g times the expected %s",
            name,
            human_duration(seconds),
            factor,
            expected,
        )
        run.metadata["slow_phases"] = [*run.metadata.get("slow_phases", []), name]

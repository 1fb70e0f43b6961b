"""What happens when a phase fails: clean its partial data, reset the record, close the row."""

from collections.abc import Callable
from dataclasses import replace

from pipeline_platform.errors import AuditMismatchError, ClaimLostError, PipelineError
from pipeline_platform.flow.phase import PhaseFailedError
from pipeline_platform.flow.run import WindowRun
from pipeline_platform.movement import AttemptPath
from pipeline_platform.record import reset_on_audit_mismatch, reset_on_process_failure


def record_failure(run: WindowRun, failed: PhaseFailedError) -> None:
    """Store the failure and free the window; never hides the failure itself.

    Process failure: the phase's partial data is removed, its fields are reset, completed phases
    are kept. Verification failure or audit mismatch: the stage is cleaned and the next attempt
    starts from zero. Only a run that still holds the window cleans anything. Where the drive table
    cannot be reached, the lease's end frees the window.
    """
    error = failed.error
    if failed.phase in ("stage_cleaning", "target_cleaning"):
        _keep_the_good_window(run, error)
        return
    run.row = replace(run.row, pipeline_status="FAILED", error_category=error.category)
    run.end()
    if isinstance(error, ClaimLostError) or _lost_meanwhile(run):
        _despite_errors(run, "closing the row", lambda: run.store.close_run(run.row))
        return
    if error.from_zero:
        _despite_errors(run, "cleaning the stage", lambda: clean_all_attempts(run))
        if _is_final(run, error):
            _despite_errors(run, "cleaning the target", lambda: clean_target_location(run))
        run.record = reset_on_audit_mismatch(run.record)
    else:
        if failed.phase == "source_to_stage_transfer":
            _despite_errors(run, "removing the partial attempt", lambda: clean_attempt(run))
        run.record = reset_on_process_failure(run.record, failed.phase, run.clock.now())
    _despite_errors(
        run,
        "storing the failure",
        lambda: run.store.save(run.claim, run.record, run.row, release=True),
    )


def _keep_the_good_window(run: WindowRun, error: PipelineError) -> None:
    """Cleaning failed after a good audit: the record stays, the row fails only by `fail_run`."""
    if run.pipeline.config.phases.stage_cleaning.fail_run:
        run.row = replace(run.row, pipeline_status="FAILED", error_category=error.category)
    elif run.row.pipeline_status == "RUNNING":
        run.row = replace(run.row, pipeline_status="SUCCESS")
    run.end()
    _despite_errors(
        run,
        "storing the failure",
        lambda: run.store.save(run.claim, run.record, run.row, release=True),
    )


def clean_attempt(run: WindowRun) -> None:
    """Remove what this run staged, unless it is whole; other attempts stay."""
    attempt = AttemptPath(run.slice, run.claim.epoch)
    if run.pipeline.stage.open_manifest(attempt) is None:
        run.pipeline.stage.delete(attempt)


def clean_all_attempts(run: WindowRun) -> None:
    """Remove the window from the stage; an attempt of a newer run, if there is one, stays."""
    for epoch in run.pipeline.stage.attempts(run.slice):
        if epoch <= run.claim.epoch:
            run.pipeline.stage.delete(AttemptPath(run.slice, epoch))


def clean_target_location(run: WindowRun) -> None:
    """Delete the window's rows from the target, fenced."""
    run.pipeline.target.delete_window(run.slice, run.claim.epoch)


def _lost_meanwhile(run: WindowRun) -> bool:
    try:
        run.store.heartbeat(run.claim)
    except ClaimLostError:
        return True
    except Exception:
        return False
    return False


def _is_final(run: WindowRun, error: PipelineError) -> bool:
    """A load that did not verify was rolled back: the rows that it left alone stay."""
    if not isinstance(error, AuditMismatchError):
        return False
    config = run.pipeline.config
    out_of_attempts = run.request.retry_number >= config.retry.max_retries
    return out_of_attempts and config.phases.audit.on_final_mismatch == "delete"


def _despite_errors(run: WindowRun, what: str, action: Callable[[], object]) -> None:
    try:
        action()
    except Exception as error:
        run.log.error("%s %s: %s failed: %s", run.pipeline.name, run.window.key, what, error)

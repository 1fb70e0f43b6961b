"""How a run gets its window: claim it in the first step, find the claim again in later ones."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from pipeline_platform.drive_table.store import Claim, DriveStore
from pipeline_platform.errors import ClaimLostError, PipelineError, WindowHeldError
from pipeline_platform.execution import ExecutionRow, pipeline_id
from pipeline_platform.flow.pending import build_complete_pipeline_record
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.run import Clock, Log, RunRequest, WindowRun
from pipeline_platform.record import PipelineRecord
from pipeline_platform.window import Window

HELD_POLL_SECONDS = 2.0


def claim_window(
    pipeline: Pipeline, window: Window, store: DriveStore, request: RunRequest, log: Log
) -> WindowRun:
    """Claim the window for this Dagster run and open its drive row.

    Waits at most `request.held_wait_seconds` while another run holds the window, then raises
    WindowHeldError: no claim, no epoch, no drive row. A retry first waits out what is left of its
    backoff. The epoch is above every epoch that drive table, commit row or stage ever saw, so a
    lost drive table fences nobody out.
    """
    store.migrate()
    fresh = build_complete_pipeline_record(pipeline.record_plan(), window)
    if request.retry_number:
        _wait_out_backoff(pipeline, store, fresh, request.retry_number)
    claim = _claim_or_wait(pipeline, window, store, request, fresh, log)
    try:
        return _open_run(pipeline, window, store, request, claim, log)
    except BaseException:
        with suppress(Exception):  # else the lease's end frees the window
            store.save(claim, None, None, release=True)
        raise


def _open_run(
    pipeline: Pipeline,
    window: Window,
    store: DriveStore,
    request: RunRequest,
    claim: Claim,
    log: Log,
) -> WindowRun:
    state = store.look_up(claim.key)
    clock = Clock(state.now)
    fresh = build_complete_pipeline_record(pipeline.record_plan(), window, epoch=claim.epoch)
    record = state.record or fresh
    record = replace(
        record,
        time_interval=fresh.time_interval,
        source_name=fresh.source_name,
        target_name=fresh.target_name,
        stage_path=fresh.stage_path,
        config_hash=fresh.config_hash,
        pipeline_id=fresh.pipeline_id,
        retry_attempt=failures_since_success(state.runs),
        pipeline_start_time=clock.now(),
        pipeline_end_time=None,
        pipeline_status="PENDING",
        record_first_created_time=record.record_first_created_time or clock.now(),
        record_last_updated_time=clock.now(),
    )
    row = ExecutionRow(
        pipeline_id=pipeline_id(pipeline.name, window.start, claim.epoch),
        pipeline_name=pipeline.name,
        pipeline_status="RUNNING",
        pipeline_retry_number=record.retry_attempt,
        pipeline_start_timestamp=clock.now(),
        query_window_start_timestamp=window.start,
        query_window_end_timestamp=window.end,
        target_date=window.target_day,
        query_window_duration=window.interval,
        epoch=claim.epoch,
        dagster_run_id=request.run_id,
        config_hash=pipeline.config.config_hash,
    )
    row = store.save(claim, record, row) or row
    return WindowRun(pipeline, window, store, request, claim, record, row, state.runs, clock, log)


def resume_window(
    pipeline: Pipeline, window: Window, store: DriveStore, request: RunRequest, log: Log
) -> WindowRun:
    """The run that an earlier step of the same Dagster run opened.

    Raises ClaimLostError when that claim is no longer ours or the run was already closed.
    """
    fresh = build_complete_pipeline_record(pipeline.record_plan(), window)
    state = store.look_up(fresh.key)
    claim, row, record = state.claim_of(request.run_id), state.run_of(request.run_id), state.record
    if claim is None or row is None or record is None or row.epoch != claim.epoch:
        raise ClaimLostError(
            f"The run no longer holds the window {window.key} of {pipeline.name}.",
            hint="Another run took it over; look at its row in pipeline_execution_drive.",
        )
    clock = Clock(state.now)
    return WindowRun(pipeline, window, store, request, claim, record, row, state.runs, clock, log)


def failures_since_success(runs: Sequence[ExecutionRow]) -> int:
    """RETRY_ATTEMPT at the claim: +1 per failed run, 0 after a success, unchanged by a skip.

    `runs` are newest first. A run that still says RUNNING died: its claim was free to take.
    """
    failures = 0
    for run in runs:
        if run.pipeline_status == "SUCCESS":
            break
        failures += run.pipeline_status in ("FAILED", "RUNNING")
    return failures


def _claim_or_wait(
    pipeline: Pipeline,
    window: Window,
    store: DriveStore,
    request: RunRequest,
    record: PipelineRecord,
    log: Log,
) -> Claim:
    deadline = time.monotonic() + request.held_wait_seconds
    told = False
    # Whoever holds the window has its epoch from the drive table, which grows with every claim.
    seen = _epoch_seen_elsewhere(pipeline, window)
    while True:
        claim = store.claim(record, request.run_id, at_least_epoch=seen)
        if claim is not None:
            return claim
        if time.monotonic() >= deadline:
            raise WindowHeldError(
                f"Another run holds the window {window.key} of {pipeline.name}.",
                hint="Nothing was changed. Try again when it has finished; its row in "
                "pipeline_execution_drive says RUNNING.",
            )
        if not told:
            log.info("%s %s: another run holds the window, waiting", pipeline.name, window.key)
            told = True
        time.sleep(min(HELD_POLL_SECONDS, max(0.05, deadline - time.monotonic())))


def _epoch_seen_elsewhere(pipeline: Pipeline, window: Window) -> int:
    """Highest epoch in commit row and stage; what cannot be reached now is checked again by
    pre-validation, and the fence refuses an epoch that is too low."""
    slice_ = window.slice(pipeline.name)
    epochs = [0]
    with suppress(PipelineError):
        commit = pipeline.target.commit_row(slice_)
        epochs.append(commit.epoch if commit else 0)
    with suppress(PipelineError):
        epochs += pipeline.stage.attempts(slice_)
    return max(epochs)


def _wait_out_backoff(
    pipeline: Pipeline, store: DriveStore, record: PipelineRecord, retry_number: int
) -> None:
    """What is left of the wait since the failed run's end; all of it where no row tells its end."""
    wanted, waited = pipeline.config.retry.wait_seconds(retry_number), 0.0
    with suppress(PipelineError):
        state = store.look_up(record.key)
        failed = next(iter(state.runs), None)
        if failed and failed.pipeline_status == "FAILED" and failed.pipeline_end_timestamp:
            waited = (state.now - failed.pipeline_end_timestamp).total_seconds()
    if wanted > waited:
        time.sleep(wanted - waited)

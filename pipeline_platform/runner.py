"""Runs one window through Dagster from a command: the same job as in the UI, with its retries."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pipeline_platform.errors import PipelineError
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.assets import (
    FORCE_TAG,
    MAX_RETRIES_TAG,
    RESTATE_TAG,
    RETRY_NUMBER_TAG,
)
from pipeline_platform.project import Project
from pipeline_platform.record import RecordKey
from pipeline_platform.window import Window

BACKFILL_TAG = "pipeline_platform/backfill"

_QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class WindowResult:
    """How one window ended. `row` is the last run's; None if it never got the window."""

    window: Window
    success: bool
    row: ExecutionRow | None
    reason: str
    attempts: int

    @property
    def verdict(self) -> str:
        """Status of the last run; NOT RUN if it never got the window."""
        return self.row.pipeline_status if self.row else "NOT RUN"


def wishes(*, force: bool = False, restate: bool = False) -> dict[str, str]:
    """The run tags that say so."""
    chosen = {FORCE_TAG: force, RESTATE_TAG: restate}
    return {tag: "true" for tag, wanted in chosen.items() if wanted}


def run_window(
    project: Project,
    pipeline_name: str,
    window: Window,
    instance: dg.DagsterInstance,
    *,
    tags: Mapping[str, str] | None = None,
    before_retry: Callable[[WindowResult], None] | None = None,
) -> WindowResult:
    """Run a window, and again after its backoff while that may help, at most `max_retries` times.

    Every attempt is a Dagster run of its own with `tags`, linked to the one before it;
    `before_retry` is told how it ended. An interrupt is not retried: it leaves this function as
    KeyboardInterrupt.
    """
    retry = project.pipeline(pipeline_name).pipeline.config.retry
    job = dg.build_reconstructable_job(
        "pipeline_platform.project",
        "reconstruct_job",
        reconstructable_kwargs={"root": str(project.root), "pipeline_name": pipeline_name},
    )
    run_config = dict(_QUIET)
    if project.definitions.executor is None:
        # Dagster's default would start a process for each step.
        run_config["execution"] = {"config": {"in_process": {}}}
    parent: str | None = None
    for attempt in range(retry.max_retries + 1):
        own = {**(tags or {}), "dagster/partition": window.key, MAX_RETRIES_TAG: "0"}
        if parent is not None:
            own[RETRY_NUMBER_TAG] = str(attempt)
        try:
            done = dg.execute_job(
                job,
                instance=instance,
                run_config=run_config,
                tags=own,
                raise_on_error=False,
                reexecution_options=dg.ReexecutionOptions(parent_run_id=parent) if parent else None,
            )
        except dg.DagsterExecutionInterruptedError as interrupt:
            raise KeyboardInterrupt from interrupt
        if _was_interrupted(done):
            _free(project, pipeline_name, window, done.run_id)
            raise KeyboardInterrupt
        parent = done.run_id
        row = None
        with suppress(PipelineError):  # what Dagster knows of the run is enough to go on
            row = project.store.run_of(pipeline_name, done.run_id)
        result = WindowResult(window, done.success, row, _reason(done, row), attempt + 1)
        run = instance.get_run_by_id(done.run_id)
        retryable = run is not None and run.tags.get(MAX_RETRIES_TAG) != "0"
        if result.success or not retryable or attempt == retry.max_retries:
            break
        if before_retry is not None:
            before_retry(result)
    return result


def _free(project: Project, pipeline_name: str, window: Window, run_id: str) -> None:
    """Give up the claim of a run that was interrupted between two steps; else its lease would last
    for minutes. The next run of the window closes the row."""
    with suppress(PipelineError):
        key = RecordKey(pipeline_name, window.start, window.end)
        claim = project.store.look_up(key).claim_of(run_id)
        if claim is not None:
            project.store.save(claim, None, None, release=True)


def _was_interrupted(done: dg.JobExecutionResult) -> bool:
    """Dagster reports Ctrl-C, or a cancellation from the UI, as one more way to fail."""
    return any(
        event.event_type_value == "PIPELINE_CANCELED"
        or (
            event.event_type_value == "PIPELINE_FAILURE"
            and getattr(event.job_failure_data.failure_reason, "value", "")
            == "UNEXPECTED_TERMINATION"
        )
        for event in done.all_events
    )


def _reason(result: dg.JobExecutionResult, row: ExecutionRow | None) -> str:
    if result.success:
        details = row.phases["pre_validation"].phase_specific_details if row else {}
        return str(details.get("reason", ""))
    if row is not None and row.phase_failed is not None:
        failed = next(p for name, p in row.phases.items() if name == row.phase_failed)
        return f"{row.phase_failed}: {failed.error_message}"
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            error = event.step_failure_data.error
            return str(failure.description if failure else error.message if error else "failed")
    return "The run failed; see its log in the Dagster UI."

"""Asset `source`: stale_pipeline_handling, pre_validation, source_count."""

from dataclasses import replace
from datetime import timedelta

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.errors import (
    PermanentError,
    PipelineError,
    ToleranceError,
    TransientError,
    WindowNotReadyError,
)
from pipeline_platform.flow.phase import phase, skip_phase
from pipeline_platform.flow.plan import Plan, decide, fence_out, late_writers_are_possible
from pipeline_platform.flow.run import CheckOutcome, WindowRun
from pipeline_platform.flow.stale import handle_stale_runs
from pipeline_platform.movement import CommitRow, Prerequisite
from pipeline_platform.record import (
    AUDIT,
    COMPLETED,
    SOURCE_TO_STAGE,
    PipelineRecord,
    count_fields,
    started_over,
)
from pipeline_platform.tolerance import shrinkage


def source_step(run: WindowRun) -> None:
    """Count the source. Pre-validation ran when the window was claimed (`prepare`)."""
    plan = run.row.phases["pre_validation"].phase_specific_details
    if run.passes_through:
        skip_phase(run, "source_count", plan["reason"])
    else:
        with phase(run, "source_count") as details:
            details["value"] = plan["source_count"]
    reason = "ready, all prerequisites met" if not run.passes_through else plan["reason"]
    facts = {"observed": plan["source_count"], "decision": plan["action"]}
    run.checks.append(CheckOutcome("ready", True, reason, facts))
    run.metadata["rows"] = plan["source_count"]


def prepare(run: WindowRun) -> None:
    """The phases that open every run, whichever asset is its first: stale handling, pre-validation.

    Ends with `run.row` holding the decision in pre_validation's details, and with the record reset
    where the window starts over.
    """
    handle_stale_runs(run)
    with phase(run, "pre_validation") as details:
        details["is_fresh_run"] = run.claim.epoch == 1
        details["previous_phases_completed"] = _previous_phases(run)
        details["ready"] = _require_ready(run)
        checks = _prerequisites(run)
        details["validation_checks"] = [
            {"name": check.name, "passed": check.passed, "detail": check.detail} for check in checks
        ]
        _require_all(checks)
        plan = decide(run)
        details.update(action=plan.action, reason=plan.reason, source_count=plan.source_count)
        if plan.manifest is not None:
            details["manifest_epoch"] = plan.manifest.epoch
        if plan.action == "skip" and plan.commit is not None:
            details.update(stage_rows=plan.commit.stage_rows, target_rows=plan.commit.target_rows)
            if late_writers_are_possible(run, plan.commit):
                fence_out(run, plan.commit)
        if plan.action == "start_over":
            guard_against_shrinking(run, plan.source_count, plan.commit)
    run.log.info("%s %s: %s (%s)", run.pipeline.name, run.window.key, plan.action, plan.reason)
    _apply(run, plan)


def guard_against_shrinking(run: WindowRun, rows: int, commit: CommitRow | None) -> None:
    """Refuse a source that lost more than `max_shrink_percent` of its committed rows.

    An index that expired must not wipe history. Also the place where an empty window is refused if
    the config says so. `force` passes both.
    """
    if run.forced:
        return
    limits = run.pipeline.config.query_window
    before = commit.source_rows if commit is not None else None
    if before and (gone := shrinkage(before, rows, limits.max_shrink_percent)) is not None:
        raise ToleranceError(
            f"The source holds {rows} rows of this window, {before} were committed: it shrank by "
            f"more than {limits.max_shrink_percent} %. The target keeps its rows.",
            hint="If the rows are rightly gone, run the window with --force "
            "(tag pipeline_platform/force: true).",
            facts=gone.facts(),
        )
    if rows == 0 and limits.on_empty_window == "fail":
        raise ToleranceError(
            "The source holds no row of this window.",
            hint="Check source_system.query_field, or set query_window.on_empty_window: allow.",
            facts={"observed": 0},
        )


def _previous_phases(run: WindowRun) -> list[str]:
    earlier = (row for row in run.runs if row.epoch < run.claim.epoch)
    return next((row.phases_completed for row in earlier), [])


def _require_ready(run: WindowRun) -> bool:
    """Whether the window is ready; one that is not passes only by force."""
    ready_at = run.window.end + timedelta(seconds=run.pipeline.x_time_back_seconds)
    ready = run.clock.now() >= ready_at
    if not ready and not run.forced:
        raise WindowNotReadyError(
            f"The window {run.window.key} is ready at {ready_at.isoformat()}, "
            f"{run.pipeline.config.query_window.x_time_back} after its end.",
            hint="Run it then, or force it; rows that arrive later would be missing.",
            facts={"ready_at": ready_at.isoformat()},
        )
    return ready


def unverified_connections(config: PipelineConfig) -> list[Prerequisite]:
    """Connections that the config takes TLS from, which it may on this machine only."""
    return [
        Prerequisite(f"{part} TLS", True, system.unverified)
        for part in ("source", "stage", "target")
        if (system := getattr(config, f"{part}_system")).unverified
    ]


def _prerequisites(run: WindowRun) -> list[Prerequisite]:
    pipeline = run.pipeline
    checks = [*pipeline.source.check(), *pipeline.stage.check(), *pipeline.target.check()]
    checks += unverified_connections(pipeline.config)
    if all(check.passed for check in checks) and not run.request.restate:
        checks.append(pipeline.target.check_window(run.slice))
    return checks


def _require_all(checks: list[Prerequisite]) -> None:
    failed = [check for check in checks if not check.passed]
    if not failed:
        return
    kind: type[PipelineError] = TransientError
    if not all(check.transient for check in failed):
        kind = PermanentError
    text = "; ".join(f"{check.name}: {check.detail.rstrip('.')}" for check in failed)
    raise kind(
        f"Prerequisites not met: {text}.",
        hint=" ".join(dict.fromkeys(check.hint for check in failed if check.hint)),
    )


def _apply(run: WindowRun, plan: Plan) -> None:
    if plan.action == "skip":
        assert plan.commit is not None
        run.row = replace(run.row, pipeline_status="SKIPPED")
        run.record = completed_from_commit(run.record, plan.commit)
        run.change_record(pipeline_end_time=run.clock.now())
    elif plan.action == "start_over":
        run.record = started_over(run.record)
    else:
        run.change_record(
            source_to_stage_ingestion_status=COMPLETED,
            phase_completed=run.record.phase_completed or SOURCE_TO_STAGE,
        )


def completed_from_commit(record: PipelineRecord, commit: CommitRow) -> PipelineRecord:
    """The record of a window that is right already, whatever the drive table remembered of it."""
    assert commit.source_rows is not None
    assert commit.target_rows is not None
    return replace(
        record,
        source_to_stage_ingestion_status=COMPLETED,
        stage_to_target_ingestion_status=COMPLETED,
        audit_status=COMPLETED,
        audit_result=commit.audit_result,
        pipeline_status=COMPLETED,
        phase_completed=AUDIT,
        **count_fields(commit.source_rows, commit.target_rows),
    )

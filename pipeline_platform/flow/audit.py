"""Asset `audit`: compare the three counts once more, store the verdict, finish the run."""

from dataclasses import replace

from pipeline_platform.errors import AuditMismatchError, PermanentError, ToleranceError
from pipeline_platform.fault_points import fault_point
from pipeline_platform.flow.hops import source_to_stage, source_to_target, stage_to_target
from pipeline_platform.flow.phase import pass_through, phase
from pipeline_platform.flow.plan import get_source_count
from pipeline_platform.flow.run import CheckOutcome, WindowRun
from pipeline_platform.flow.stage import require_manifest
from pipeline_platform.movement import CommitRow, TargetCounts
from pipeline_platform.record import AUDIT, COMPLETED, PENDING, count_fields
from pipeline_platform.tolerance import HopVerdict, compare_hop

PASS = "PASS"  # noqa: S105
FAIL = "FAIL"


def audit_step(run: WindowRun) -> None:
    """Pass or fail the window; a pass makes the run's row SUCCESS and its record COMPLETED.

    A source that moved on since the snapshot is drift: recorded, and the audit passes. A target
    that is not what the commit row says is a mismatch, and so is a loss over tolerance.
    """
    if run.passes_through:
        found = run.row.phases["pre_validation"].phase_specific_details
        verdict = source_to_target(run, found["source_count"], found["target_rows"])
        pass_through(run, "audit", ("audit",), verdict)
        run.end()
        return
    with phase(run, "audit") as details:
        run.change_record(audit_start_time=run.clock.now())
        commit = _commit_row(run)
        source_now = get_source_count(run)
        counts = run.pipeline.target.count(run.slice)
        hops = _hops(run, commit)
        assert commit.source_rows is not None
        assert commit.target_rows is not None
        details.update(
            source_count=commit.source_rows,
            stage_count=commit.stage_rows,
            target_count=counts.by_window_column,
            source_count_now=source_now,
            drift=source_now - commit.source_rows,
            source_to_stage_loss_percent=float(hops[0].loss_percent),
            source_to_stage_tolerance_percent=float(hops[0].tolerance_percent),
            stage_to_target_loss_percent=float(hops[1].loss_percent),
            stage_to_target_tolerance_percent=float(hops[1].tolerance_percent),
            loss_reasons=_loss_reasons(run, hops),
            validation_status="FAILED",
        )
        run.still_ours()
        fault_point("audit.before_verdict")
        _judge(run, commit, counts, hops)
        run.pipeline.target.store_audit(run.slice, run.claim.epoch, PASS)
        fault_point("audit.after_verdict")
        details["validation_status"] = "PASSED"
    loss = source_to_target(run, commit.source_rows, commit.target_rows)
    facts = loss.facts() | {
        "stage_rows": commit.stage_rows,
        "drift": source_now - commit.source_rows,
    }
    run.metadata.update(rows=commit.target_rows, loss_percent=float(loss.loss_percent))
    run.checks.append(CheckOutcome("audit", True, loss.reason, facts))
    now = run.clock.now()
    run.change_record(
        audit_end_time=now,
        audit_status=COMPLETED,
        audit_result=PASS,
        phase_completed=AUDIT,
        pipeline_status=COMPLETED if _was_ready(run) else PENDING,
        pipeline_end_time=now,
        retry_attempt=0,
        **count_fields(commit.source_rows, commit.target_rows),
    )
    run.row = replace(run.row, pipeline_status="SUCCESS")
    run.end()


def _was_ready(run: WindowRun) -> bool:
    """A window that was forced before it was ready stays pending: rows may still arrive."""
    details = run.row.phases["pre_validation"].phase_specific_details
    return bool(details.get("ready", True))


def _commit_row(run: WindowRun) -> CommitRow:
    manifest = require_manifest(run)
    commit = run.pipeline.target.commit_row(run.slice)
    if commit is None or commit.manifest_hash != manifest.hash:
        raise PermanentError(
            f"The window {run.window.key} is not loaded.",
            hint=f"Materialize {run.pipeline.name}/target for this partition first.",
        )
    return commit


def _hops(run: WindowRun, commit: CommitRow) -> tuple[HopVerdict, HopVerdict]:
    source, stage, target = commit.source_rows or 0, commit.stage_rows or 0, commit.target_rows or 0
    return source_to_stage(run, source, stage), stage_to_target(run, stage, target)


def _judge(
    run: WindowRun,
    commit: CommitRow,
    counts: TargetCounts,
    hops: tuple[HopVerdict, HopVerdict],
) -> None:
    assert commit.target_rows is not None
    since_commit = compare_hop(commit.target_rows, counts.by_window_column, 0, "target")
    facts = since_commit.facts() | {"observed_by_query_field": counts.by_query_field}
    if not (counts.by_window_column == counts.by_query_field == commit.target_rows):
        run.pipeline.target.store_audit(run.slice, run.claim.epoch, FAIL)
        raise AuditMismatchError(
            f"The target holds {counts.by_window_column} rows of this window "
            f"({counts.by_query_field} by the query field), {commit.target_rows} were committed.",
            hint="Somebody else changed the target; the next attempt starts from zero.",
            facts=facts,
        )
    for hop in hops:
        if not hop.passed:
            run.pipeline.target.store_audit(run.slice, run.claim.epoch, FAIL)
            raise ToleranceError(
                f"{hop.reason}.",
                hint="Raise phases.audit.count_tolerances if this loss is rightful.",
                facts=hop.facts(),
            )


def _loss_reasons(run: WindowRun, hops: tuple[HopVerdict, HopVerdict]) -> str:
    transfer = run.row.phases["source_to_stage_transfer"].phase_specific_details
    reasons = [f"{rows} rejected: {reason}"
               for reason, rows in transfer.get("rejected_reasons", {}).items()]  # fmt: skip
    if hops[1].lost:
        reasons.append(f"{hops[1].lost} filtered or deduplicated between stage and target")
    return "; ".join(reasons) or "no loss"

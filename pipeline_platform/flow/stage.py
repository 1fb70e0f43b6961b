"""Asset `stage`: source_to_stage_transfer, stage_count."""

import time
from typing import Any

from pipeline_platform.errors import (
    PermanentError,
    SnapshotLostError,
    ToleranceError,
    VerificationError,
)
from pipeline_platform.fault_points import fault_point
from pipeline_platform.flow.hops import source_to_stage
from pipeline_platform.flow.phase import pass_through, phase, skip_phase
from pipeline_platform.flow.plan import newest_manifest
from pipeline_platform.flow.run import CheckOutcome, WindowRun
from pipeline_platform.flow.source import guard_against_shrinking
from pipeline_platform.movement import AttemptPath, Manifest
from pipeline_platform.record import COMPLETED, SOURCE_TO_STAGE
from pipeline_platform.tolerance import HopVerdict

SNAPSHOTS_PER_RUN = 3


def stage_step(run: WindowRun) -> None:
    """Write the window's rows to the stage, or go on from what an earlier run staged."""
    decision = run.row.phases["pre_validation"].phase_specific_details
    if run.passes_through:
        verdict = source_to_stage(run, decision["source_count"], decision["stage_rows"])
        pass_through(run, "stage_count", ("source_to_stage_transfer", "stage_count"), verdict)
        return
    if decision["action"] == "continue":
        manifest = require_manifest(run)
        skip_phase(run, "source_to_stage_transfer", decision["reason"], **_numbers(manifest))
    else:
        manifest = transfer_source_to_stage(run)
    count_stage(run, manifest, fresh=decision["action"] != "continue")


def transfer_source_to_stage(run: WindowRun) -> Manifest:
    """Read one snapshot of the window into this run's own attempt path."""
    with phase(run, "source_to_stage_transfer") as details:
        run.change_record(source_to_stage_ingestion_start_time=run.clock.now())
        began = time.monotonic()
        fault_point("stage.before_read")
        manifest = _write_snapshot(run, details)
        fault_point("stage.after_manifest")
        seconds = time.monotonic() - began
        details.update(_numbers(manifest), transfer_status="SUCCESS")
        run.metadata.update(
            rows=manifest.rows,
            bytes=manifest.bytes,
            seconds=round(seconds, 3),
            rows_per_second=round(manifest.rows / seconds) if seconds else manifest.rows,
        )
    run.change_record(
        source_to_stage_ingestion_end_time=run.clock.now(),
        source_to_stage_ingestion_status=COMPLETED,
        phase_completed=SOURCE_TO_STAGE,
    )
    return manifest


def _write_snapshot(run: WindowRun, details: dict[str, Any]) -> Manifest:
    """Begin again from zero, with a new snapshot and new files, where the source lost its own."""
    for lost in range(1, SNAPSHOTS_PER_RUN):
        try:
            return _write_one_snapshot(run)
        except SnapshotLostError as error:
            details["snapshots_lost"] = lost
            run.log.warning("%s %s: %s", run.pipeline.name, run.window.key, error)
            run.still_ours()
            run.pipeline.stage.delete(AttemptPath(run.slice, run.claim.epoch))
    return _write_one_snapshot(run)


def _write_one_snapshot(run: WindowRun) -> Manifest:
    pipeline = run.pipeline
    with pipeline.source.read(run.slice) as snapshot:
        guard_against_shrinking(run, snapshot.count, pipeline.target.commit_row(run.slice))
        misfits = [
            check for check in pipeline.target.check_columns(snapshot.schema)
            if not check.passed
        ]  # fmt: skip
        if misfits:
            raise PermanentError(
                "The source's columns do not fit the target: "
                + "; ".join(f"{check.name}: {check.detail}" for check in misfits),
                hint=" ".join(dict.fromkeys(check.hint for check in misfits if check.hint)),
            )
        return pipeline.stage.write(
            AttemptPath(run.slice, run.claim.epoch),
            snapshot,
            pipeline_id=run.row.pipeline_id,
            query_field=pipeline.config.staged_query_field().name,
            config_hashes=pipeline.hashes,
            still_ours=run.still_ours,
        )


def count_stage(run: WindowRun, manifest: Manifest, *, fresh: bool) -> None:
    """Count the staged files themselves and judge the hop from the snapshot.

    Files that an earlier run wrote are checked by size and sha256 first.
    """
    verdict: HopVerdict
    with phase(run, "stage_count") as details:
        if not fresh:
            run.pipeline.stage.verify(manifest)
        rows = run.pipeline.stage.count(manifest)
        details["value"] = rows
        if rows != manifest.rows:
            raise VerificationError(
                f"The staged files hold {rows} rows, their manifest says {manifest.rows}.",
                hint="They were changed after they were written; the window is extracted again.",
                facts={"observed": rows, "expected": manifest.rows},
            )
        verdict = source_to_stage(run, manifest.snapshot_count, rows)
        if not verdict.passed:
            rejected = ", ".join(
                f"{reason} ({number})" for reason, number in manifest.rejected_reasons.items()
            )
            raise ToleranceError(
                f"{verdict.reason}; rejected and kept aside: {rejected}."
                if rejected
                else f"{verdict.reason}.",
                hint=_where_rejected(run, manifest)
                + "Raise phases.audit.count_tolerances.source_to_stage_tolerance_percent if this "
                "loss is rightful.",
                facts={**verdict.facts(), "rejected_reasons": manifest.rejected_reasons},
            )
    run.metadata.update(
        rows=rows, bytes=manifest.bytes, loss_percent=float(verdict.loss_percent),
        columns={field.name: str(field.type) for field in manifest.schema},
    )  # fmt: skip
    run.checks.append(CheckOutcome("stage_count", True, verdict.reason, verdict.facts()))


def _where_rejected(run: WindowRun, manifest: Manifest) -> str:
    if manifest.rejected_file is None:
        return ""
    folder = f"{run.pipeline.stage.name.rstrip('/')}/{manifest.attempt.relative}"
    folder = folder.removeprefix(f"{run.pipeline.base_dir}/")
    return f"The rejected rows are in {folder}/{manifest.rejected_file.path}. "


def require_manifest(run: WindowRun) -> Manifest:
    """The whole manifest that pre-validation decided on, which the phases after staging need.

    Another one, left by a run before, was found not good enough. VerificationError where it is
    not the one that this run has staged, or gone on from, any more.
    """
    decision = run.row.phases["pre_validation"].phase_specific_details
    wanted = run.claim.epoch
    if decision["action"] == "continue":
        wanted = decision["manifest_epoch"]
    manifest = newest_manifest(run)
    staged = run.row.phases["source_to_stage_transfer"].phase_specific_details.get("manifest_hash")
    if staged is not None and staged != (manifest and manifest.hash):
        raise VerificationError(
            f"The manifest of run {wanted} was changed, damaged or removed after it was staged.",
            hint="The next attempt stages the window again.",
        )
    if manifest is None or manifest.epoch != wanted:
        raise PermanentError(
            f"The window {run.window.key} is not staged ({decision['reason']}).",
            hint=f"Materialize {run.pipeline.name}/stage for this partition first.",
        )
    return manifest


def _numbers(manifest: Manifest) -> dict[str, Any]:
    return {
        "source_count": manifest.snapshot_count,
        "stage_count": manifest.rows,
        "records_failed": manifest.rejected,
        "rejected_reasons": manifest.rejected_reasons,
        "files": len(manifest.files),
        "bytes": manifest.bytes,
        "manifest_epoch": manifest.epoch,
        "manifest_hash": manifest.hash,
        "snapshot": manifest.snapshot_kind,
    }

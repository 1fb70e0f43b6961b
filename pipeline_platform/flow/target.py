"""Asset `target`: stage_to_target_transfer, target_count."""

from pipeline_platform.errors import VerificationError
from pipeline_platform.flow.hops import stage_to_target
from pipeline_platform.flow.phase import pass_through, phase, skip_phase
from pipeline_platform.flow.plan import committed_load, fence_out
from pipeline_platform.flow.run import CheckOutcome, WindowRun
from pipeline_platform.flow.stage import require_manifest
from pipeline_platform.movement import LoadRequest, Manifest
from pipeline_platform.record import COMPLETED, STAGE_TO_TARGET


def target_step(run: WindowRun) -> None:
    """Load the staged rows, unless the target holds exactly them already."""
    if run.passes_through:
        found = run.row.phases["pre_validation"].phase_specific_details
        verdict = stage_to_target(run, found["stage_rows"], found["target_rows"])
        pass_through(run, "target_count", ("stage_to_target_transfer", "target_count"), verdict)
        return
    manifest = require_manifest(run)
    loaded = committed_load(run, manifest)
    if loaded is None:
        transfer_stage_to_target(run, manifest)
    else:
        fence_out(run, loaded)
        reason = f"the target holds the rows of run {manifest.epoch}'s manifest already"
        skip_phase(run, "stage_to_target_transfer", reason)
        run.change_record(
            stage_to_target_ingestion_status=COMPLETED, phase_completed=STAGE_TO_TARGET
        )
    count_target(run, manifest)


def transfer_stage_to_target(run: WindowRun, manifest: Manifest) -> None:
    """Replace the window's rows in one fenced, verified transaction.

    The files are checked by size and sha256 right before it: sums alone do not notice values that
    changed places between rows.
    """
    pipeline = run.pipeline
    with phase(run, "stage_to_target_transfer") as details:
        run.change_record(stage_to_target_ingestion_start_time=run.clock.now())
        pipeline.stage.verify(manifest)
        pipeline.target.prepare(manifest.schema)
        run.still_ours()
        result = pipeline.target.load(
            LoadRequest(
                manifest=manifest,
                epoch=run.claim.epoch,
                files=pipeline.stage.locations(manifest),
                tolerance_percent=(
                    pipeline.config.phases.audit.count_tolerances.stage_to_target_tolerance_percent
                ),
                adopt=pipeline.config.target_system.adopt,
                restate=run.request.restate,
                max_shrink_percent=(
                    None if run.forced else pipeline.config.query_window.max_shrink_percent
                ),
                still_ours=run.still_ours,
                config_hashes=pipeline.hashes,
                open=pipeline.stage.open,
            )
        )
        rows = result.counts.by_window_column
        details.update(
            stage_count=manifest.rows,
            target_count=rows,
            records_failed=manifest.rows - rows,
            transformations_applied="none",
            manifest_epoch=manifest.epoch,
            **result.details,
        )
        run.metadata.update(
            rows=rows,
            bytes=manifest.bytes,
            seconds=round(result.seconds, 3),
            rows_per_second=round(rows / result.seconds) if result.seconds else rows,
        )
    run.change_record(
        stage_to_target_ingestion_end_time=run.clock.now(),
        stage_to_target_ingestion_status=COMPLETED,
        phase_completed=STAGE_TO_TARGET,
    )


def count_target(run: WindowRun, manifest: Manifest) -> None:
    """Count the window in the target, outside the load, and judge the hop from the stage."""
    with phase(run, "target_count") as details:
        counts = run.pipeline.target.count(run.slice)
        details["value"] = counts.by_window_column
        verdict = stage_to_target(run, manifest.rows, counts.by_window_column)
        if not verdict.passed or counts.by_window_column != counts.by_query_field:
            raise VerificationError(
                f"{verdict.reason}; by the query field {counts.by_query_field}.",
                hint="Something else changed the target between commit and count; "
                "the next attempt loads the window again.",
                facts=verdict.facts(),
            )
    run.metadata.update(
        rows=counts.by_window_column, loss_percent=float(verdict.loss_percent),
        columns={field.name: str(field.type) for field in manifest.schema},
    )  # fmt: skip
    run.checks.append(CheckOutcome("target_count", True, verdict.reason, verdict.facts()))

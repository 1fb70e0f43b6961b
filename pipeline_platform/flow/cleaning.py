"""Asset `cleaning`: remove superseded attempts and old staged windows that have a good audit."""

from datetime import datetime, timedelta
from functools import partial

from pipeline_platform.execution import Phase
from pipeline_platform.flow.audit import PASS
from pipeline_platform.flow.leftovers import begun_of, superseded_attempts
from pipeline_platform.flow.phase import PhaseFailedError, phase, skip_phase
from pipeline_platform.flow.run import WindowRun
from pipeline_platform.movement import Manifest, WindowSlice

MAX_WINDOWS_PER_RUN = 100


def cleaning_step(run: WindowRun) -> None:
    """Clean the stage; a failure is logged and leaves the run's verdict unless `fail_run`."""
    settings = run.pipeline.config.phases.stage_cleaning
    if run.passes_through and not _was_left_uncleaned(run):
        reason = run.row.phases["pre_validation"].phase_specific_details["reason"]
        skip_phase(run, "stage_cleaning", reason)
    elif not settings.enabled:
        skip_phase(run, "stage_cleaning", "disabled by the config")
    else:
        try:
            clean_stage_location(run)
        except PhaseFailedError as failed:
            if settings.fail_run or failed.interrupted is not None:
                raise
            run.log.warning("stage cleaning failed, the window is good: %s", failed.error)
            run.metadata["stage_cleaning_error"] = str(failed.error)
    skip_phase(run, "target_cleaning", "disabled by the config")
    run.end()


def _was_left_uncleaned(run: WindowRun) -> bool:
    """Whether the run that moved the window failed in its cleaning."""
    moved = next((row for row in run.runs if row.pipeline_status in ("SUCCESS", "FAILED")), None)
    return moved is not None and moved.phases["stage_cleaning"].status == "FAILED"


def clean_stage_location(run: WindowRun) -> None:
    """Superseded attempts of this window after the grace, other windows by age.

    Age counts from the manifest's creation. A staged window goes only when the commit row says that
    exactly its manifest is loaded and its audit passed; running twice finds nothing more to do.
    """
    name: Phase = "stage_cleaning"
    settings = run.pipeline.config.phases.stage_cleaning
    with phase(run, name) as details:
        now = run.clock.now()
        begun = partial(begun_of, run, run.slice)
        grace = timedelta(hours=settings.superseded_grace_hours)
        superseded = superseded_attempts(run.pipeline, run.slice, begun, now - grace)
        run.still_ours()
        removed = sum(run.pipeline.stage.delete(attempt) for attempt in superseded)
        old = _audited_before(run, now - timedelta(days=settings.delete_after_days))
        archived = 0
        where: list[str] = []
        for manifest in old:
            run.still_ours()
            if settings.archive_before_delete:
                assert settings.archive_location is not None
                where.append(
                    run.pipeline.stage.archive(manifest.attempt, settings.archive_location)
                )
                archived += manifest.rows
            else:
                removed += run.pipeline.stage.delete(manifest.attempt)
        details.update(
            records_archived=archived,
            records_deleted=sum(manifest.rows for manifest in old),
            files_deleted=removed,
            attempts_superseded=len(superseded),
            archive_location=where[0] if where else None,
            vacuumed=False,
        )


def _audited_before(run: WindowRun, before: datetime) -> list[Manifest]:
    chosen: list[Manifest] = []
    for manifest in run.pipeline.stage.manifests(run.pipeline.name):
        if manifest.created_at >= before or manifest.window_start == run.window.start:
            continue
        window = WindowSlice(manifest.pipeline_name, manifest.window_start, manifest.window_end)
        commit = run.pipeline.target.commit_row(window)
        if commit is None:
            continue
        loaded = commit.manifest_hash == manifest.hash and commit.audit_result == PASS
        if loaded or commit.gives_up(manifest.epoch):
            chosen.append(manifest)
        if len(chosen) == MAX_WINDOWS_PER_RUN:
            break
    return chosen

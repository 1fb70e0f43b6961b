"""Phase stale_pipeline_handling: close the runs that died, remove what they left behind."""

from dataclasses import replace
from datetime import datetime, timedelta

from pipeline_platform.drive_table.store import MOST_RUNS
from pipeline_platform.errors import TransientError
from pipeline_platform.execution import PHASES, ExecutionRow
from pipeline_platform.flow.leftovers import remove_leftovers
from pipeline_platform.flow.phase import phase, skip_phase
from pipeline_platform.flow.run import WindowRun
from pipeline_platform.moment import human_duration

DIED = "The run died: its lease expired or another run took the window over."


def handle_stale_runs(run: WindowRun) -> None:
    """Close the rows of runs that died: RUNNING although their claim is gone or expired.

    Runs that are alive for longer than `timeout_minutes` are reported, not touched. Then what
    earlier runs left behind is removed (`remove_leftovers`).
    """
    settings = run.pipeline.config.phases.stale_pipeline_handling
    if not settings.enabled:
        skip_phase(run, "stale_pipeline_handling", "disabled by the config")
        return
    with phase(run, "stale_pipeline_handling") as details:
        dead = run.store.dead_runs(run.pipeline.name)
        now = run.clock.now()
        closed = [row for row in dead if run.store.close_run(closed_as_dead(row, now))]
        limit = now - timedelta(minutes=settings.timeout_minutes)
        stuck = [
            row.pipeline_id
            for row in run.store.latest_runs(run.pipeline.name, MOST_RUNS)
            if row.pipeline_status == "RUNNING" and row.pipeline_start_timestamp < limit
        ]
        if stuck:
            run.log.warning("still running after %s minutes: %s", settings.timeout_minutes, stuck)
        details.update(
            stale_records_found=len(dead),
            records_resolved=len(closed),
            timeout_minutes=settings.timeout_minutes,
            runs=[row.pipeline_id for row in closed],
            stuck_runs=stuck,
            **remove_leftovers(run, now),
        )


def closed_as_dead(row: ExecutionRow, now: datetime) -> ExecutionRow:
    """The final revision of a run whose process died without saying so; `now` is UTC."""
    running = [name for name in PHASES if row.phases[name].status == "PENDING"]
    stopped = next((name for name in running if row.phases[name].start_timestamp), running[0])
    phases = dict(row.phases)
    phases[stopped] = replace(
        phases[stopped], status="FAILED", error_message=DIED, end_timestamp=None
    )
    return replace(
        row,
        pipeline_status="FAILED",
        phases=phases,
        pipeline_end_timestamp=now,
        pipeline_run_duration=human_duration((now - row.pipeline_start_timestamp).total_seconds()),
        error_category=TransientError.category,
    )

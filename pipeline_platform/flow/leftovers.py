"""What earlier runs left behind: attempt paths that a newer one replaced, tables of their loads."""

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pipeline_platform.flow.phase import as_pipeline_error
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.run import WindowRun
from pipeline_platform.movement import AttemptPath, WindowSlice
from pipeline_platform.record import RecordKey

# How long after its grace a run's leftovers are looked for, and in how many other windows per run.
LOOK_BACK = timedelta(days=7)
MOST_OTHER_WINDOWS = 50

Begun = Mapping[int, datetime]


def remove_leftovers(run: WindowRun, now: datetime) -> dict[str, Any]:
    """Remove superseded attempt paths and load tables; returns counts for the phase's details.

    Of this window and of others of the pipeline, once their run began `superseded_grace_hours`
    ago. Safe beside a worker that only seems dead: its manifest is never the newest, its load is
    refused by the fence. A failure is one of the details and does not fail the run.
    """
    settings = run.pipeline.config.phases.stage_cleaning
    before = now - timedelta(hours=settings.superseded_grace_hours)
    counts: dict[str, Any] = dict.fromkeys(
        ("stale_attempts_removed", "files_removed", "load_tables_removed"), 0
    )
    try:
        reworked = run.store.query(
            "reworked_windows",
            pipeline_name=run.pipeline.name,
            from_time=before - LOOK_BACK,
            to_time=before,
        )
        _remove_attempts(run, reworked, before, counts)
        run.still_ours()
        ended = _ended_loads(run, reworked, before)
        counts["load_tables_removed"] = run.pipeline.target.drop_load_tables(ended)
    except Exception as caught:  # a lost claim or a timeout is raised again when the phase ends
        counts["clean_up_error"] = str(as_pipeline_error(caught))
        run.log.warning("clean-up before the run failed: %s", counts["clean_up_error"])
    return counts


def superseded_attempts(
    pipeline: Pipeline, window: WindowSlice, begun: Callable[[], Begun], before: datetime
) -> list[AttemptPath]:
    """Attempts that a newer one replaced, of runs that began before `before` or at unknown times.

    Kept are the newest attempt, whole or not, as it says how far the window's epochs have come;
    the newest whole one; and the one whose rows are committed.
    """
    epochs = pipeline.stage.attempts(window)
    if len(epochs) < 2:
        return []
    started = begun()
    old = [n for n in epochs[:-1] if n not in started or started[n] < before]
    if not old:
        return []
    opened = {n: pipeline.stage.open_manifest(AttemptPath(window, n)) for n in epochs}
    whole = {n: manifest for n, manifest in opened.items() if manifest is not None}
    commit = pipeline.target.commit_row(window)
    committed = {
        n for n, manifest in whole.items() if commit and manifest.hash == commit.manifest_hash
    }
    kept = committed | set(list(whole)[-1:])
    return [AttemptPath(window, n) for n in old if n not in kept]


def _remove_attempts(
    run: WindowRun, reworked: list[dict[str, Any]], before: datetime, counts: dict[str, Any]
) -> None:
    others = {_window_of(run, row) for row in reworked} - {run.slice}
    chosen = random.sample(sorted(others, key=str), min(len(others), MOST_OTHER_WINDOWS))
    for window in (run.slice, *chosen):
        run.still_ours()
        begun = partial(begun_of, run, window)
        for attempt in superseded_attempts(run.pipeline, window, begun, before):
            run.still_ours()
            counts["files_removed"] += run.pipeline.stage.delete(attempt)
            counts["stale_attempts_removed"] += 1


def begun_of(run: WindowRun, window: WindowSlice) -> Begun:
    """When the runs of a window began (UTC), by epoch; of the run's own window without a look."""
    runs = run.runs
    if window != run.slice:
        runs = run.store.look_up(RecordKey(window.pipeline_name, window.start, window.end)).runs
    return {row.epoch: row.pipeline_start_timestamp for row in runs}


def _ended_loads(
    run: WindowRun, reworked: list[dict[str, Any]], before: datetime
) -> list[AttemptPath]:
    """Attempts whose loads ended without a word; those that succeeded dropped their table."""
    own = [
        AttemptPath(run.slice, row.epoch)
        for row in run.runs
        if row.epoch < run.claim.epoch
        and row.pipeline_status in ("FAILED", "RUNNING")
        and row.pipeline_start_timestamp < before
    ]
    others = [
        AttemptPath(_window_of(run, row), row["epoch"])
        for row in reworked
        if row["pipeline_status"] == "FAILED"
    ]
    return list(dict.fromkeys((*own, *others)))


def _window_of(run: WindowRun, row: Mapping[str, Any]) -> WindowSlice:
    return WindowSlice(
        run.pipeline.name,
        row["query_window_start_timestamp"],
        row["query_window_end_timestamp"],
    )

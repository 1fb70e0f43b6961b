"""What pre-validation decides: skip the window, continue an attempt, or start over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import stamina

from pipeline_platform.errors import DataError, TransientError
from pipeline_platform.flow.run import WindowRun
from pipeline_platform.movement import AttemptPath, CommitRow, Manifest

T = TypeVar("T")
Action = Literal["skip", "continue", "start_over"]

# What of the config a staged attempt depends on; the target may change without reading again.
STAGED_SECTIONS = ("source", "stage", "query_window")
COUNT_ATTEMPTS = 3
COUNT_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """The decision and its reason. `manifest` is what a `continue` goes on from."""

    action: Action
    reason: str
    source_count: int
    commit: CommitRow | None = None
    manifest: Manifest | None = None


def decide(run: WindowRun) -> Plan:
    """Skip, continue or start over; count queries only, no row is read (seeds 001, 003).

    Skip: the commit row has a passed audit and equal config hashes, and source and target hold as
    many rows as it says, both more than none. Continue: the newest attempt has a whole manifest of
    this config and the source still holds what was staged. Else start over.
    """
    commit = tried(lambda: run.pipeline.target.commit_row(run.slice))
    _require_newest_epoch(run, commit)
    manifest = newest_manifest(run)
    source_count = get_source_count(run)
    if run.forced:
        return Plan("start_over", "forced", source_count, commit)
    source_change = _change_since(run, commit, source_count)
    if commit is not None and source_change is None:
        obstacle = _obstacle_to_skip(run, commit)
        if obstacle is None:
            reason = (
                f"already right: {commit.target_rows} rows committed, audit passed, source and "
                "target unchanged"
            )
            return Plan("skip", reason, source_count, commit)
    staged_change = _change_since_staged(run, commit, manifest, source_count)
    if manifest is not None and staged_change is None:
        reason = f"run {manifest.epoch} staged all {manifest.rows} rows and the source is unchanged"
        return Plan("continue", reason, source_count, commit, manifest)
    if commit is None and manifest is None:
        return Plan("start_over", "nothing staged or committed yet", source_count)
    if commit is not None and commit.manifest_hash is not None:
        reason = source_change or _obstacle_to_skip(run, commit) or "not right yet"
    else:
        reason = staged_change or "nothing usable is staged"
    return Plan("start_over", reason, source_count, commit)


def committed_load(run: WindowRun, manifest: Manifest) -> CommitRow | None:
    """The commit row if the target holds exactly this manifest's rows, else None: load them."""
    commit = run.pipeline.target.commit_row(run.slice)
    if commit is None or commit.manifest_hash != manifest.hash:
        return None
    if commit.config_hashes != run.pipeline.hashes:
        return None
    counts = tried(lambda: run.pipeline.target.count(run.slice))
    same = counts.by_window_column == counts.by_query_field == commit.target_rows
    return commit if same else None


def fence_out(run: WindowRun, commit: CommitRow) -> None:
    """Move the commit row to this run's epoch where the run itself loads nothing.

    Afterwards no late writer of an older epoch can change the window. TransientError if one did
    since `commit` was read.
    """
    now = run.pipeline.target.resolve(run.slice, run.claim.epoch)
    if (now.manifest_hash, now.audit_result) != (commit.manifest_hash, commit.audit_result):
        raise TransientError(
            f"Another run committed the window {run.window.key} meanwhile.",
            hint="The next attempt looks at it again.",
        )


def late_writers_are_possible(run: WindowRun, commit: CommitRow) -> bool:
    """Whether an epoch between the commit row's and this run's is not known to have ended well.

    Its worker may only be paused. Without one, a skipped window's commit row stays untouched.
    """
    ended = {row.epoch for row in run.runs if row.pipeline_status in ("SKIPPED", "SUCCESS")}
    return any(epoch not in ended for epoch in range(commit.epoch + 1, run.claim.epoch))


def newest_manifest(run: WindowRun) -> Manifest | None:
    """The whole manifest of the newest attempt path; None if that attempt is not whole.

    An older attempt never counts: a newer one was begun because the older was not good enough.
    """
    attempts = run.pipeline.stage.attempts(run.slice)
    if not attempts:
        return None
    manifest = run.pipeline.stage.open_manifest(AttemptPath(run.slice, attempts[-1]))
    if manifest is None or manifest.window_end != run.window.end:
        return None
    return manifest


def get_source_count(run: WindowRun) -> int:
    """Rows of the window at the source now: three tries, five seconds apart and more."""
    return tried(lambda: run.pipeline.source.count(run.slice))


def tried(ask: Callable[[], T]) -> T:
    """The answer to a count query; a transient error is waited out twice, others fail at once."""
    for attempt in stamina.retry_context(
        on=TransientError,
        attempts=COUNT_ATTEMPTS,
        wait_initial=COUNT_WAIT_SECONDS,
        wait_max=4 * COUNT_WAIT_SECONDS,
        timeout=None,
    ):
        with attempt:
            return ask()
    raise AssertionError("retry_context either returns or raises")


def _require_newest_epoch(run: WindowRun, commit: CommitRow | None) -> None:
    """The claim looked at commit row and stage as far as it could reach them; here both answer."""
    seen = max([commit.epoch if commit else 0, *run.pipeline.stage.attempts(run.slice)])
    if seen >= run.claim.epoch:
        raise TransientError(
            f"The window {run.window.key} has seen epoch {seen}, this run has {run.claim.epoch}: "
            "target or stage could not be reached when it was claimed.",
            hint="The next attempt claims a higher one.",
        )


def _obstacle_to_skip(run: WindowRun, commit: CommitRow) -> str | None:
    if commit.manifest_hash is None:
        return "nothing committed yet"
    if commit.audit_result != "PASS":
        return f"the audit of run {commit.epoch} did not pass"
    changed = [name for name, value in run.pipeline.hashes.items()
               if commit.config_hashes.get(name) != value]  # fmt: skip
    if changed:
        return f"the config changed: {', '.join(changed)}"
    if not commit.source_rows or not commit.target_rows:
        return "an empty window is never taken as done"
    counts = tried(lambda: run.pipeline.target.count(run.slice))
    if not (counts.by_window_column == counts.by_query_field == commit.target_rows):
        return f"the target holds {counts.by_window_column} rows, committed {commit.target_rows}"
    return None


def _change_since(run: WindowRun, commit: CommitRow | None, source_count: int) -> str | None:
    if commit is None or commit.source_rows is None:
        return None
    if source_count != commit.source_rows:
        return f"the source holds {source_count} rows, committed were {commit.source_rows}"
    return _change_value_differs(run, commit.change_value)


def _change_since_staged(
    run: WindowRun, commit: CommitRow | None, manifest: Manifest | None, source_count: int
) -> str | None:
    if manifest is None:
        return "the newest attempt has no whole manifest"
    if _is_not_as_written(run, manifest):
        return f"the manifest is not the one that run {manifest.epoch} wrote"
    if commit is not None and commit.gives_up(manifest.epoch):
        return "its rows were restated since they were staged"
    if _failed_on_its_rows(run):
        return "the run before failed on the staged rows"
    changed = [name for name in STAGED_SECTIONS
               if manifest.config_hashes.get(name) != run.pipeline.hashes[name]]  # fmt: skip
    if changed:
        return f"the config changed: {', '.join(changed)}"
    if source_count != manifest.snapshot_count:
        return f"the source holds {source_count} rows, staged were {manifest.snapshot_count}"
    return _change_value_differs(run, manifest.change_value)


def _is_not_as_written(run: WindowRun, manifest: Manifest) -> bool:
    """Its own hash can be forged with it; the drive table's copy tells, where the run that wrote
    it lived to hand it over."""
    writer = next((row for row in run.runs if row.epoch == manifest.epoch), None)
    if writer is None:
        return False
    details = writer.phases["source_to_stage_transfer"].phase_specific_details
    return bool(details.get("manifest_hash", manifest.hash) != manifest.hash)


def _failed_on_its_rows(run: WindowRun) -> bool:
    """Rows that were refused may have been corrected at the source without changing any count."""
    before = next((row for row in run.runs if row.epoch < run.claim.epoch), None)
    return (
        before is not None
        and before.error_category == DataError.category
        and before.phase_failed in ("stage_count", "stage_to_target_transfer")
    )


def _change_value_differs(run: WindowRun, before: str | None) -> str | None:
    field = run.pipeline.config.source_system.change_field
    if field is None:
        return None
    now = tried(lambda: run.pipeline.source.change_value(run.slice))
    return None if now == before else f"{field} at the source is {now}, was {before}"

"""Late data: audited windows counted again and compared with what was committed.

Count queries only. Nothing here moves data; a window that is to be loaded again is run like any
other, and its pre-validation looks at the counts once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.execution import pipeline_id
from pipeline_platform.flow.audit import PASS
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.movement import CommitRow, TargetCounts
from pipeline_platform.window import Window

Kind = Literal["late", "deleted", "doubled", "lost"]
MEANINGS: dict[Kind, str] = {
    "late": "the source has more rows than were committed",
    "deleted": "the source has fewer rows than were committed",
    "doubled": "the target has more rows of the window than were committed",
    "lost": "the target has fewer rows of the window than were committed",
}


@dataclass(frozen=True)
class Deviation:
    """One way in which a window is not as it was committed, in rows."""

    kind: Kind
    rows_then: int
    rows_now: int

    @property
    def difference(self) -> int:
        """Rows more (or, below zero, less) than then."""
        return self.rows_now - self.rows_then


@dataclass(frozen=True)
class AuditedWindow:
    """A window whose audit passed, as its record says; `epoch` is that of its last run."""

    window: Window
    epoch: int
    source_rows: int
    target_rows: int


@dataclass(frozen=True)
class Recount:
    """A window counted again. `reload` says whether to run it, `why` gives the reason.

    `run` is the run that committed the rows, or the last one where no commit row is left.
    """

    audited: AuditedWindow
    run: str
    source_rows: int
    target: TargetCounts
    deviations: tuple[Deviation, ...]
    reload: bool
    why: str

    @property
    def window(self) -> Window:
        """The window."""
        return self.audited.window

    @property
    def counts(self) -> str:
        """Epoch and counts; another text is another finding."""
        target = self.target
        return ":".join(
            str(number)
            for number in (
                self.audited.epoch,
                self.source_rows,
                target.by_window_column,
                target.by_query_field,
            )
        )


def audited_windows(pipeline: Pipeline, store: DriveStore, limit: int) -> list[AuditedWindow]:
    """The last audited windows that no run holds, newest first, at most `limit`.

    Without those of another config, whose counts say nothing about today's.
    """
    found = store.query("audited_windows", pipeline_name=pipeline.name, limit=limit)
    windows = (_audited(pipeline, row) for row in found)
    return [window for window in windows if window is not None]


def recount(pipeline: Pipeline, audited: AuditedWindow) -> Recount | None:
    """Count a window at source and target; None if there is nothing to compare with now.

    That is a window whose commit row is of another config or a failed audit, or changed while it
    was counted. Raises what the connectors raise: then nothing is known.
    """
    where = audited.window.slice(pipeline.name)
    commit = pipeline.target.commit_row(where)
    if commit is not None and not _comparable(pipeline, commit):
        return None
    source_rows = pipeline.source.count(where)
    target = pipeline.target.count(where)
    source_then, target_then = audited.source_rows, audited.target_rows
    if commit is not None:
        assert commit.source_rows is not None
        assert commit.target_rows is not None
        source_then, target_then = commit.source_rows, commit.target_rows
    deviations = classified(source_then, source_rows, target_then, target)
    if deviations and pipeline.target.commit_row(where) != commit:
        return None
    reload, why = _verdict(pipeline, deviations, target)
    epoch = commit.epoch if commit is not None else audited.epoch
    run = pipeline_id(pipeline.name, audited.window.start, epoch)
    return Recount(audited, run, source_rows, target, deviations, reload, why)


def recounts(pipeline: Pipeline, store: DriveStore, limit: int) -> Iterator[Recount]:
    """The last audited windows counted again, newest first, one by one."""
    for audited in audited_windows(pipeline, store, limit):
        found = recount(pipeline, audited)
        if found is not None:
            yield found


def classified(
    source_then: int, source_now: int, target_then: int, target: TargetCounts
) -> tuple[Deviation, ...]:
    """What the counts differ in: at most one deviation of each kind.

    The target counts a window in two ways; each may be more or less than what was committed.
    """
    most = max(target.by_window_column, target.by_query_field)
    least = min(target.by_window_column, target.by_query_field)
    found: list[Deviation] = []
    if source_now > source_then:
        found.append(Deviation("late", source_then, source_now))
    if source_now < source_then:
        found.append(Deviation("deleted", source_then, source_now))
    if most > target_then:
        found.append(Deviation("doubled", target_then, most))
    if least < target_then:
        found.append(Deviation("lost", target_then, least))
    return tuple(found)


def _verdict(
    pipeline: Pipeline, deviations: tuple[Deviation, ...], target: TargetCounts
) -> tuple[bool, str]:
    """Whether the window is loaded again, and why or why not."""
    kinds = {deviation.kind for deviation in deviations}
    wanted = pipeline.config.recheck.reload
    if not kinds:
        return False, "as committed"
    if "deleted" in kinds:
        return False, "fewer rows at the source are only shown; run the window to load them"
    if target.by_query_field > target.by_window_column:
        return False, "rows that the pipeline did not load lie in the window; a load refuses them"
    if wanted == "none" or (wanted == "late" and "late" not in kinds):
        return False, f"recheck.reload is {wanted}"
    return True, "loaded again"


def _comparable(pipeline: Pipeline, commit: CommitRow) -> bool:
    return (
        commit.audit_result == PASS
        and commit.source_rows is not None
        and commit.target_rows is not None
        and commit.config_hashes == pipeline.hashes
    )


def _audited(pipeline: Pipeline, row: dict[str, Any]) -> AuditedWindow | None:
    start: datetime = row["window_start_time"]
    window = pipeline.windows.window_at(start)
    if window is None or (window.start, window.end) != (start, row["window_end_time"]):
        return None
    if row["config_hash"] != pipeline.config.config_hash:
        return None
    return AuditedWindow(window, row["epoch"], row["source_count"], row["target_count"])

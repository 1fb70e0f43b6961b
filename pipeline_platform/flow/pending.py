"""Which window comes next: register what became ready, pass on the oldest valid pending one.

The task of seed 004 over the state of the drive table. Nothing here moves data.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError, TransientError
from pipeline_platform.execution import ExecutionRow, pipeline_id
from pipeline_platform.movement import AttemptPath
from pipeline_platform.record import (
    CLAIM_COLUMNS,
    RECORD_COLUMNS,
    PipelineRecord,
    RecordKey,
    check_fields,
)
from pipeline_platform.window import Window, WindowPlan, seconds_to_time_string

# Pending records one call looks at before it says that none of them can run.
MOST_LOOKED_AT = 10_000
# Time for Dagster's own retry of a failed run, before the window is passed on anew.
RETRY_GRACE = timedelta(minutes=10)


@dataclass(frozen=True)
class RecordPlan:
    """What a pipeline's records are made of.

    x_time_back_seconds: how far behind now a window's end must lie before it is ready. max_retries:
    a window that failed more often is not passed on. catchup: whether windows from before the first
    look are registered. default_record: values for the record's columns, in any case; names and
    statuses may be set, what follows from the window may not be changed.
    """

    pipeline_name: str
    plan: WindowPlan
    x_time_back_seconds: int
    source_name: str
    target_name: str
    stage_root: str
    config_hash: str
    max_retries: int
    catchup: bool = True
    default_record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Coverage:
    """How far registering has come: each window that ends in `(since, until]` has a record.

    A sensor keeps it as its cursor, `str(coverage)` and `Coverage.parse`. Without it registering
    begins anew, which costs time and changes nothing.
    """

    since: datetime
    until: datetime

    def __str__(self) -> str:
        return f"{self.since.isoformat()}/{self.until.isoformat()}"

    @classmethod
    def parse(cls, text: str | None) -> "Coverage | None":
        """The coverage that `str` wrote; None for anything else."""
        try:
            since, until = (datetime.fromisoformat(part) for part in (text or "").split("/"))
        except ValueError:
            return None
        return cls(since, until) if since.tzinfo and until.tzinfo else None


@dataclass(frozen=True)
class RecordVerdict:
    """Whether a pending record may run now, and why not."""

    valid: bool
    reason: str


@dataclass(frozen=True)
class PassedRecords:
    """What one look at the pending windows gave.

    records: valid ones, oldest first, up to the limit; `record` is the first. refused: the pending
    ones before them that may not run, with the reason. registered: rows new in this call.
    """

    records: tuple[PipelineRecord, ...]
    reason: str
    registered: int
    refused: Mapping[RecordKey, str]
    coverage: Coverage

    @property
    def record(self) -> PipelineRecord | None:
        """The oldest valid pending record; None: there is nothing to do (`reason`)."""
        return self.records[0] if self.records else None


def build_complete_pipeline_record(
    plan: RecordPlan, window: Window, *, epoch: int = 1
) -> PipelineRecord:
    """The PENDING record of a window as the run with this epoch will find it.

    Raises ConfigurationError if default_record names a column that is none, or the claim's.
    """
    defaults = {name.lower(): value for name, value in plan.default_record.items()}
    wrong = sorted(set(defaults) - set(RECORD_COLUMNS) | set(defaults) & set(CLAIM_COLUMNS))
    if wrong:
        raise ConfigurationError(
            f"default_record may not set {', '.join(wrong)}.",
            hint="Use columns of pipeline_records other than those of a claim.",
        )
    values: dict[str, Any] = {
        "source_name": plan.source_name,
        "target_name": plan.target_name,
        **defaults,
        "pipeline_name": plan.pipeline_name,
        "window_start_time": window.start,
        "window_end_time": window.end,
        "target_day": window.target_day,
        "time_interval": window.interval,
        "pipeline_id": pipeline_id(plan.pipeline_name, window.start, epoch),
        "stage_path": stage_path(plan, window, epoch),
        "config_hash": plan.config_hash,
    }
    return PipelineRecord(**values)


def stage_path(plan: RecordPlan, window: Window, epoch: int) -> str:
    """Where the run with this epoch stages the window."""
    attempt = AttemptPath(window.slice(plan.pipeline_name), epoch)
    return f"{plan.stage_root.rstrip('/')}/{attempt.relative}"


def latest_timestamp_available(store: DriveStore, pipeline_name: str) -> datetime | None:
    """End (UTC) of the newest registered window; None if no window is registered."""
    latest = store.latest_record(pipeline_name)
    return None if latest is None else latest.window_end_time


def validate_record_timing(
    record: PipelineRecord, now: datetime, x_time_back_seconds: int
) -> RecordVerdict:
    """Complete (`check_fields`) and stable (end <= now - x_time_back), or why not (seed 004)."""
    missing = check_fields(record)
    if missing:
        return RecordVerdict(False, f"incomplete: {', '.join(missing)} missing")
    ready_at = record.window_end_time + timedelta(seconds=x_time_back_seconds)
    if now < ready_at:
        back = seconds_to_time_string(x_time_back_seconds)
        return RecordVerdict(
            False, f"not stable: ready at {ready_at.isoformat()}, {back} after its end"
        )
    return RecordVerdict(True, "complete and stable")


def begin_coverage(plan: RecordPlan, first_look: datetime) -> Coverage:
    """Where registering begins: at the plan's start, or without catchup at the window that holds
    the first look."""
    windows = plan.plan
    if plan.catchup:
        return Coverage(windows.start, windows.start)
    window = windows.window_at(first_look)
    begin = window.start if window else max(first_look, windows.start)
    return Coverage(begin, begin)


def new_windows(plan: RecordPlan, now: datetime, coverage: Coverage) -> Iterator[Window]:
    """Ready windows that the coverage does not reach, oldest first; asks no database.

    After a change of the duration the first may overlap the last window of the old one, so that
    nothing between them is left out. Where the config wants more of the past than the coverage
    began with (an earlier start_date, catchup turned on), it begins again.
    """
    coverage = _still_right(plan, now, coverage)
    ready = now - timedelta(seconds=plan.x_time_back_seconds)
    for window in plan.plan.windows(coverage.until, ready):
        if window.end > ready:
            return
        yield window


def store_new_and_pass_valid_record(
    plan: RecordPlan,
    store: DriveStore,
    now: datetime,
    *,
    coverage: Coverage | None = None,
    limit: int = 1,
    max_registered: int = 500,
) -> PassedRecords:
    """Register ready windows as PENDING, at most `max_registered`; pass on the oldest valid ones.

    `coverage` is the result's of the call before; without it `now` is the first look. Records made
    under another config are rebuilt on the way. Repeating a call changes nothing.
    """
    coverage = _still_right(plan, now, coverage)
    if coverage.until > coverage.since and store.latest_record(plan.pipeline_name) is None:
        # The drive table was lost or moved: what was registered is not any more.
        coverage = replace(coverage, until=coverage.since)
    fresh = list(islice(new_windows(plan, now, coverage), max_registered))
    registered = _register(plan, store, fresh)
    if fresh:
        coverage = replace(coverage, until=fresh[-1].end)
    look = _Look(plan, store, now)
    asked = max(1, limit)
    while True:
        found = store.pending(plan.pipeline_name, asked)
        records = tuple(islice(look.valid_of(found), limit))
        replacing = _register(plan, store, look.take_replacing())
        registered += replacing
        everything_seen = len(found) < asked or asked >= MOST_LOOKED_AT
        if len(records) == limit or (everything_seen and not replacing):
            break
        asked = min(asked * 4, MOST_LOOKED_AT)
    return PassedRecords(records, look.reason(records), registered, look.refused, coverage)


def _still_right(plan: RecordPlan, now: datetime, coverage: Coverage | None) -> Coverage:
    if coverage is None or (plan.catchup and coverage.since > plan.plan.start):
        return begin_coverage(plan, now)
    return coverage


def _register(plan: RecordPlan, store: DriveStore, windows: Iterable[Window]) -> int:
    records = [build_complete_pipeline_record(plan, window) for window in windows]
    return store.register(records) if records else 0


def _judge_failed(runs: Sequence[ExecutionRow], now: datetime) -> RecordVerdict:
    """Whether a window whose last run failed may be tried again by itself.

    Only after a transient failure, and only once the retry that Dagster starts has had its time.
    """
    last = next(iter(runs), None)
    if last is None or last.pipeline_status != "FAILED":
        return RecordVerdict(True, "the last run did not fail")
    if last.error_category != TransientError.category:
        return RecordVerdict(
            False, f"its last run failed with a {last.error_category} error; run it by hand"
        )
    if last.pipeline_end_timestamp and now < last.pipeline_end_timestamp + RETRY_GRACE:
        return RecordVerdict(False, "its retry is due")
    return RecordVerdict(True, "the last failure was transient")


def _came_too_early(runs: Sequence[ExecutionRow]) -> bool:
    """Whether the last run failed because the window was not ready; that costs no retry."""
    last = next(iter(runs), None)
    return last is not None and "ready_at" in last.phases["pre_validation"].phase_specific_details


@dataclass
class _Look:
    """One look at pending records: who may run, who not and why, which windows are missing."""

    plan: RecordPlan
    store: DriveStore
    now: datetime
    refused: dict[RecordKey, str] = field(default_factory=dict)
    replacing: list[Window] = field(default_factory=list)

    def valid_of(self, found: Iterable[PipelineRecord]) -> Iterator[PipelineRecord]:
        for record in found:
            if record.key not in self.refused:
                current, refusal = self._judge(record)
                if refusal is None:
                    yield current
                else:
                    self.refused[record.key] = refusal

    def take_replacing(self) -> list[Window]:
        taken, self.replacing = self.replacing, []
        return taken

    def reason(self, records: Sequence[PipelineRecord]) -> str:
        if records:
            return f"{records[0].pipeline_id} is the oldest of {len(records)} to run"
        if not self.refused:
            latest = latest_timestamp_available(self.store, self.plan.pipeline_name)
            reached = f"registered up to {latest.isoformat()}" if latest else "none was ready yet"
            return f"no window is pending, {reached}"
        key, why = next(iter(self.refused.items()))
        others = f" (and {len(self.refused) - 1} more)" if len(self.refused) > 1 else ""
        return f"the window from {key.window_start_time.isoformat()}{others} may not run: {why}"

    def _judge(self, record: PipelineRecord) -> tuple[PipelineRecord, str | None]:
        """The record under today's config, and why it may not run, if it may not."""
        windows, too_early = self.plan.plan, False
        start, end = record.window_start_time, record.window_end_time
        window = windows.window_at(start)
        if window is None or (window.start, window.end) != (start, end):
            ready = self.now - timedelta(seconds=self.plan.x_time_back_seconds)
            self.replacing += [w for w in windows.windows(start, end) if w.end <= ready]
            return record, "the config has no such window any more"
        if record.config_hash != self.plan.config_hash:
            record = self._rebuilt(record, window)
            if not self.store.rebuild(record):
                return record, "claimed or completed meanwhile"
        elif record.retry_attempt:
            runs = self.store.look_up(record.key).runs
            too_early = _came_too_early(runs)
            verdict = _judge_failed(runs, self.now)
            if not too_early and not verdict.valid:
                return record, verdict.reason
        verdict = validate_record_timing(record, self.now, self.plan.x_time_back_seconds)
        if not verdict.valid:
            return record, verdict.reason
        if record.retry_attempt > self.plan.max_retries and not too_early:
            return record, (
                f"out of retries: failed {record.retry_attempt} times, max_retries is "
                f"{self.plan.max_retries}; run it by hand when the cause is gone"
            )
        return record, None

    def _rebuilt(self, record: PipelineRecord, window: Window) -> PipelineRecord:
        fresh = build_complete_pipeline_record(self.plan, window, epoch=record.epoch + 1)
        kept = ("id", "epoch", "retry_attempt", "record_first_created_time")
        return replace(fresh, **{name: getattr(record, name) for name in kept})

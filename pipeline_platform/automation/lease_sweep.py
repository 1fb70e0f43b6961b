"""The sensor `lease_sweep`: closes what died, so that it is tried again by itself."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import dagster as dg

from pipeline_platform.automation.impatience import impatient_store
from pipeline_platform.config.sections import MAX_WAIT_SECONDS
from pipeline_platform.drive_table.io_manager import (
    DRIVE_TABLE,
    HELD_WAIT_SECONDS,
    DriveTableIOManager,
)
from pipeline_platform.drive_table.store import LEASE_SECONDS, DriveStore, WindowState
from pipeline_platform.errors import TransientError
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.assets import PIPELINE_TAG, RETRY_NUMBER_TAG
from pipeline_platform.flow.stale import DIED, closed_as_dead
from pipeline_platform.record import RecordKey

LEASE_SWEEP = "lease_sweep"
TICK_SECONDS = 30
LEASE = timedelta(seconds=LEASE_SECONDS)
# Clocks of machines that write to Dagster's storage may differ by so much.
OVERLAP = timedelta(minutes=1)
MOST_RUNS_PER_TICK = 50
ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class Cursor:
    """What a tick leaves to the next: when it was, and when to look at which run again.

    A run with None needs no other look.
    """

    ticked_at: datetime
    look_at: Mapping[str, datetime | None] = field(default_factory=dict)

    def __str__(self) -> str:
        times = {run_id: at and at.isoformat() for run_id, at in self.look_at.items()}
        return json.dumps({"ticked_at": self.ticked_at.isoformat(), "look_at": times})

    @classmethod
    def parse(cls, text: str | None) -> "Cursor | None":
        """The cursor that `str` wrote; None for anything else."""
        try:
            values = json.loads(text or "")
            times = {
                run_id: datetime.fromisoformat(at) if at else None
                for run_id, at in values["look_at"].items()
            }
            return cls(datetime.fromisoformat(values["ticked_at"]), times)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def lease_sweep_sensor(pipelines: Callable[[], Collection[str]]) -> dg.SensorDefinition:
    """Looks every 30 s; `pipelines` gives the names of this code location's pipelines.

    A drive row that says RUNNING although its lease expired gets a final FAILED revision. A
    Dagster run whose process is gone is reported as failed, which Dagster does not notice when a
    host or a code server died: its slots become free and its retry starts. A process that lives
    after all has lost its claim by then and ends with ClaimLostError.

    The warehouse is opened only when Dagster's own storage gives a reason: a run that was not
    heard of for the time of a lease, or one that failed or was cancelled since the last tick. A
    run that turns out to be alive is looked at again when its lease ends, not before. Two sweeps
    at once do no harm: the store closes a row once.
    """

    @dg.sensor(
        name=LEASE_SWEEP,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={DRIVE_TABLE},
        description="Closes runs whose process died, so that their windows are tried again.",
    )
    def lease_sweep(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        drive_table: DriveTableIOManager = getattr(context.resources, DRIVE_TABLE)
        now = datetime.now(timezone.utc)
        store = impatient_store(drive_table)
        sweep = Sweep(context.instance, store, frozenset(pipelines()), now)
        result = sweep.tick(Cursor.parse(context.cursor))
        for line in sweep.done:
            context.log.warning(line)
        return result

    return lease_sweep


class Sweep:
    """One tick at `now` (this machine's clock, UTC). `done` says what it changed."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: DriveStore,
        pipelines: Collection[str],
        now: datetime,
    ) -> None:
        self.done: list[str] = []
        self._instance = instance
        self._store = store
        self._pipelines = pipelines
        self._now = now

    def tick(self, cursor: Cursor | None) -> dg.SensorResult:
        """Look at what may have died. A drive table that is away is asked again by the next."""
        before = cursor or Cursor(self._now - LEASE - OVERLAP)
        suspects = {run.run_id: run for run in self._suspects(before)}
        unsettled = [run_id for run_id, at in before.look_at.items() if at is not None]
        look_at: dict[str, datetime | None] = {
            run_id: before.look_at.get(run_id, self._now) for run_id in (*suspects, *unsettled)
        }
        due = [run_id for run_id, at in look_at.items() if at is not None and at <= self._now]
        after = Cursor(self._now, look_at)
        if not due and (cursor is not None or not self._has_run()):
            return dg.SensorResult(skip_reason="no run may have died", cursor=str(after))
        try:
            self._store.migrate()
            self._close_dead_rows()
            for run_id in due[:MOST_RUNS_PER_TICK]:
                run = suspects.get(run_id) or self._instance.get_run_by_id(run_id)
                look_at[run_id] = self._judge(run) if run else None
        except TransientError as error:
            kept = str(after) if cursor is not None else None
            return dg.SensorResult(skip_reason=f"asks again soon: {error}", cursor=kept)
        told = "; ".join(self.done) or f"runs looked at: {len(due)}, none is dead"
        return dg.SensorResult(skip_reason=told, cursor=str(after))

    def _suspects(self, before: Cursor) -> Iterable[dg.DagsterRun]:
        """Runs that nobody heard of for a lease, and those that ended badly since the last tick."""
        silent = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.STARTED],
            updated_before=self._now - LEASE,
            tags=self._tags,
        )
        ended = dg.RunsFilter(
            statuses=ENDED_BADLY, updated_after=before.ticked_at - OVERLAP, tags=self._tags
        )
        return [*self._instance.get_runs(silent), *self._instance.get_runs(ended)]

    def _has_run(self) -> bool:
        return bool(self._instance.get_runs(dg.RunsFilter(tags=self._tags), limit=1))

    @property
    def _tags(self) -> dict[str, list[str]]:
        return {PIPELINE_TAG: sorted(self._pipelines)}

    def _close_dead_rows(self) -> None:
        for row in self._store.dead_runs():
            if self._store.close_run(closed_as_dead(row, self._store.now())):
                self.done.append(f"{row.pipeline_id} is FAILED: its lease had expired")
                run = self._instance.get_run_by_id(row.dagster_run_id)
                if run is not None:
                    self._report_failed(run)

    def _judge(self, run: dg.DagsterRun) -> datetime | None:
        """Report the run as failed if its process is gone; else when to look again."""
        pipeline = run.tags[PIPELINE_TAG]
        row = self._store.run_of(pipeline, run.run_id)
        if row is None:
            return self._judge_unclaimed(run)
        key = RecordKey(pipeline, row.query_window_start_timestamp, row.query_window_end_timestamp)
        state = self._store.look_up(key)
        claim = state.claim_of(run.run_id)
        if claim is not None and claim.lease_until >= state.now:
            return self._now + (claim.lease_until - state.now)
        if run.is_finished:
            return None
        if claim is not None or _has_nothing_left(run, row, state):
            self._report_failed(run)
            return None
        return self._now + LEASE

    def _judge_unclaimed(self, run: dg.DagsterRun) -> datetime | None:
        """A run without a row waits for a window or for its backoff, but not for ever.

        One with assets of others, or without the source's, may have other work before it claims
        the window, or wait for a pool: it is not judged.
        """
        if run.is_finished:
            return None
        if not _claims_at_once(run):
            return self._now + LEASE
        wait = HELD_WAIT_SECONDS + LEASE_SECONDS
        wait += MAX_WAIT_SECONDS if RETRY_NUMBER_TAG in run.tags else 0.0
        silent = dg.RunsFilter(
            run_ids=[run.run_id], updated_before=self._now - timedelta(seconds=wait)
        )
        if self._instance.get_runs(silent):
            self._report_failed(run)
            return None
        return self._now + LEASE

    def _report_failed(self, run: dg.DagsterRun) -> None:
        latest = self._instance.get_run_by_id(run.run_id)
        if latest is None or latest.status != dg.DagsterRunStatus.STARTED:
            return  # it ended meanwhile, or Dagster's own monitoring is about to end it
        self._instance.report_run_failed(
            latest,
            "The process of this run is gone: nothing was heard of it until its lease ended. "
            f"The sensor {LEASE_SWEEP} reported it, so that it can be tried again.",
        )
        self.done.append(f"run {run.run_id} reported as failed")


def _has_nothing_left(run: dg.DagsterRun, row: ExecutionRow, state: WindowState) -> bool:
    """Whether a run that gave its window up can have no other work: it was closed as dead, or it
    only had assets of this pipeline and ended its row a lease ago."""
    if row.phase_failed and any(one.error_message == DIED for one in row.phases.values()):
        return True
    ended = row.pipeline_end_timestamp
    if ended is None or state.now - ended < LEASE:
        return False
    return _is_only_of(run, row.pipeline_name)


def _claims_at_once(run: dg.DagsterRun) -> bool:
    """Whether the run's first work is to claim a window. Runs again inherit the pipeline's tag."""
    pipeline = run.tags[PIPELINE_TAG]
    steps, assets = run.step_keys_to_execute, run.asset_selection
    source = (steps is None or f"{pipeline}__source" in steps) and (
        assets is None or dg.AssetKey([pipeline, "source"]) in assets
    )
    return source and _is_only_of(run, pipeline)


def _is_only_of(run: dg.DagsterRun, pipeline: str) -> bool:
    """Whether all the run's assets are this pipeline's."""
    if run.asset_selection is None:
        return run.job_name == f"{pipeline}_windows"
    return all(key.path[0] == pipeline for key in run.asset_selection)

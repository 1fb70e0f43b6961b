"""The sensor `<pipeline>_due_windows`: requests windows that became ready, oldest first."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice

import dagster as dg

from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.flow.assets import PIPELINE_TAG
from pipeline_platform.flow.pending import (
    Coverage,
    begin_coverage,
    new_windows,
    store_new_and_pass_valid_record,
)
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.record import PipelineRecord

TICK_SECONDS = 30
MOST_REQUESTS_OF_A_KEY = 5
MOST_ON_THEIR_WAY = 100


@dataclass(frozen=True)
class Cursor:
    """What a tick leaves to the next: how far windows are registered, when it last looked, and
    whether pending windows may be waiting."""

    coverage: Coverage
    looked_at: datetime
    waiting: bool

    def __str__(self) -> str:
        return json.dumps(
            {
                "coverage": str(self.coverage),
                "looked_at": self.looked_at.isoformat(),
                "waiting": self.waiting,
            }
        )

    @classmethod
    def parse(cls, text: str | None) -> "Cursor | None":
        """The cursor that `str` wrote; None for anything else."""
        try:
            values = json.loads(text or "")
            coverage = Coverage.parse(values["coverage"])
            looked_at = datetime.fromisoformat(values["looked_at"])
            return cls(coverage, looked_at, bool(values["waiting"])) if coverage else None
        except (ValueError, KeyError, TypeError):
            return None


def due_windows_sensor(pipeline: Pipeline, job_name: str) -> dg.SensorDefinition:
    """Looks every 30 s, or when `schedule.cron` says so.

    The warehouse is opened only when a window became due, some are not done yet, or a run of the
    pipeline failed since the last look. A window is
    requested once per epoch: run key `pipeline:window:epoch`, and once more if that run ended
    without ever claiming the window. One that failed for good or is out of retries is not
    requested again.
    """

    @dg.sensor(
        name=f"{pipeline.name}_due_windows",
        job_name=job_name,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=(
            dg.DefaultSensorStatus.RUNNING
            if pipeline.config.schedule.automatic
            else dg.DefaultSensorStatus.STOPPED
        ),
        required_resource_keys={DRIVE_TABLE},
        description=f"Runs windows of {pipeline.name} when they become ready, oldest first.",
    )
    def due_windows(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        drive_table: DriveTableIOManager = getattr(context.resources, DRIVE_TABLE)
        now = datetime.now(timezone.utc)
        known = RequestedRuns(context.instance)
        return look(pipeline, drive_table.store, now, Cursor.parse(context.cursor), known)

    return due_windows


class RequestedRuns:
    """What Dagster's own storage knows of runs, e.g. of those requested under a run key."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def free_key(self, key: str) -> str | None:
        """A key that Dagster will start a run for; None while a run of the key is on its way."""
        for number in range(MOST_REQUESTS_OF_A_KEY):
            candidate = f"{key}:{number}" if number else key
            filters = dg.RunsFilter(tags={"dagster/run_key": candidate})
            runs = self._instance.get_runs(filters=filters, limit=1)
            if not runs:
                return candidate
            if not runs[0].is_finished:
                return None
        return None

    def ended_badly_since(self, pipeline: str, moment: datetime) -> bool:
        """Whether a run of the pipeline failed or was cancelled: its window may be pending again,
        also one that was right before. Clocks may differ by a minute."""
        badly = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
            tags={PIPELINE_TAG: pipeline},
            updated_after=moment - timedelta(minutes=1),
        )
        return bool(self._instance.get_runs(filters=badly, limit=1))


def look(
    pipeline: Pipeline,
    store: DriveStore,
    now: datetime,
    cursor: Cursor | None,
    known: RequestedRuns,
) -> dg.SensorResult:
    """One tick at `now` (UTC): registers what became due, requests the oldest valid windows.

    A window whose run is on its way does not count towards `max_windows_per_tick`.
    """
    plan = pipeline.record_plan()
    if cursor is None:
        cursor = Cursor(begin_coverage(plan, now), now, waiting=True)
    elif not _time_to_look(pipeline, cursor.looked_at, now):
        return dg.SensorResult(skip_reason="schedule.cron says not yet", cursor=str(cursor))
    fresh = list(islice(new_windows(plan, now, cursor.coverage), 1))
    quiet = not fresh and not cursor.waiting
    if quiet and not known.ended_badly_since(pipeline.name, cursor.looked_at):
        seen = Cursor(cursor.coverage, now, waiting=False)
        return dg.SensorResult(skip_reason="no window became due", cursor=str(seen))
    store.migrate()
    # This machine's clock may be ahead of the database's, by which a run judges readiness.
    now = min(now, store.now())
    limit = pipeline.config.schedule.max_windows_per_tick
    found = store_new_and_pass_valid_record(
        plan, store, now, coverage=cursor.coverage, limit=limit + MOST_ON_THEIR_WAY
    )
    more_to_register = any(True for _ in new_windows(plan, now, found.coverage))
    [windows] = store.query("window_summary", pipeline_name=pipeline.name)
    after = Cursor(found.coverage, now, waiting=bool(windows["pending"]) or more_to_register)
    fresh_requests = (_request(pipeline, record, known) for record in found.records)
    requests = list(islice((request for request in fresh_requests if request), limit))
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else found.reason,
        cursor=str(after),
    )


def _request(
    pipeline: Pipeline, record: PipelineRecord, known: RequestedRuns
) -> dg.RunRequest | None:
    window = pipeline.windows.window_at(record.window_start_time)
    assert window is not None
    key = known.free_key(f"{pipeline.name}:{window.key}:{record.epoch}")
    return dg.RunRequest(run_key=key, partition_key=window.key) if key else None


def _time_to_look(pipeline: Pipeline, looked_at: datetime, now: datetime) -> bool:
    """Whether a moment of `schedule.cron` lies in `(looked_at, now]`."""
    schedule = pipeline.config.schedule
    if schedule.cron is None:
        return True
    moments = dg.TimeWindowPartitionsDefinition(
        start=looked_at,
        fmt="%Y-%m-%dT%H:%M:%S%z",
        cron_schedule=schedule.cron,
        timezone=schedule.timezone,
        end_offset=1,
    )
    return any(
        looked_at < datetime.strptime(key, "%Y-%m-%dT%H:%M:%S%z") <= now
        for key in moments.get_partition_keys(current_time=now)
    )

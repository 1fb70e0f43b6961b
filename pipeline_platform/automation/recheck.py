"""The sensor `<pipeline>_recheck`: counts audited windows again, requests those that grew."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg

from pipeline_platform.automation.due_windows import TICK_SECONDS, RequestedRuns
from pipeline_platform.automation.impatience import impatient_pipeline, impatient_store
from pipeline_platform.drive_table.io_manager import DRIVE_TABLE
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import PipelineError, TransientError
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.recheck import (
    MEANINGS,
    AuditedWindow,
    Recount,
    audited_windows,
    recount,
)
from pipeline_platform.moment import parse_time_to_seconds

RECHECK_TAG = "pipeline_platform/recheck"
# Dagster ends a tick after 60 seconds; no window is begun after this many.
SECONDS_PER_TICK = 15.0

_ABOVE_ALL = datetime.max.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Cursor:
    """What a tick leaves to the next.

    began: when this round of windows began. below: the round goes on with windows that start
    before it; None once the round is done. found: of each window that was not as committed, by its
    start, what was found, so that it is told once.
    """

    began: datetime
    below: datetime | None = _ABOVE_ALL
    found: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        below = self.below.isoformat() if self.below else None
        return json.dumps(
            {"began": self.began.isoformat(), "below": below, "found": dict(self.found)}
        )

    @classmethod
    def parse(cls, text: str | None) -> "Cursor | None":
        """The cursor that `str` wrote; None for anything else."""
        try:
            values = json.loads(text or "")
            below = values["below"]
            return cls(
                datetime.fromisoformat(values["began"]),
                datetime.fromisoformat(below) if below else None,
                {str(start): str(counts) for start, counts in values["found"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def recheck_sensor(pipeline: Pipeline, job_name: str) -> dg.SensorDefinition:
    """Counts the last `recheck.windows` audited windows again, every `recheck.every`.

    Count queries only, at source and target. What is not as committed becomes an observation of
    the audit asset's partition, once per finding. A window to load again is requested once per
    finding: run key `pipeline:window:recheck:epoch:counts`.
    """

    quick = impatient_pipeline(pipeline)

    @dg.sensor(
        name=f"{pipeline.name}_recheck",
        job_name=job_name,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={DRIVE_TABLE},
        description=f"Counts audited windows of {pipeline.name} again: late, deleted, doubled or "
        "lost rows.",
    )
    def recheck(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        store = impatient_store(getattr(context.resources, DRIVE_TABLE))
        now = datetime.now(timezone.utc)
        known = RequestedRuns(context.instance)
        return look(quick, store, now, Cursor.parse(context.cursor), known)

    return recheck


def look(
    pipeline: Pipeline,
    store: DriveStore,
    now: datetime,
    cursor: Cursor | None,
    known: RequestedRuns,
    *,
    seconds: float = SECONDS_PER_TICK,
) -> dg.SensorResult:
    """One tick at `now` (UTC): goes on with the round, for about `seconds`.

    A system that cannot be counted now ends the tick; the next one goes on at the same window.
    """
    settings = pipeline.config.recheck
    cursor = cursor or Cursor(now)
    if cursor.below is None:
        due = cursor.began + timedelta(seconds=parse_time_to_seconds(settings.every))
        if now < due:
            reason = f"the next round begins at {due.isoformat()}"
            return dg.SensorResult(skip_reason=reason, cursor=str(cursor))
        cursor = Cursor(now, found=cursor.found)
    deadline = time.monotonic() + seconds
    store.migrate()
    audited = audited_windows(pipeline, store, settings.windows)
    found = _still_looked_at(cursor.found, audited)
    below = cursor.below or _ABOVE_ALL
    left = [one for one in audited if one.window.start < below]
    requests: list[dg.RunRequest] = []
    events: list[dg.AssetObservation] = []
    counted, problem = 0, ""
    for one in left:
        full = len(requests) >= pipeline.config.schedule.max_windows_per_tick
        if full or (counted and time.monotonic() > deadline):
            break
        try:
            result = recount(pipeline, one)
        except PipelineError as error:
            if not (counted or isinstance(error, TransientError)):
                raise  # what a person has to mend; the tick shows as failed
            problem = f"; cannot count now, nothing is concluded: {error}"
            break
        counted, below = counted + 1, one.window.start
        if result is None:
            continue
        before = found.pop(str(one.window.start), None)
        if result.deviations:
            found[str(one.window.start)] = result.counts
        if before != found.get(str(one.window.start)):
            events += observations(pipeline, result)
        if result.reload:
            requests += _request(pipeline, result, known)
    after = Cursor(cursor.began, below if counted < len(left) else None, found)
    told = f"counted {counted} windows again, {len(found)} are not as committed{problem}"
    return dg.SensorResult(
        run_requests=requests,
        asset_events=events,
        skip_reason=None if requests else told,
        cursor=str(after),
    )


def _still_looked_at(found: Mapping[str, str], audited: Sequence[AuditedWindow]) -> dict[str, str]:
    """Also a window that a run holds now: what becomes of it is yet to be told."""
    oldest = str(audited[-1].window.start) if audited else ""
    return {start: counts for start, counts in found.items() if start >= oldest}


def observations(pipeline: Pipeline, result: Recount) -> list[dg.AssetObservation]:
    """What Dagster's catalog shows at the window's audit: one event for each deviation."""
    window = result.window
    if not result.deviations:
        facts = {"class": "as committed", "rows_now": result.source_rows, "run": result.run}
        return [_observation(pipeline, window.key, "The window is as committed again.", facts)]
    return [
        _observation(
            pipeline,
            window.key,
            f"{deviation.kind}: {MEANINGS[deviation.kind]}.",
            {
                "class": deviation.kind,
                "rows_then": deviation.rows_then,
                "rows_now": deviation.rows_now,
                "difference": deviation.difference,
                "run": result.run,
                "action": result.why,
            },
        )
        for deviation in result.deviations
    ]


def _observation(
    pipeline: Pipeline, key: str, description: str, facts: dict[str, Any]
) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=[pipeline.name, "audit"],
        partition=key,
        description=description,
        metadata=facts,
    )


def _request(pipeline: Pipeline, result: Recount, known: RequestedRuns) -> list[dg.RunRequest]:
    window = result.window
    key = known.free_key(f"{pipeline.name}:{window.key}:recheck:{result.counts}")
    if key is None:
        return []
    return [dg.RunRequest(run_key=key, partition_key=window.key, tags=recheck_tag(result))]


def recheck_tag(result: Recount) -> dict[str, str]:
    """The run tag that says why a window is loaded again."""
    return {RECHECK_TAG: ",".join(deviation.kind for deviation in result.deviations)}

"""One run of one window, as the phases see it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from pipeline_platform.drive_table.store import Claim, DriveStore
from pipeline_platform.errors import TransientError
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.moment import human_duration
from pipeline_platform.movement import StillOurs, WindowSlice
from pipeline_platform.record import PipelineRecord
from pipeline_platform.window import Window

# Python 3.10 does not know LoggerAdapter[...] at run time.
Log: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"


class Clock:
    """The database's time, carried on by this machine's monotonic clock.

    A jump of the machine's wall clock changes nothing.
    """

    def __init__(self, database_now: datetime) -> None:
        self._database_now = database_now
        self._started = time.monotonic()

    def now(self) -> datetime:
        """Now, UTC."""
        return self._database_now + timedelta(seconds=time.monotonic() - self._started)


@dataclass(frozen=True)
class RunRequest:
    """What a Dagster run asks of one of its steps.

    first and last say whether the step is the first or last selected one of its run: the first
    claims the window, the last releases it. force: move the window whatever the counts say.
    restate: replace windows of the pipeline that had other bounds. retry_number: 1 and more for a
    run that Dagster or the CLI started because one before it failed.
    """

    run_id: str
    first: bool
    last: bool
    force: bool = False
    restate: bool = False
    retry_number: int = 0
    held_wait_seconds: float = 600.0


@dataclass(frozen=True)
class CheckOutcome:
    """One verdict for the partition: an asset check with its numbers."""

    name: str
    passed: bool
    reason: str
    facts: dict[str, object] = field(default_factory=dict)


@dataclass
class WindowRun:
    """The state that the phases of one step work on.

    `row` and `record` are what the step will hand over; nothing of them is stored until then.
    `runs` are all runs of the window when the step began, newest first.
    """

    pipeline: Pipeline
    window: Window
    store: DriveStore
    request: RunRequest
    claim: Claim
    record: PipelineRecord
    row: ExecutionRow
    runs: tuple[ExecutionRow, ...]
    clock: Clock
    log: Log
    lease_is_ours: StillOurs = lambda: None
    deadline: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    checks: list[CheckOutcome] = field(default_factory=list)

    @property
    def slice(self) -> WindowSlice:
        """The window as connectors see it."""
        return self.window.slice(self.pipeline.name)

    @property
    def passes_through(self) -> bool:
        """Whether pre-validation found the window already right."""
        return self.row.pipeline_status == "SKIPPED"

    @property
    def forced(self) -> bool:
        """Whether to move the window whatever the counts say.

        A retry inherits the wish only until a run before it brought the window through its audit.
        """
        if not self.request.force or not self.request.retry_number:
            return self.request.force
        before = next((row for row in self.runs if row.epoch < self.claim.epoch), None)
        return before is None or "audit" not in before.phases_completed

    def still_ours(self) -> None:
        """Raise when the claim was lost or the running phase is over its timeout."""
        self.lease_is_ours()
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TransientError(
                "The phase ran longer than its timeout.",
                hint="Raise `timeout` of this phase in the config, or make the window smaller.",
            )

    def change_record(self, **changes: Any) -> None:
        """Set fields of the record; the time of the change is set with them."""
        self.record = replace(self.record, record_last_updated_time=self.clock.now(), **changes)

    def end(self) -> None:
        """Set the end of the run in its row; status and phases stay as they are."""
        now = self.clock.now()
        seconds = (now - self.row.pipeline_start_timestamp).total_seconds()
        self.row = replace(
            self.row, pipeline_end_timestamp=now, pipeline_run_duration=human_duration(seconds)
        )


Step = Callable[[WindowRun], None]

"""What a drive store must do: keep records, hand out claims, append revisions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pipeline_platform.execution import ExecutionRow
from pipeline_platform.record import PipelineRecord, RecordKey

LEASE_SECONDS = 300.0
HEARTBEAT_SECONDS = 60.0
MOST_RUNS = 50


@dataclass(frozen=True)
class Claim:
    """The right to work on one window, until `lease_until` (database time, UTC) unless renewed."""

    key: RecordKey
    epoch: int
    owner: str
    lease_until: datetime


@dataclass(frozen=True)
class WindowState:
    """A window as the drive table knows it at `now` (database time, UTC).

    `runs` are latest revisions, newest epoch first, at most `MOST_RUNS`.
    """

    now: datetime
    record: PipelineRecord | None
    runs: tuple[ExecutionRow, ...]

    def claim_of(self, owner: str) -> Claim | None:
        """The claim that `owner` holds, also one whose lease expired and nobody took over."""
        record = self.record
        if record is None or record.owner != owner or record.lease_until is None:
            return None
        return Claim(record.key, record.epoch, owner, record.lease_until)

    def run_of(self, owner: str) -> ExecutionRow | None:
        """The row of the Dagster run `owner`."""
        return next((run for run in self.runs if run.dagster_run_id == owner), None)


class DriveStore(Protocol):
    """State of all pipelines in one schema of the user's warehouse.

    Times come from the database. A write under a claim changes the record only where epoch and
    owner are still the claim's; otherwise nothing is written and ClaimLostError is raised.
    Errors of the database itself become TransientError or PermanentError.
    """

    name: str
    """Shown to people; never a secret."""

    def migrate(self) -> None:
        """Bring the schema up to date; safe when several processes start together."""
        ...

    def check(self) -> str:
        """Reach the database, creating nothing; what there is to say about it, for people."""
        ...

    def now(self) -> datetime:
        """The database's clock, UTC."""
        ...

    def register(self, records: Iterable[PipelineRecord]) -> int:
        """Insert PENDING records that are not there yet; returns how many were new."""
        ...

    def rebuild(self, record: PipelineRecord) -> bool:
        """Replace a free, not completed record of the same key (its config changed).

        Keeps id, epoch and retry_attempt; returns whether a row was replaced.
        """
        ...

    def record(self, key: RecordKey) -> PipelineRecord | None:
        """The record, or None."""
        ...

    def pending(self, pipeline_name: str, limit: int) -> Sequence[PipelineRecord]:
        """Oldest records with pipeline_status PENDING that nobody holds now."""
        ...

    def latest_record(self, pipeline_name: str) -> PipelineRecord | None:
        """The record with the greatest window start, whatever its status."""
        ...

    def claim(
        self,
        record: PipelineRecord,
        owner: str,
        *,
        at_least_epoch: int = 0,
        lease_seconds: float = LEASE_SECONDS,
    ) -> Claim | None:
        """Claim a window; registers the record first if it is new, else uses only its key.

        Looks at the stored epoch, then one conditional UPDATE: epoch becomes max(seen epoch,
        at_least_epoch) + 1 where the epoch is still the seen one and the record is free or its
        lease has expired. None: somebody else has it. `owner` names the Dagster run and must be
        unique to it.
        """
        ...

    def look_up(self, key: RecordKey) -> WindowState:
        """All that is known of a window, in one transaction."""
        ...

    def heartbeat(self, claim: Claim, lease_seconds: float = LEASE_SECONDS) -> Claim:
        """Extend the lease, an expired one too; ClaimLostError if the claim was taken over."""
        ...

    def save(
        self,
        claim: Claim,
        record: PipelineRecord | None,
        row: ExecutionRow | None,
        *,
        release: bool = False,
    ) -> ExecutionRow | None:
        """Under the claim, in one transaction: update the record, append the row's next revision,
        and with `release` free the window. Returns the row with its revision and times.
        """
        ...

    def close_run(self, row: ExecutionRow) -> bool:
        """Append a final revision for a run that died, without a claim.

        Returns False, and writes nothing, if the run's latest revision is no longer RUNNING or
        if the run holds an unexpired lease after all. An expired claim is taken from it with the
        same transaction, so a run that was only slow gets ClaimLostError from then on.
        """
        ...

    def run_of(self, pipeline_name: str, dagster_run_id: str) -> ExecutionRow | None:
        """Latest revision of the row that this Dagster run owns; None if it never claimed."""
        ...

    def latest_runs(self, pipeline_name: str, limit: int) -> Sequence[ExecutionRow]:
        """Latest revision of the runs that began last, newest first."""
        ...

    def dead_runs(self, pipeline_name: str | None = None) -> Sequence[ExecutionRow]:
        """Latest revisions that say RUNNING although their claim is gone or its lease expired."""
        ...

    def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run one of the named standard queries (`queries.py`).

        Times are UTC, JSON is parsed. ConfigurationError for an unknown name or parameter.
        """
        ...

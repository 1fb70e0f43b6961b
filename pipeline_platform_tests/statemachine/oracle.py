"""What must be true of one window, in plain Python: its owner, what is staged, what is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipeline_platform.errors import ClaimLostError, PermanentError, TransientError
from pipeline_platform.movement import Manifest
from pipeline_platform.record import PipelineRecord
from pipeline_platform_tests.statemachine.faults import Outcome

Row = tuple[object, ...]
PASS = "PASS"
RECORD_COLUMNS = (
    "pipeline_status", "phase_completed", "audit_result", "source_count", "target_count",
    "retry_attempt", "stage_path", "pipeline_id",
)  # fmt: skip


@dataclass(frozen=True)
class Staged:
    """A whole manifest and the rows that the source held when it was written."""

    manifest: Manifest
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Commit:
    """The commit row without its times."""

    epoch: int = 0
    manifest_hash: str | None = None
    change_value: str | None = None
    source_rows: int | None = None
    stage_rows: int | None = None
    target_rows: int | None = None
    audit_result: str | None = None

    @classmethod
    def of(cls, epoch: int, staged: Staged) -> "Commit":
        """What a load of these rows commits."""
        manifest, rows = staged.manifest, len(staged.rows)
        return cls(epoch, manifest.hash, manifest.change_value, rows, rows, rows)


@dataclass
class Drive:
    """The record's claim. An owner whose lease expired still owns it until somebody takes it."""

    epoch: int
    owner: str | None
    expired: bool = False

    @property
    def held(self) -> bool:
        return self.owner is not None and not self.expired


@dataclass
class RunRow:
    """One run in the drive table."""

    owner: str
    status: str
    revisions: int


@dataclass
class WindowOracle:
    """The model of one window. Its methods judge what a step did and take it over."""

    start: datetime
    rows: tuple[Row, ...] = ()
    commit: Commit | None = None
    drive: Drive | None = None
    runs: dict[int, RunRow] = field(default_factory=dict)
    record: tuple[object, ...] | None = None
    staged: dict[int, Staged] = field(default_factory=dict)
    highest_epoch: int = 0
    saved_by: dict[int, str] = field(default_factory=dict)

    def next_epoch(self, attempts: list[int]) -> int:
        """The epoch that a claim must get now."""
        drive = self.drive.epoch if self.drive else 0
        return max(drive, self.commit.epoch if self.commit else 0, *attempts, 0) + 1

    def owned_by(self, epoch: int, owner: str) -> bool:
        """Whether a write under this claim must succeed, its lease expired or not."""
        drive = self.drive
        return drive is not None and (drive.epoch, drive.owner) == (epoch, owner)

    def claimed(self, epoch: int, owner: str) -> None:
        """A claim was handed out."""
        assert epoch > self.highest_epoch, f"epoch {epoch} was there before"
        self.highest_epoch = epoch
        self.drive = Drive(epoch, owner)

    def saved(self, epoch: int, owner: str, record: PipelineRecord | None, status: str) -> None:
        """One more revision of the run's row, and the record with it (None: one nobody knows)."""
        assert self.saved_by.setdefault(epoch, owner) == owner, f"two runs saved at {epoch}"
        self.record = values_of(record) if record else None
        self.add_revision(epoch, owner, status)

    def add_revision(self, epoch: int, owner: str, status: str) -> None:
        revisions = self.runs[epoch].revisions if epoch in self.runs else 0
        self.runs[epoch] = RunRow(owner, status, revisions + 1)

    def release(self) -> None:
        assert self.drive is not None
        self.drive = Drive(self.drive.epoch, None)

    def may_close(self, epoch: int) -> bool:
        """Whether the row of a run may be closed as a dead one's."""
        run, drive = self.runs.get(epoch), self.drive
        alive = drive is not None and drive.epoch == epoch and drive.held
        return run is not None and run.status == "RUNNING" and not alive

    def closed(self, epoch: int) -> None:
        if self.drive is not None and self.drive.epoch == epoch:
            self.release()
        self.add_revision(epoch, self.runs[epoch].owner, "FAILED")

    def forget_drive_table(self, attempts: list[int]) -> None:
        """Commit row and attempt paths are all that still knows epochs."""
        self.drive, self.record, self.runs = None, None, {}
        self.highest_epoch = self.next_epoch(attempts) - 1
        self.saved_by = {e: who for e, who in self.saved_by.items() if e <= self.highest_epoch}

    def keep_staged(self, attempts: list[int]) -> None:
        self.staged = {e: staged for e, staged in self.staged.items() if e in attempts}

    def must_keep(self, attempts: list[int]) -> set[int]:
        """What no clean-up may take: the newest attempt, the newest whole one, the committed."""
        whole = [epoch for epoch in attempts if epoch in self.staged]
        loaded = self.commit.manifest_hash if self.commit else None
        committed = [epoch for epoch in whole if self.staged[epoch].manifest.hash == loaded]
        return {*attempts[-1:], *whole[-1:], *committed}

    def may_have_late_writers(self, epoch: int) -> bool:
        """Whether a run between the commit row's epoch and this one may only be paused."""
        committed = self.commit.epoch if self.commit else 0
        ended = {e for e, run in self.runs.items() if run.status in ("SUCCESS", "SKIPPED")}
        return any(e not in ended for e in range(committed + 1, epoch))

    def fence_out(self, epoch: int) -> None:
        assert self.commit is not None
        self.commit = replace(self.commit, epoch=max(epoch, self.commit.epoch))

    def refuses(self, epoch: int, *, strict: bool) -> bool:
        """Whether the target must refuse this epoch. A load must be above the commit row's."""
        there = self.commit.epoch if self.commit else 0
        return there > epoch or (strict and there == epoch)

    def newest_staged(self, attempts: list[int]) -> Staged | None:
        """What a run may go on from: the newest attempt, if it is whole. Never an older one."""
        return self.staged.get(attempts[-1]) if attempts else None

    def loaded(self, epoch: int, staged: Staged, outcome: Outcome) -> None:
        loaded = Commit.of(epoch, staged)
        if outcome.came_to("load.before_begin"):
            self.commit = self.commit or Commit()
        self._fenced(
            "load", epoch, outcome, strict=True, rows=staged.rows, after=lambda before: loaded,
            arrived=lambda row: (row.epoch, row.manifest_hash) == (epoch, loaded.manifest_hash),
        )  # fmt: skip

    def audited(self, epoch: int, outcome: Outcome) -> None:
        loaded = self.commit is not None and self.commit.manifest_hash is not None
        if not loaded and (self.commit is None or not self.refuses(epoch, strict=False)):
            assert not outcome.came_to("audit.before_commit"), outcome
            assert not outcome.went_well, outcome
            if outcome.fired is None:
                assert isinstance(outcome.error, PermanentError), outcome
            return
        self._fenced(
            "audit", epoch, outcome, strict=False, rows=self.rows,
            after=lambda before: replace(before, epoch=epoch, audit_result=PASS),
            arrived=lambda row: (row.epoch, row.audit_result) == (epoch, PASS),
        )  # fmt: skip

    def deleted(self, epoch: int, outcome: Outcome) -> None:
        self.commit = self.commit or Commit()
        self._fenced(
            "delete", epoch, outcome, strict=False, rows=(), after=lambda before: Commit(epoch),
            arrived=lambda row: (row.epoch, row.manifest_hash) == (epoch, None),
        )  # fmt: skip

    def _fenced(
        self,
        purpose: str,
        epoch: int,
        outcome: Outcome,
        *,
        strict: bool,
        rows: tuple[Row, ...],
        after: Callable[[Commit], Commit],
        arrived: Callable[[Commit], bool],
    ) -> None:
        """Judge a transaction, and hold what must be there now."""
        before = self.commit or Commit()
        allowed = not self.refuses(epoch, strict=strict)
        committed = outcome.came_to(f"{purpose}.after_commit")
        settled = outcome.came_to(f"{purpose}.after_resolve")
        assert allowed or not (committed or settled), f"epoch {epoch} passed {before}: {outcome}"
        if committed:
            self.commit, self.rows = after(before), rows
        elif settled:
            self.commit = replace(before, epoch=epoch)
        fired = outcome.fired
        if fired is None:
            if allowed:
                assert committed, outcome
                assert outcome.error is None, outcome
            else:
                assert isinstance(outcome.error, ClaimLostError), outcome
        elif fired.how == "kill" or (fired.in_doubt and fired.then):
            assert outcome.died, outcome
        elif fired.in_doubt and (committed or arrived(before)):
            assert outcome.error is None, outcome
        else:
            assert isinstance(outcome.error, TransientError), outcome
            assert not isinstance(outcome.error, ClaimLostError), outcome


def values_of(record: PipelineRecord) -> tuple[object, ...]:
    """The record's columns that the machine compares."""
    return tuple(getattr(record, column) for column in RECORD_COLUMNS)

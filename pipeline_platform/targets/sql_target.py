"""How every SQL target moves a window: one fenced, verified transaction of DML only."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline_platform.errors import (
    ClaimLostError,
    PermanentError,
    PipelineError,
    ToleranceError,
    TransientError,
    VerificationError,
)
from pipeline_platform.fault_points import fault_point
from pipeline_platform.movement import (
    RESTATED,
    AttemptPath,
    CommitRow,
    LoadRequest,
    LoadResult,
    TargetCounts,
    WindowSlice,
)
from pipeline_platform.targets import commits
from pipeline_platform.targets.columns import TargetTable
from pipeline_platform.targets.sql_ownership import SqlOwnership
from pipeline_platform.targets.sql_table import COMMITS_SUFFIX, Session, ours_values
from pipeline_platform.targets.staged_files import check_files
from pipeline_platform.targets.verification import Aggregate, aggregates, differences
from pipeline_platform.tolerance import compare_hop

_DELETE_OURS = "DELETE FROM {table} WHERE {ours}"
# Nothing but ours lay in the window before the insert (`_refuse_foreign`), so ours are to be all
# of it; rows that others commit meanwhile are seen by the count after the load.
_COUNT_AND_SUMMARIZE = (
    "SELECT count(*), count(CASE WHEN {field} >= $3 AND {field} < $4 THEN 1 END){aggregates} "
    "FROM {table} WHERE {ours}"
)
_SUMMARIZE = "SELECT {aggregates} FROM {table} WHERE {ours}"

# PostgreSQL returns at most 1,664 values a row; a wider table takes more than one scan.
_AGGREGATES_AT_ONCE = 1_500

_AFTER_REFUSAL = "Another run took the window over; its row in pipeline_execution_drive says which."

T = TypeVar("T")


@dataclass
class _Loaded:
    """What a load did, for its result."""

    commit: CommitRow
    counts: TargetCounts
    details: dict[str, Any]


class SqlTarget(SqlOwnership):
    """The writing half of the protocol `Target`: every mutation is one fenced transaction."""

    def load(self, request: LoadRequest) -> LoadResult:
        """Replace the window's rows in one transaction (design section 6, step 4).

        Old rows stay unless all of it commits. ClaimLostError: a newer epoch was here.
        PermanentError: overlap with a committed window (unless `restate`), rows that are not ours,
        columns that do not fit. ToleranceError, VerificationError: the rows inserted are not those
        staged.
        """
        began = time.monotonic()
        manifest = request.manifest
        window = manifest.attempt.window
        check_files(request, keeps_nanoseconds=self._keeps_nanoseconds)
        loaded, resolved = self._transaction(
            "load",
            window,
            request.epoch,
            lambda session: self._replace_window(session, request, window),
            before=lambda session: self._before_load(session, request, window),
            arrived=lambda row: row.epoch == request.epoch and row.manifest_hash == manifest.hash,
        )
        loaded.details["outcome_resolved"] = resolved
        seconds = time.monotonic() - began
        return LoadResult(loaded.commit, loaded.counts, seconds, loaded.details)

    def resolve(self, window: WindowSlice, epoch: int) -> CommitRow:
        """Fence the window at `epoch`, waiting for a transaction in doubt, and return its row.

        After it no older epoch can change the window. ClaimLostError: a newer epoch was here.
        """
        _, now = self._settle(window, epoch)
        return now

    def store_audit(self, window: WindowSlice, epoch: int, audit_result: str) -> CommitRow:
        """Write the verdict into the commit row, fenced.

        PermanentError if no load of the window is committed. The same verdict may be stored again.
        """

        def body(session: Session) -> CommitRow:
            self._fence(session, "audit", commits.FENCE, window, epoch)
            if self._require_commit(session, window).manifest_hash is None:
                raise PermanentError(
                    f"{self.name}: the window {window} has no committed load to audit.",
                    hint="Materialize the target asset of this partition first.",
                )
            session.changed(
                self._sql(commits.STORE_AUDIT), [*commits.key_values(window), audit_result]
            )
            fault_point("audit.after_update")
            return self._require_commit(session, window)

        row, _ = self._transaction(
            "audit",
            window,
            epoch,
            body,
            arrived=lambda row: row.epoch == epoch and row.audit_result == audit_result,
        )
        return row

    def delete_window(self, window: WindowSlice, epoch: int) -> int:
        """Delete the window's rows and reset its commit row, fenced; returns rows deleted."""

        def body(session: Session) -> int:
            self._fence(session, "delete", commits.FENCE, window, epoch)
            if self._require_commit(session, window).audit_result == RESTATED:
                return 0  # its rows are no window's any more, or another's
            deleted = session.changed(self._sql(_DELETE_OURS), ours_values(window))
            fault_point("delete.after_delete")
            session.changed(self._sql(commits.STORE_DELETE), commits.key_values(window))
            fault_point("delete.after_update")
            return deleted

        if not self._is_there():
            return 0
        with self._connect() as session:
            tables = (self._system.table, self._system.table + COMMITS_SUFFIX)
            if any(self._table(session, name) is None for name in tables):
                return 0
            self._insert_commit_row(session, window)
        deleted, _ = self._transaction(
            "delete",
            window,
            epoch,
            body,
            arrived=lambda row: row.epoch == epoch and row.manifest_hash is None,
        )
        return deleted

    def drop_load_tables(self, attempts: Sequence[AttemptPath]) -> int:
        """0: the rows go from the files into the table."""
        return 0

    # The transaction

    def _replace_window(
        self, session: Session, request: LoadRequest, window: WindowSlice
    ) -> _Loaded:
        """Steps a to e, all DML, inside the caller's transaction."""
        manifest = request.manifest
        self._fence(session, "load", commits.FENCE_LOAD, window, request.epoch)
        table = self._require_table(session)
        restated = self._restate_or_refuse(session, window, request.restate)
        self._refuse_misfits(manifest, table)
        fault_point("load.after_refusals")

        first_load = self._require_commit(session, window).manifest_hash is None
        replaced = self._replace_others(
            session, table, window, adopt=request.adopt and first_load, restate=request.restate
        )
        deleted = session.changed(self._sql(_DELETE_OURS), ours_values(window))
        self._refuse_shrinking(request, deleted + replaced["rows_restated"])
        self._refuse_foreign(session, table, window)
        fault_point("load.after_delete")

        began = time.monotonic()
        with self._bounded_memory(session, request):
            self._insert(session, request, table)
            inserted = time.monotonic()
            fault_point("load.after_insert")
            counts, details = self._verify(session, request, table, window)
        details.update(
            rows_replaced=deleted,
            windows_restated=restated,
            **replaced,
            insert_seconds=round(inserted - began, 3),
            verify_seconds=round(time.monotonic() - inserted, 3),
            **self._load_details(session),
        )
        fault_point("load.after_verify")

        hashes = request.config_hashes or manifest.config_hashes
        stored = commits.load_values(manifest, hashes, counts.by_window_column)
        session.changed(self._sql(commits.STORE_LOAD), [*commits.key_values(window), *stored])
        commit = self._require_commit(session, window)
        fault_point("load.after_update")
        request.still_ours()
        return _Loaded(commit, counts, details)

    def _before_load(self, session: Session, request: LoadRequest, window: WindowSlice) -> None:
        """A row to fence on, in a transaction of its own: its locks outlive no failed load."""
        fault_point("load.before_commit_row")
        self._insert_commit_row(session, window)
        fault_point("load.before_begin")

    def _load_details(self, session: Session) -> dict[str, Any]:
        """What the dialect adds to a load's details."""
        return {}

    def _insert_commit_row(self, session: Session, window: WindowSlice) -> None:
        """The window's commit row if it is missing; exactly one, however many try at once."""
        session.changed(self._sql(commits.ENSURE), commits.key_values(window))

    def _begin(self, session: Session) -> None:
        """Begin a transaction; `_fence` or `LOCK` is its next statement."""
        session.run("BEGIN")

    def _transaction(
        self,
        purpose: str,
        window: WindowSlice,
        epoch: int,
        body: Callable[[Session], T],
        *,
        arrived: Callable[[CommitRow], bool],
        before: Callable[[Session], None] = lambda session: None,
    ) -> tuple[T, bool]:
        """Run `body` in one transaction; says also whether its commit's outcome was in doubt.

        `before` runs ahead of it on the same connection, committing by itself.
        A commit that did not answer is never guessed about: a fencing write on another connection
        waits for it, and `arrived` judges the commit row as it was before that write.
        """
        with self._connect() as session:
            before(session)
            try:
                self._begin(session)
                fault_point(f"{purpose}.after_begin")
                result = body(session)
            except BaseException:
                with suppress(Exception):  # the connection may be gone, its transaction with it
                    session.run("ROLLBACK")
                raise
            try:
                fault_point(f"{purpose}.before_commit")
                session.run("COMMIT")
                fault_point(f"{purpose}.after_commit")
            except Exception as error:
                doubt = error
                session.abandon()
            else:
                return result, False
        fault_point(f"{purpose}.before_resolve")
        found, _ = self._settle(window, epoch)
        fault_point(f"{purpose}.after_resolve")
        if arrived(found):
            return result, True
        cause = doubt if isinstance(doubt, PipelineError) else self._mapped(doubt)
        kind = TransientError if isinstance(cause, TransientError) else type(cause)
        raise kind(
            f"{self.name}: the {purpose} of {window} did not commit. {cause.message}",
            hint="The rows are as they were before; run the window again.",
        ) from doubt

    def _settle(self, window: WindowSlice, epoch: int) -> tuple[CommitRow, CommitRow]:
        """The commit row before and after fencing it at `epoch`."""
        with self._connect() as session:
            try:
                self._begin(session)
                session.changed(self._sql(commits.LOCK), commits.key_values(window))
                before = self._require_commit(session, window)
                self._fence(session, None, commits.FENCE, window, epoch)
                now = self._require_commit(session, window)
                session.run("COMMIT")
            except BaseException:
                with suppress(Exception):
                    session.run("ROLLBACK")
                raise
        return before, now

    def _fence(
        self, session: Session, purpose: str | None, fence: str, window: WindowSlice, epoch: int
    ) -> None:
        moved = session.changed(self._sql(fence), [*commits.key_values(window), epoch])
        if moved != 1:
            row = self._read_commit(session, window)
            if row is None:
                raise PermanentError(
                    f"{self.name}: the window {window} has no commit row.",
                    hint="Materialize the target asset of this partition first.",
                )
            raise ClaimLostError(
                f"{self.name}: epoch {epoch} may not write {window}, which is at epoch "
                f"{row.epoch}. Nothing was changed.",
                hint=_AFTER_REFUSAL,
                facts={"epoch": epoch, "commit_epoch": row.epoch},
            )
        if purpose is not None:
            fault_point(f"{purpose}.after_fence")

    def _verify(
        self, session: Session, request: LoadRequest, table: TargetTable, window: WindowSlice
    ) -> tuple[TargetCounts, dict[str, Any]]:
        """Counts both ways against the manifest; where none is lost, every column's summary."""
        manifest = request.manifest
        checks = aggregates(manifest, table, self._quote, self._total)
        counts, wrong = self._summarize(session, checks, table, window)
        verdict = compare_hop(
            manifest.rows, counts.by_window_column, request.tolerance_percent, "stage to target"
        )
        facts = verdict.facts() | {"observed_by_query_field": counts.by_query_field}
        if counts.by_window_column != counts.by_query_field:
            raise VerificationError(
                f"{self.name}: {counts.by_window_column} rows carry the window {window}, "
                f"{counts.by_query_field} lie in it by {self._query_field.name}. Rolled back.",
                hint="Check query_field_timezone and query_field_unit, and whether somebody else "
                "writes this table.",
                facts=facts,
            )
        if not verdict.passed:
            kind = VerificationError if verdict.lost < 0 else ToleranceError
            raise kind(
                f"{self.name}: {verdict.reason}. Rolled back.",
                hint="Look for triggers or policies that drop rows, or raise "
                "phases.audit.count_tolerances.stage_to_target_tolerance_percent.",
                facts=facts,
            )
        if verdict.lost == 0 and wrong:
            raise VerificationError(
                f"{self.name}: the rows of {window} differ from the manifest in "
                f"{', '.join(wrong[:20])}. Rolled back.",
                hint="The files or the target changed values; the next attempt starts from zero.",
                facts={"differences": wrong[:100]},
            )
        verified = len(manifest.columns) if verdict.lost == 0 else 0
        return counts, {
            "loss_percent": float(verdict.loss_percent),
            "columns_verified": verified,
        }

    def _summarize(
        self, session: Session, checks: list[Aggregate], table: TargetTable, window: WindowSlice
    ) -> tuple[TargetCounts, list[str]]:
        """Both counts and the differences from the manifest, in one scan of the window's rows."""
        first, later = checks[:_AGGREGATES_AT_ONCE], checks[_AGGREGATES_AT_ONCE:]
        statement = self._sql(
            _COUNT_AND_SUMMARIZE,
            field=self._field(table),
            aggregates="".join(f", {check.sql}" for check in first),
        )
        parameters = [*ours_values(window), *self._bounds(table, window)]
        ours, inside, *values = session.rows(statement, parameters)[0]
        wrong = differences(first, values)
        for start in range(0, len(later), _AGGREGATES_AT_ONCE):
            part = later[start : start + _AGGREGATES_AT_ONCE]
            statement = self._sql(_SUMMARIZE, aggregates=", ".join(check.sql for check in part))
            wrong += differences(part, session.rows(statement, ours_values(window))[0])
        return TargetCounts(int(ours), int(inside)), wrong

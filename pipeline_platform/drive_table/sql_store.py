"""The drive store in SQL. A database adds its dialect and a way to open a session."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

from pipeline_platform.drive_table.migrate import apply_missing, version_of
from pipeline_platform.drive_table.queries import QUERIES, NamedQuery, named_query
from pipeline_platform.drive_table.rows import values_of_record
from pipeline_platform.drive_table.schema import Dialect, Migration, migrations
from pipeline_platform.drive_table.statements import (
    CLAIM,
    SAVED_COLUMNS,
    Session,
    Statements,
)
from pipeline_platform.drive_table.store import LEASE_SECONDS, MOST_RUNS, Claim, WindowState
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.fault_points import fault_point
from pipeline_platform.record import PipelineRecord, RecordKey

T = TypeVar("T")

_FREED = ("owner = NULL", "lease_until = NULL")
_RUNS_OF_WINDOW = (
    "run.pipeline_name = :pipeline_name "
    "AND run.query_window_start_timestamp = :window_start_time "
    "AND run.query_window_end_timestamp = :window_end_time"
)
_KEPT_BY_REBUILD = ("retry_attempt", "record_last_updated_time")


class SqlStore(ABC):
    """`DriveStore` on a SQL database; the protocol says what each method promises.

    Every method is one transaction in a session of its own, so a store may be shared by threads.
    """

    dialect: ClassVar[Dialect]
    statements: ClassVar[type[Statements]] = Statements
    queries: ClassVar[Mapping[str, NamedQuery]] = QUERIES

    def __init__(self, name: str, schema: str) -> None:
        self.name = name
        self._schema = schema
        self._migrations = self._all_migrations()

    @abstractmethod
    def _session(self, *, write: bool) -> AbstractContextManager[Session]:
        """A session in one transaction; the driver's errors leave it as classes of errors.py."""

    @abstractmethod
    def _prepare_schema(self, statements: Statements) -> None:
        """Wait until no other process migrates, and create the schema if it is missing."""

    def _all_migrations(self) -> tuple[Migration, ...]:
        return migrations(self.dialect, self._table)

    def _run(self, work: Callable[[Statements], T], *, write: bool) -> T:
        with self._session(write=write) as session:
            return work(self.statements(session, self.dialect, self._table))

    def _table(self, name: str) -> str:
        return f"{self.dialect.quote(self._schema)}.{self.dialect.quote(name)}"

    def migrate(self) -> None:
        """One look when the schema is up to date; else the missing migrations, all or none."""
        known = self._migrations
        version = self._run(lambda s: version_of(s, self._schema, known), write=True)
        if version < known[-1].version:
            self._run(
                lambda s: apply_missing(s, self.dialect, self._schema, known, self._prepare_schema),
                write=True,
            )

    def check(self) -> str:
        """Reach the database, creating nothing; what there is to say about it, for people."""
        self.now()
        return "the drive table answers"

    def now(self) -> datetime:
        """The database's clock, UTC."""
        [row] = self._run(lambda s: s.rows("SELECT {clock} AS now", {}), write=False)
        now: datetime = row["now"]
        return now

    def register(self, records: Iterable[PipelineRecord]) -> int:
        """Insert records that are not there yet; safe to repeat."""
        new = list(records)
        return self._run(lambda s: s.insert_records(new), write=True)

    def rebuild(self, record: PipelineRecord) -> bool:
        """Replace a free, not completed record; id, epoch and retry_attempt stay."""
        columns = ", ".join(f"{c} = :{c}" for c in SAVED_COLUMNS if c not in _KEPT_BY_REBUILD)
        sql = (
            f"UPDATE {{records}} SET {columns}, record_last_updated_time = {{clock}} "  # noqa: S608
            "WHERE {key} AND pipeline_status <> 'COMPLETED' AND {free}"
        )
        return self._run(lambda s: s.change(sql, values_of_record(record)), write=True) == 1

    def record(self, key: RecordKey) -> PipelineRecord | None:
        """The record, or None."""
        return self._first_record("WHERE {key}", vars(key))

    def pending(self, pipeline_name: str, limit: int) -> Sequence[PipelineRecord]:
        """Oldest free records with pipeline_status PENDING."""
        clauses = (
            "WHERE pipeline_name = :pipeline_name AND pipeline_status = 'PENDING' "
            "AND {free} ORDER BY window_start_time LIMIT :limit"
        )
        values = {"pipeline_name": pipeline_name, "limit": limit}
        return self._run(lambda s: s.records(clauses, values), write=False)

    def latest_record(self, pipeline_name: str) -> PipelineRecord | None:
        """The record with the greatest window start."""
        return self._first_record(
            "WHERE pipeline_name = :pipeline_name ORDER BY window_start_time DESC LIMIT 1",
            {"pipeline_name": pipeline_name},
        )

    def _first_record(self, clauses: str, values: Mapping[str, Any]) -> PipelineRecord | None:
        found = self._run(lambda s: s.records(clauses, values), write=False)
        return found[0] if found else None

    def claim(
        self,
        record: PipelineRecord,
        owner: str,
        *,
        at_least_epoch: int = 0,
        lease_seconds: float = LEASE_SECONDS,
    ) -> Claim | None:
        """Of `record` only the key is used, unless the window is not registered yet."""
        # Windows that were cut differently may begin at the same moment: run numbers go on.
        seen = (
            "SELECT epoch, (SELECT max(other.epoch) FROM {records} AS other "
            "WHERE other.pipeline_name = :pipeline_name "
            "AND other.window_start_time = :window_start_time) AS greatest "
            "FROM {records} WHERE {key}"
        )
        values = {
            **vars(record.key),
            "owner": owner,
            "lease": timedelta(seconds=lease_seconds),
        }

        def work(statements: Statements) -> Claim | None:
            found = statements.rows(seen, values)
            if not found:
                statements.insert_records([record])
                found = statements.rows(seen, values)
            at_least = max(at_least_epoch, found[0]["greatest"])
            bound = {**values, "seen": found[0]["epoch"], "at_least": at_least}
            won = statements.change(CLAIM, bound)
            fault_point("claim.after_update")
            return statements.claim_of(record.key, owner) if won == 1 else None

        fault_point("claim.before_begin")
        claim = self._run(work, write=True)
        fault_point("claim.after_commit")
        return claim

    def look_up(self, key: RecordKey) -> WindowState:
        """The record, its runs and the clock, from one transaction."""

        def work(statements: Statements) -> WindowState:
            [clock] = statements.rows("SELECT {clock} AS now", {})
            found = statements.records("WHERE {key}", vars(key))
            order = f"run.epoch DESC LIMIT {MOST_RUNS}"
            runs = statements.runs(_RUNS_OF_WINDOW, vars(key), order)
            return WindowState(clock["now"], found[0] if found else None, tuple(runs))

        return self._run(work, write=False)

    def heartbeat(self, claim: Claim, lease_seconds: float = LEASE_SECONDS) -> Claim:
        """Extend the lease, also one that has expired and that nobody took over."""
        values = {"lease": timedelta(seconds=lease_seconds)}

        def work(statements: Statements) -> Claim:
            statements.change_ours(claim, ["lease_until = {lease}"], values)
            extended = statements.claim_of(claim.key, claim.owner)
            assert extended is not None
            return extended

        return self._run(work, write=True)

    def save(
        self,
        claim: Claim,
        record: PipelineRecord | None,
        row: ExecutionRow | None,
        *,
        release: bool = False,
    ) -> ExecutionRow | None:
        """The record's update is the fence: it comes first and must change exactly one row."""
        if record is not None and record.key != claim.key:
            raise ValueError(f"The claim is on {claim.key}, the record is {record.key}.")
        columns = [f"{c} = :{c}" for c in SAVED_COLUMNS] if record else []
        columns += _FREED if release else ("owner = owner",)
        values = values_of_record(record) if record else {}

        def work(statements: Statements) -> ExecutionRow | None:
            statements.change_ours(claim, columns, values)
            fault_point("save.after_update")
            return statements.append(row) if row else None

        fault_point("save.before_begin")
        saved = self._run(work, write=True)
        fault_point("save.after_commit")
        return saved

    def close_run(self, row: ExecutionRow) -> bool:
        """Takes an expired claim away from the dead run with it, so that it cannot come back."""
        key = RecordKey(
            row.pipeline_name, row.query_window_start_timestamp, row.query_window_end_timestamp
        )
        values = {**vars(key), "epoch": row.epoch}

        def work(statements: Statements) -> bool:
            locked = statements.change(
                "UPDATE {records} SET "
                "owner = CASE WHEN epoch = :epoch THEN NULL ELSE owner END, "
                "lease_until = CASE WHEN epoch = :epoch THEN NULL ELSE lease_until END "
                "WHERE {key} AND NOT (epoch = :epoch AND {held})",
                values,
            )
            if not locked and statements.records("WHERE {key}", values):
                return False
            latest = statements.runs("run.pipeline_id = :id", {"id": row.pipeline_id})
            if not latest or latest[0].pipeline_status != "RUNNING":
                return False
            fault_point("close.after_update")
            statements.append(row)
            return True

        fault_point("close.before_begin")
        closed = self._run(work, write=True)
        fault_point("close.after_commit")
        return closed

    def run_of(self, pipeline_name: str, dagster_run_id: str) -> ExecutionRow | None:
        """Latest revision of the row that this Dagster run owns."""
        found = self._runs(
            "run.dagster_run_id = :run_id AND run.pipeline_name = :pipeline_name",
            {"run_id": dagster_run_id, "pipeline_name": pipeline_name},
        )
        return found[0] if found else None

    def latest_runs(self, pipeline_name: str, limit: int) -> Sequence[ExecutionRow]:
        """Latest revision of the runs that began last, newest first."""
        return self._runs(
            "run.pipeline_name = :pipeline_name",
            {"pipeline_name": pipeline_name, "limit": limit},
            "run.created_at DESC, run.epoch DESC LIMIT :limit",
        )

    def dead_runs(self, pipeline_name: str | None = None) -> Sequence[ExecutionRow]:
        """Latest revisions that say RUNNING although nobody holds their epoch now."""
        of_pipeline = "run.pipeline_name = :pipeline_name AND " if pipeline_name else ""
        return self._runs(
            f"{of_pipeline} run.pipeline_status = 'RUNNING' AND NOT EXISTS ("  # noqa: S608
            "SELECT 1 FROM {records} AS held WHERE held.pipeline_name = run.pipeline_name "
            "AND held.window_start_time = run.query_window_start_timestamp "
            "AND held.window_end_time = run.query_window_end_timestamp "
            "AND held.epoch = run.epoch AND {held})",
            {"pipeline_name": pipeline_name},
            "run.created_at, run.epoch",
        )

    def _runs(
        self, where: str, values: Mapping[str, Any], order: str = "run.epoch DESC"
    ) -> list[ExecutionRow]:
        return self._run(lambda s: s.runs(where, values, order), write=False)

    def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a named query; ConfigurationError for an unknown name or a wrong parameter."""
        query, values = named_query(self.queries, name, parameters)
        return self._run(lambda s: s.rows(query.sql, values), write=False)

"""A SQL table that windows end in: what a dialect adds, and everything that only reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Protocol

import pyarrow as pa

from pipeline_platform.config.system_fields import SqlTargetFields
from pipeline_platform.errors import PermanentError, PipelineError
from pipeline_platform.fault_points import fault_point
from pipeline_platform.movement import (
    PIPELINE_COLUMN,
    WINDOW_COLUMN,
    CommitRow,
    LoadRequest,
    Prerequisite,
    TargetCounts,
    WindowSlice,
)
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets import commits
from pipeline_platform.targets.columns import (
    TargetColumn,
    TargetTable,
    column_prerequisites,
    metadata_misfits,
)

COMMITS_SUFFIX = "_window_commits"
_OURS = f"{PIPELINE_COLUMN} = $1 AND {WINDOW_COLUMN} = $2"
COUNT_INSIDE = "SELECT count(*) FROM {table} WHERE {field} >= $1 AND {field} < $2"
_CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS {schema}"
_CREATE_TABLE = "CREATE TABLE IF NOT EXISTS {table} ({columns})"
_ADD_COLUMN = "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}"
# Two scans by an index each; one that looks at both conditions takes longer.
_COUNT_BOTH = (
    "SELECT (SELECT count(*) FROM {table} WHERE {ours}), "
    "(SELECT count(*) FROM {table} WHERE {field} >= $3 AND {field} < $4)"
)
_METADATA_COLUMNS = (PIPELINE_COLUMN + " TEXT", WINDOW_COLUMN + " TIMESTAMPTZ")


class Session(Protocol):
    """One connection in autocommit mode; parameters are bound as $1, $2 ..."""

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query."""
        ...

    def changed(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run DML; returns the number of rows it changed."""
        ...

    def run(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        ...

    def abandon(self) -> None:
        """Drop the connection, and with it a transaction that did not commit."""
        ...


class SqlTable(ABC):
    """Table and commit table of a target; a subclass adds what its dialect does differently."""

    name: str

    def __init__(self, system: SqlTargetFields, query_field: QueryField) -> None:
        self._system = system
        self._query_field = query_field
        schema = self._qualified_schema(system)
        self._names = {
            "schema": schema,
            "table": f"{schema}.{self._quote(system.table)}",
            "commits": f"{schema}.{self._quote(system.table + COMMITS_SUFFIX)}",
            "clock": self._clock,
            "in_utc": self._in_utc,
            "key": commits.KEY,
            "overlapping": commits.OVERLAPPING,
            "ours": _OURS,
            "metadata": f"{PIPELINE_COLUMN}, {WINDOW_COLUMN}",
        }

    # What a dialect adds

    _clock: str

    _in_utc = " AT TIME ZONE 'UTC'"
    """After a column of instants: gives them as UTC, with or without the zone said."""

    _keeps_nanoseconds = False
    """Its times hold nanoseconds, so staged ones lose nothing."""

    def _qualified_schema(self, system: SqlTargetFields) -> str:
        """The schema as statements name it."""
        return self._quote(system.db_schema)

    @abstractmethod
    def _quote(self, name: str) -> str:
        """A name as an identifier."""

    @abstractmethod
    def _connect(self, *, read_only: bool = False) -> AbstractContextManager[Session]:
        """A session for this block alone; the driver's errors leave it mapped to errors.py."""

    @abstractmethod
    def _mapped(self, error: Exception) -> PipelineError:
        """The platform's error for one of the driver."""

    @abstractmethod
    def _says_missing(self, error: Exception) -> bool:
        """The driver says that a table or its schema does not exist."""

    @abstractmethod
    def _is_there(self) -> bool:
        """False if there is no database yet, so nothing can be in it."""

    @abstractmethod
    def _table(self, session: Session, name: str) -> TargetTable | None:
        """The columns of a table in the target's schema; None if it does not exist."""

    @abstractmethod
    def _sql_type(self, staged: pa.DataType) -> str:
        """The column type for a staged type; PermanentError if there is none."""

    @abstractmethod
    def _total(self, quoted: str, staged: pa.DataType, column: TargetColumn) -> str:
        """The expression of a column's exact sum, by its staged type (`ColumnSummary`)."""

    @abstractmethod
    def _insert(self, session: Session, request: LoadRequest, table: TargetTable) -> None:
        """Insert all files, adding the two metadata columns; `still_ours` between files."""

    def _bounded_memory(
        self, session: Session, request: LoadRequest
    ) -> AbstractContextManager[None]:
        """Around insert and verification, where the database works in this process."""
        return nullcontext()

    @abstractmethod
    def _serialize_ddl(self, session: Session) -> None:
        """Make other processes that prepare the same table wait until this one has committed."""

    @contextmanager
    def _creating(self, session: Session) -> Iterator[None]:
        """Around the creation of what is missing: all of it or nothing, one process at a time."""
        session.run("BEGIN")
        try:
            self._serialize_ddl(session)
            yield
            session.run("COMMIT")
        except BaseException:
            with suppress(Exception):
                session.run("ROLLBACK")
            raise

    @abstractmethod
    def _has_schema(self, session: Session) -> bool:
        """The schema exists."""

    @abstractmethod
    def _index(self, session: Session, table: TargetTable | None) -> None:
        """Indexes for a table that was just created (None) or just given the two columns."""

    @abstractmethod
    def check(self) -> Sequence[Prerequisite]:
        """Reachable, table there or creatable, writable."""

    # Preparing

    def prepare(self, schema: pa.Schema) -> None:
        """Create what is missing: schema and table (if `create_table`), commit table, indexes.

        A table that exists without the platform's two columns gets them with `adopt`. Safe to
        repeat and in many processes at once. PermanentError where it may not do what is needed.
        """
        if self._is_there():
            with self._connect(read_only=True) as session:
                if self._is_prepared(session):
                    return
        with self._connect() as session, self._creating(session):
            if not self._is_prepared(session):
                fault_point("prepare.before_create")
                self._create_missing(session, schema)
        fault_point("prepare.after_create")

    def _is_prepared(self, session: Session) -> bool:
        table = self._table(session, self._system.table)
        if table is None or not table.has_metadata:
            return False
        self._refuse_wrong_metadata(table)
        return self._table(session, self._system.table + COMMITS_SUFFIX) is not None

    def _create_missing(self, session: Session, schema: pa.Schema) -> None:
        table = self._table(session, self._system.table)
        if table is None:
            self._create_table(session, schema)
        elif not table.has_metadata:
            self._refuse_wrong_metadata(table)
            if not self._system.adopt:
                raise PermanentError(
                    f"{self.name}: the table exists without the columns {PIPELINE_COLUMN} and "
                    f"{WINDOW_COLUMN}.",
                    hint="Set target_system.adopt: true to have them added, or name another table.",
                )
            for column in _METADATA_COLUMNS:
                if table.find(column.split()[0]) is None:
                    session.run(self._sql(_ADD_COLUMN, column=column))
            self._index(session, table)
        session.run(self._sql(commits.CREATE))

    def _create_table(self, session: Session, schema: pa.Schema) -> None:
        if not self._system.create_table:
            raise PermanentError(
                f"{self.name}: the table does not exist and target_system.create_table is false.",
                hint="Create it, or set target_system.create_table: true.",
            )
        if not self._has_schema(session):
            session.run(self._sql(_CREATE_SCHEMA))
        columns = [f"{self._quote(field.name)} {self._sql_type(field.type)}" for field in schema]
        session.run(self._sql(_CREATE_TABLE, columns=", ".join([*columns, *_METADATA_COLUMNS])))
        self._index(session, None)

    def _refuse_wrong_metadata(self, table: TargetTable) -> None:
        wrong = metadata_misfits(table)
        if wrong:
            raise PermanentError(
                f"{self.name}: {'; '.join(wrong)}.",
                hint="These two columns belong to the platform; name another table.",
            )

    # Reading

    def check_columns(self, schema: pa.Schema) -> Sequence[Prerequisite]:
        """Whether every staged column fits the table, or can become one."""
        table = None
        if self._is_there():
            with self._connect(read_only=True) as session:
                table = self._table(session, self._system.table)
        return column_prerequisites(schema, table, self._query_field.name, self._sql_type)

    def _check_table(self, table: TargetTable | None) -> Prerequisite:
        """The table is usable as it is, or may be created or completed."""
        if table is None:
            allowed = self._system.create_table
            return Prerequisite(
                "target table",
                allowed,
                "will be created" if allowed else "does not exist",
                "" if allowed else "Create it, or set target_system.create_table: true.",
            )
        wrong = metadata_misfits(table)
        if wrong:
            return Prerequisite("target table", False, "; ".join(wrong), "Name another table.")
        if not table.has_metadata and not self._system.adopt:
            return Prerequisite(
                "target table",
                False,
                f"exists without {PIPELINE_COLUMN} and {WINDOW_COLUMN}",
                "Set target_system.adopt: true to have them added, or name another table.",
            )
        return Prerequisite("target table", True, f"{len(table.columns)} columns")

    def commit_row(self, window: WindowSlice) -> CommitRow | None:
        """The window's commit row; None if there is none or no commit table yet."""
        if not self._is_there():
            return None
        with self._connect(read_only=True) as session:
            try:
                return self._read_commit(session, window)
            except Exception as error:
                # The driver may mean something else that the table's policies or views refer to.
                name = self._system.table + COMMITS_SUFFIX
                if not self._says_missing(error) or self._table(session, name) is not None:
                    raise
                return None

    def count(self, window: WindowSlice) -> TargetCounts:
        """Rows of the window now, both ways in one statement; 0 and 0 without a table."""
        if not self._is_there():
            return TargetCounts(0, 0)
        with self._connect(read_only=True) as session:
            table = self._table(session, self._system.table)
            return TargetCounts(0, 0) if table is None else self._count(session, table, window)

    # Small parts

    def _sql(self, template: str, **more: str) -> str:
        return template.format(**self._names, **more)

    def _field(self, table: TargetTable) -> str:
        return self._quote(table.column(self._query_field.name).name)

    def _bounds(self, table: TargetTable, window: WindowSlice) -> list[Any]:
        column = table.column(self._query_field.name)
        return list(self._query_field.bounds(window, column.arrow_type))

    def _count(self, session: Session, table: TargetTable, window: WindowSlice) -> TargetCounts:
        bounds = self._bounds(table, window)
        field = self._field(table)
        if not table.has_metadata:
            inside = session.rows(self._sql(COUNT_INSIDE, field=field), bounds)
            return TargetCounts(0, int(inside[0][0]))
        statement = self._sql(_COUNT_BOTH, field=field)
        ours, inside_too = session.rows(statement, [*ours_values(window), *bounds])[0]
        return TargetCounts(int(ours), int(inside_too))

    def _read_commit(self, session: Session, window: WindowSlice) -> CommitRow | None:
        found = session.rows(self._sql(commits.READ), commits.key_values(window))
        return commits.commit_from(window, found[0]) if found else None

    def _require_commit(self, session: Session, window: WindowSlice) -> CommitRow:
        row = self._read_commit(session, window)
        if row is None:
            raise PermanentError(
                f"{self.name}: the window {window} has no commit row.",
                hint="Materialize the target asset of this partition first.",
            )
        return row

    def _require_table(self, session: Session) -> TargetTable:
        table = self._table(session, self._system.table)
        if table is None or not table.has_metadata:
            missing = "does not exist" if table is None else "lacks the platform's two columns"
            raise PermanentError(
                f"{self.name}: the table {missing}.",
                hint="Somebody changed it since this run prepared it; run the window again.",
            )
        return table


def ours_values(window: WindowSlice) -> list[Any]:
    """Values of `{ours}`."""
    return [window.pipeline_name, window.start]

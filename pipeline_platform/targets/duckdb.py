"""A table in a DuckDB file as target.

DuckDB reads staged files of this machine itself, at full speed, and those of a bucket as a stream
of Arrow batches, for which the stage has the credentials.
"""

import glob
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline_platform.config.systems import DuckDBTarget
from pipeline_platform.connections.duckdb import bounded_memory, connect_duckdb, duckdb_error
from pipeline_platform.errors import PermanentError, PipelineError, TransientError
from pipeline_platform.movement import (
    LoadRequest,
    LoadResult,
    Prerequisite,
    WindowSlice,
)
from pipeline_platform.query_field import QueryField
from pipeline_platform.quoting import quote_duckdb
from pipeline_platform.targets.columns import (
    Kind,
    TargetColumn,
    TargetTable,
    plain_type,
    staged_kind,
)
from pipeline_platform.targets.sql_table import Session
from pipeline_platform.targets.sql_target import SqlTarget
from pipeline_platform.targets.staged_files import is_local, largest_row_group
from pipeline_platform.targets.staged_stream import StagedStream

# What a load takes at the least, and for each of DuckDB's threads beside it. Without a limit it
# takes several gigabytes for a wide table.
LOAD_MEMORY_BYTES = 48 * 2**20
GROUPS_PER_THREAD = 2
BLOCK_BYTES = 256 * 2**10

_TYPES: dict[Kind, str] = {
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "boolean": "BOOLEAN",
    "text": "VARCHAR",
    "null": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
}
_INTEGERS = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys([*_INTEGERS.values(), "HUGEINT", "UHUGEINT"], "integer"),
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BOOLEAN": "boolean",
    "VARCHAR": "text",
    "JSON": "text",
    "UUID": "normalized",
    "BLOB": "binary",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
_TOTALS: dict[Kind, str] = {
    "integer": "sum({column})",
    "decimal": "sum({column})",
    "boolean": "sum(CAST({column} AS BIGINT))",
    "text": "sum(strlen(CAST({column} AS VARCHAR)))",
    "binary": "sum(octet_length({column}))",
    "date": "sum(date_diff('day', DATE '1970-01-01', {column}))",
    "time": "sum(epoch_us({column}))",
    "timestamp": "sum(epoch_us({column}))",
    "timestamptz": "sum(epoch_us({column}))",
}
# A sum of wide decimals can exceed 38 digits, so its two halves are summed, and put together
# with the scale by the reader.
_WIDE_TOTAL = (
    "[sum({digits} // 10000000000000000000), sum({digits} % 10000000000000000000), {scale}]"
)
_WIDE_DIGITS = "CAST(replace(CAST({column} AS VARCHAR), '.', '') AS HUGEINT)"
_SAFE_PRECISION = 27

_COLUMNS = (
    "SELECT column_name, data_type, numeric_precision, numeric_scale, "
    "NOT is_nullable AND column_default IS NULL FROM duckdb_columns() "
    "WHERE database_name = current_database() AND lower(schema_name) = lower($1) "
    "AND lower(table_name) = lower($2) ORDER BY column_index"
)
_SCHEMAS = (
    "SELECT 1 FROM duckdb_schemas() "
    "WHERE database_name = current_database() AND lower(schema_name) = lower($1)"
)
_INSERT = "INSERT INTO {table} ({columns}, {metadata}) SELECT {staged}, $1, $2 FROM {files}"
_FILES = "read_parquet($3, hive_partitioning = false)"
_STREAM = "pipeline_platform_staged_rows"

# DuckDB refuses the slower one of two that create the same thing; across processes the file's
# own lock keeps them apart.
_PREPARING = threading.Lock()


class DuckDBSession:
    """One DuckDB connection; statements outside BEGIN commit by themselves."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    @property
    def threads(self) -> int:
        """How many threads DuckDB works with."""
        ((threads,),) = self.rows("SELECT current_setting('threads')")
        return int(threads)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query."""
        return self.connection.execute(statement, list(parameters)).fetchall()

    def changed(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run DML; returns the number of rows it changed."""
        return int(self.rows(statement, parameters)[0][0])

    def run(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        self.connection.execute(statement)

    def abandon(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self.connection.close()


class DuckDBTableTarget(SqlTarget):
    """Target `duckdb`. One process at a time may hold the file; others wait for it."""

    _clock = "now()"

    def __init__(self, system: DuckDBTarget, *, query_field: QueryField, base_dir: Path) -> None:
        super().__init__(system, query_field)
        self._path = system.resolved_path(base_dir)
        self._lock_timeout_seconds = system.lock_timeout_seconds
        self._need_more_memory: set[str] = set()
        self.name = f"{system.path} {system.db_schema}.{system.table}"

    def prepare(self, schema: pa.Schema) -> None:
        """As for every SQL target; one thread of this process at a time."""
        if not _PREPARING.acquire(timeout=self._lock_timeout_seconds):
            raise TransientError(f"{self.name}: another thread is preparing a table.")
        try:
            super().prepare(schema)
        finally:
            _PREPARING.release()

    def check(self) -> Sequence[Prerequisite]:
        """The file can be opened and written, the table is there or can be created."""
        if not self._path.exists():
            return [self._check_new_file()]
        try:
            with self._connect(read_only=True) as session:
                table = self._table(session, self._system.table)
        except PipelineError as error:
            return [Prerequisite.failed("target", error)]
        checks = [Prerequisite("target", True, f"{self.name} can be opened")]
        if not os.access(self._path, os.W_OK):
            checks.append(Prerequisite("target writable", False, f"{self._path} is read-only"))
        checks.append(self._check_table(table))
        return checks

    def _check_new_file(self) -> Prerequisite:
        folder = next(parent for parent in self._path.parents if parent.exists())
        if not self._system.create_table:
            return self._check_table(None)
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            return Prerequisite(
                "target", False, f"{folder} is not writable", "Check target_system.path."
            )
        return Prerequisite("target", True, f"{self._path} will be created")

    def _quote(self, name: str) -> str:
        return quote_duckdb(name)

    @contextmanager
    def _connect(self, *, read_only: bool = False) -> Iterator[DuckDBSession]:
        with connect_duckdb(
            self._path, read_only=read_only, lock_timeout_seconds=self._lock_timeout_seconds
        ) as connection:
            yield DuckDBSession(connection)

    def _mapped(self, error: Exception) -> PipelineError:
        if isinstance(error, duckdb.Error):
            return duckdb_error(error, self._path)
        return TransientError(f"{type(error).__name__}: {error}")

    def _says_missing(self, error: Exception) -> bool:
        return isinstance(error, duckdb.CatalogException)

    def _is_there(self) -> bool:
        return self._path.exists()

    def _insert_commit_row(self, session: Session, window: WindowSlice) -> None:
        """As for every target; DuckDB's ON CONFLICT does not see a row that appears meanwhile."""
        try:
            super()._insert_commit_row(session, window)
        except duckdb.ConstraintException as error:
            raise TransientError(
                f"{self.name}: another thread began to load {window} at the same moment.",
                hint="Try again.",
            ) from error

    def _has_schema(self, session: Session) -> bool:
        return bool(session.rows(_SCHEMAS, [self._system.db_schema]))

    def _table(self, session: Session, name: str) -> TargetTable | None:
        found = session.rows(_COLUMNS, [self._system.db_schema, name])
        columns = tuple(_column(*values) for values in found)
        return TargetTable(columns, str.lower) if columns else None

    def _serialize_ddl(self, session: Session) -> None:
        """Nothing: `prepare` and the file's lock do it."""

    def _index(self, session: Session, table: TargetTable | None) -> None:
        """None: DuckDB keeps the least and greatest value of each row group, which is enough."""

    def _sql_type(self, staged: pa.DataType) -> str:
        kind = staged_kind(staged)
        staged = plain_type(staged)
        if kind == "integer":
            return _INTEGERS[str(staged)]
        if kind == "decimal":
            scale = max(staged.scale, 0)
            precision = max(staged.precision - min(staged.scale, 0), scale)
            if precision > 38:
                raise PermanentError(
                    f"DuckDB has no type for {staged}: its decimals end at 38 digits.",
                    hint="Leave the column out, or cast it to text in a view of the source.",
                )
            return f"DECIMAL({precision},{scale})"
        return _TYPES[kind]

    def _total(self, quoted: str, staged: pa.DataType, column: TargetColumn) -> str:
        if column.wire_type == "wide decimal":
            digits = _WIDE_DIGITS.format(column=quoted)
            return _WIDE_TOTAL.format(digits=digits, scale=column.scale)
        return _TOTALS[staged_kind(staged)].format(column=quoted)

    def load(self, request: LoadRequest) -> LoadResult:
        """As for every SQL target, in little memory; in as much as DuckDB takes where that does
        not do."""
        known = request.manifest.hash in self._need_more_memory
        try:
            return super().load(request)
        except PipelineError:
            if known or request.manifest.hash not in self._need_more_memory:
                raise
        return super().load(request)

    @contextmanager
    def _bounded_memory(self, session: Session, request: LoadRequest) -> Iterator[None]:
        assert isinstance(session, DuckDBSession)
        if request.manifest.hash in self._need_more_memory:
            yield
            return
        per_thread = GROUPS_PER_THREAD * largest_row_group(request)
        per_thread += BLOCK_BYTES * len(request.manifest.schema)
        limit = LOAD_MEMORY_BYTES + session.threads * per_thread
        try:
            with bounded_memory(session.connection, limit):
                yield
        except duckdb.OutOfMemoryException:
            self._need_more_memory.add(request.manifest.hash)
            raise

    def _insert(self, session: Session, request: LoadRequest, table: TargetTable) -> None:
        request.still_ours()
        if not request.files:
            return
        manifest = request.manifest
        names = manifest.schema.names
        here = all(is_local(location) for location in request.files)
        statement = self._sql(
            _INSERT,
            columns=", ".join(self._quote(table.column(name).name) for name in names),
            staged=", ".join(self._quote(name) for name in names),
            files=_FILES if here else _STREAM,
        )
        values = [manifest.pipeline_name, manifest.window_start]
        if here:
            files = [glob.escape(location) for location in request.files]
            session.changed(statement, [*values, files])
            return
        assert isinstance(session, DuckDBSession)
        with StagedStream(request) as stream:
            session.connection.register(_STREAM, stream.reader)
            try:
                session.changed(statement, values)
            except duckdb.Error as error:
                raise stream.error or error from error
            session.connection.unregister(_STREAM)


def _column(
    name: str, data_type: str, precision: int | None, scale: int | None, required: bool
) -> TargetColumn:
    if data_type.startswith("DECIMAL"):
        wide = precision is not None and precision > _SAFE_PRECISION
        wire = "wide decimal" if wide else "DECIMAL"
        return TargetColumn(name, data_type, wire, "decimal", scale, required)
    kind: Kind = "text" if data_type.startswith("ENUM") else _KINDS.get(data_type, "other")
    return TargetColumn(name, data_type, data_type, kind, 0, required)

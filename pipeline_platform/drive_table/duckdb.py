"""The drive store in a DuckDB file: for one process at a time."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from pipeline_platform.config.systems import DuckDBState
from pipeline_platform.connections.duckdb import connect_duckdb
from pipeline_platform.drive_table.rows import as_json, in_utc
from pipeline_platform.drive_table.schema import Dialect
from pipeline_platform.drive_table.sql_store import SqlStore
from pipeline_platform.drive_table.statements import Session, Statements
from pipeline_platform.errors import PipelineError
from pipeline_platform.quoting import quote_duckdb

T = TypeVar("T")

_DIALECT = Dialect(
    quote=quote_duckdb,
    parameter=lambda name: f"${name}",
    types={
        "text": "VARCHAR",
        "integer": "INTEGER",
        "bigint": "BIGINT",
        "percent": "DECIMAL(9, 2)",
        "timestamp": "TIMESTAMPTZ",
        "date": "DATE",
        "json": "JSON",
        "text_array": "VARCHAR[]",
    },
    clock="now()",
    # DuckDB turns an update of an indexed column into delete and insert, which then trips over
    # the row's own primary key; and its scans do not need them.
    secondary_indexes=False,
    # Closing the file writes changed columns anew, all their rows; trying out compressions is
    # what would make a claim slower with every window in the table.
    claim_column="USING COMPRESSION 'uncompressed'",
)


class DuckDBStore(SqlStore):
    """`DriveStore` in a DuckDB file; every call opens the file and closes it again."""

    dialect = _DIALECT

    def __init__(self, state: DuckDBState, *, base_dir: Path) -> None:
        self._path = state.resolved_path(base_dir)
        self._lock_timeout_seconds = state.lock_timeout_seconds
        super().__init__(f"duckdb {state.path} {state.db_schema}", state.db_schema)

    def check(self) -> str:
        """A file that is not there yet is no problem: the first run creates it."""
        return super().check() if self._path.exists() else "the drive table will be created"

    def _run(self, work: Callable[[Statements], T], *, write: bool) -> T:
        """DuckDB does not wait for another thread's transaction, it gives up: begin again."""
        deadline = time.monotonic() + self._lock_timeout_seconds
        while True:
            try:
                return super()._run(work, write=write)
            except PipelineError as error:
                if not _is_conflict(error.__cause__) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.002, 0.02))  # noqa: S311

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        with connect_duckdb(
            self._path, read_only=not write, lock_timeout_seconds=self._lock_timeout_seconds
        ) as connection:
            connection.begin()
            yield _DuckDBSession(connection)
            connection.commit()

    def _prepare_schema(self, statements: Statements) -> None:
        schema = self.dialect.quote(self._schema)
        statements.run_as_written(f"CREATE SCHEMA IF NOT EXISTS {schema}")


def _is_conflict(error: BaseException | None) -> bool:
    """Another thread changed the same row, or inserted the same key in spite of ON CONFLICT."""
    same_key = isinstance(error, duckdb.ConstraintException) and "Duplicate key" in str(error)
    return same_key or isinstance(error, duckdb.TransactionException)


class _DuckDBSession:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        result = self._connection.execute(sql, dict(values))
        columns = [(column[0], str(column[1]) == "JSON") for column in result.description or ()]
        return [
            {
                name: as_json(value) if is_json else in_utc(value)
                for (name, is_json), value in zip(columns, row, strict=True)
            }
            for row in result.fetchall()
        ]

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        """DuckDB answers a changing statement with one row: the number of rows."""
        answer = self._connection.execute(sql, dict(values)).fetchone()
        return int(answer[0]) if answer and isinstance(answer[0], int) else 0

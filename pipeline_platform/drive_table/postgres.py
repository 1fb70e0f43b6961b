"""The drive store in PostgreSQL: for any number of processes."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.systems import PostgresState
from pipeline_platform.connections.postgres import connect_postgres
from pipeline_platform.drive_table.rows import in_utc
from pipeline_platform.drive_table.schema import Dialect
from pipeline_platform.drive_table.sql_store import SqlStore
from pipeline_platform.drive_table.statements import Session, Statements
from pipeline_platform.quoting import quote_postgres

if TYPE_CHECKING:
    import psycopg

_DIALECT = Dialect(
    # psycopg reads % in every statement.
    quote=lambda name: quote_postgres(name).replace("%", "%%"),
    parameter=lambda name: f"%({name})s",
    types={
        "text": "text",
        "integer": "integer",
        "bigint": "bigint",
        "percent": "numeric(9, 2)",
        "timestamp": "timestamptz",
        "date": "date",
        "json": "jsonb",
        "text_array": "text[]",
    },
    # now() stands still in a transaction, also while it waits for a lock.
    clock="clock_timestamp()",
    secondary_indexes=True,
)


class PostgresStore(SqlStore):
    """`DriveStore` in a PostgreSQL schema, correct at READ COMMITTED.

    A claim is one UPDATE: where two meet, the second waits for the first one's row lock, and
    PostgreSQL then tests its WHERE again on the changed row, whose epoch is another.
    """

    dialect = _DIALECT

    def __init__(self, state: PostgresState, *, base_dir: Path) -> None:
        self._connection = state
        self._base_dir = base_dir
        place = f"{state.host}:{state.port}/{state.database}"
        super().__init__(f"postgres {place} {state.db_schema}", state.db_schema)

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        with connect_postgres(
            self._connection, self._base_dir, application_name="pipeline_platform drive table"
        ) as connection:
            yield _PostgresSession(connection)

    def _prepare_schema(self, statements: Statements) -> None:
        digest = hashlib.sha256(f"pipeline_platform {self._schema}".encode()).digest()
        lock = int.from_bytes(digest[:8], "big", signed=True)
        statements.rows("SELECT pg_advisory_xact_lock(:lock) IS NULL AS locked", {"lock": lock})
        # CREATE SCHEMA IF NOT EXISTS asks for a right that it does not need if it exists.
        exists = statements.rows(
            "SELECT 1 FROM pg_namespace WHERE nspname = :schema", {"schema": self._schema}
        )
        if not exists:
            statements.run_as_written(f"CREATE SCHEMA {self.dialect.quote(self._schema)}")


class _PostgresSession:
    def __init__(self, connection: "psycopg.Connection[tuple[Any, ...]]") -> None:
        self._connection = connection

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        cursor = self._connection.execute(sql, dict(values))
        names = [column.name for column in cursor.description or ()]
        return [
            {name: in_utc(value) for name, value in zip(names, row, strict=True)}
            for row in cursor.fetchall()
        ]

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        return self._connection.execute(sql, dict(values)).rowcount

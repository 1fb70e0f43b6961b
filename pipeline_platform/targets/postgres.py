"""A PostgreSQL table as target. Staged files stream into it by binary COPY, batch by batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from pipeline_platform.config.systems import PostgresTarget
from pipeline_platform.connections.postgres import connect_postgres, postgres_error
from pipeline_platform.errors import PipelineError, TransientError
from pipeline_platform.movement import (
    PIPELINE_COLUMN,
    WINDOW_COLUMN,
    LoadRequest,
    Prerequisite,
)
from pipeline_platform.query_field import QueryField
from pipeline_platform.quoting import quote_postgres
from pipeline_platform.targets.columns import (
    Kind,
    TargetColumn,
    TargetTable,
    plain_type,
    staged_kind,
)
from pipeline_platform.targets.postgres_copy import HEADER, TRAILER, encode, timestamp_bytes
from pipeline_platform.targets.sql_table import COMMITS_SUFFIX, Session
from pipeline_platform.targets.sql_target import SqlTarget
from pipeline_platform.targets.staged_files import batches, open_file

_TYPES: dict[Kind, str] = {
    "float32": "real",
    "float64": "double precision",
    "boolean": "boolean",
    "text": "text",
    "null": "text",
    "binary": "bytea",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
}
_INTEGERS = {
    "int8": "smallint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "uint8": "smallint",
    "uint16": "integer",
    "uint32": "bigint",
    "uint64": "numeric(20,0)",
}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(["int2", "int4", "int8"], "integer"),
    "numeric": "decimal",
    "float4": "float32",
    "float8": "float64",
    "bool": "boolean",
    **dict.fromkeys(["text", "varchar", "citext", "json", "enum"], "text"),
    **dict.fromkeys(["jsonb", "uuid", "bpchar"], "normalized"),
    "bytea": "binary",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
}
_SECONDS = "sum(extract(epoch FROM {column})) * 1000000"
_TOTALS: dict[Kind, str] = {
    "integer": "sum({column})",
    "decimal": "sum({column})",
    "boolean": "sum({column}::int)",
    "text": "sum(octet_length({column}::text))",
    "binary": "sum(octet_length({column}))",
    "date": "sum({column} - DATE '1970-01-01')",
    "time": _SECONDS,
    "timestamp": _SECONDS,
    "timestamptz": _SECONDS,
}

# Domains show their base type; scale is the low 11 bits of the modifier, signed.
_COLUMNS = (
    "SELECT a.attname, format_type(a.atttypid, a.atttypmod), "
    "CASE WHEN b.typtype = 'e' THEN 'enum' ELSE b.typname END, "
    "CASE WHEN b.typname <> 'numeric' THEN 0 "
    "WHEN greatest(a.atttypmod, t.typtypmod) < 0 THEN NULL "
    "ELSE (((greatest(a.atttypmod, t.typtypmod) - 4) & 2047) # 1024) - 1024 END, "
    "a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' "
    "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid "
    "JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END "
    "WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f') "
    "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
)
_SCHEMAS = "SELECT 1 FROM pg_namespace WHERE nspname = $1"
_DDL_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_INDEX_WINDOW = f"CREATE INDEX ON {{table}} ({WINDOW_COLUMN}, {PIPELINE_COLUMN})"
_INDEX_QUERY_FIELD = "CREATE INDEX ON {table} ({field})"
_COPY = "COPY {table} ({columns}, {metadata}) FROM STDIN (FORMAT BINARY)"
_ACCESS = (
    "SELECT NOT pg_is_in_recovery(), "
    "has_database_privilege(current_database(), 'CREATE'), "
    "(SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1), "
    "(SELECT bool_and(has_table_privilege(c.oid, p)) FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace, "
    "unnest(ARRAY['SELECT', 'INSERT', 'DELETE']) p "
    "WHERE n.nspname = $1 AND c.relname = $2), "
    "(SELECT bool_and(has_table_privilege(c.oid, p)) FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace, "
    "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p "
    "WHERE n.nspname = $1 AND c.relname = $3)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class PostgresSession:
    """One connection in autocommit mode; RawCursor binds $1, $2 ... on the server."""

    def __init__(self, connection: "psycopg.Connection[tuple[Any, ...]]") -> None:
        self.connection = connection

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query."""
        with psycopg.RawCursor(self.connection) as cursor:
            cursor.execute(statement.encode(), list(parameters) or None)
            return cursor.fetchall()

    def changed(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run DML; returns the number of rows it changed."""
        with psycopg.RawCursor(self.connection) as cursor:
            cursor.execute(statement.encode(), list(parameters) or None)
            return cursor.rowcount

    def run(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        with psycopg.RawCursor(self.connection) as cursor:
            cursor.execute(statement.encode())

    def abandon(self) -> None:
        """Close the connection; the server rolls an open transaction back."""
        self.connection.close()


class PostgresTableTarget(SqlTarget):
    """Target `postgres`. Windows load side by side: locks are on rows of the commit table."""

    _clock = "clock_timestamp()"

    def __init__(self, system: PostgresTarget, *, query_field: QueryField, base_dir: Path) -> None:
        super().__init__(system, query_field)
        self._server = system
        self._base_dir = base_dir
        self.name = (
            f"postgres://{system.host}:{system.port}/{system.database} "
            f"{system.db_schema}.{system.table}"
        )

    def check(self) -> Sequence[Prerequisite]:
        """Reachable, writable, the table is there or can be created."""
        names = (self._system.table, self._system.table + COMMITS_SUFFIX)
        try:
            with self._connect(read_only=True) as session:
                access = session.rows(_ACCESS, [self._system.db_schema, *names])[0]
                table = self._table(session, self._system.table)
        except PipelineError as error:
            return [Prerequisite.failed("target", error)]
        primary, may_create_schema, may_create_table, may_load, may_commit = access
        checks = [
            Prerequisite("target", True, f"{self.name} is reachable"),
            Prerequisite("target writable", primary, "the server is a primary" if primary
                         else "the server is a read-only standby", "Name the primary."),
            self._check_table(table),
        ]  # fmt: skip
        may_create = may_create_schema if may_create_table is None else may_create_table
        needed = {
            "create the table": may_create if table is None else True,
            "create the commit table": may_create if may_commit is None else True,
            "select, insert and delete rows": may_load is not False,
            "select, insert and update the commit table": may_commit is not False,
        }
        missing = [what for what, allowed in needed.items() if not allowed]
        detail = f"{self._server.user} may not {', '.join(missing)}" if missing else "granted"
        hint = "Grant it to the role." if missing else ""
        return [*checks, Prerequisite("target privileges", not missing, detail, hint)]

    def _quote(self, name: str) -> str:
        return quote_postgres(name)

    @contextmanager
    def _connect(self, *, read_only: bool = False) -> Iterator[PostgresSession]:
        with connect_postgres(
            self._server,
            self._base_dir,
            application_name="pipeline_platform target",
            autocommit=True,
        ) as connection:
            connection.read_only = read_only
            yield PostgresSession(connection)

    def _mapped(self, error: Exception) -> PipelineError:
        if isinstance(error, psycopg.Error):
            return postgres_error(error, self._server)
        return TransientError(f"{type(error).__name__}: {error}")

    def _says_missing(self, error: Exception) -> bool:
        return isinstance(error, (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName))

    def _is_there(self) -> bool:
        return True

    def _has_schema(self, session: Session) -> bool:
        return bool(session.rows(_SCHEMAS, [self._system.db_schema]))

    def _table(self, session: Session, name: str) -> TargetTable | None:
        found = session.rows(_COLUMNS, [self._system.db_schema, name])
        columns = tuple(
            TargetColumn(column, sql_type, wire, _KINDS.get(wire, "other"), scale, required)
            for column, sql_type, wire, scale, required in found
        )
        return TargetTable(columns, str) if columns else None

    def _serialize_ddl(self, session: Session) -> None:
        session.rows(_DDL_LOCK, [f"pipeline_platform {self._names['table']}"])

    def _index(self, session: Session, table: TargetTable | None) -> None:
        session.run(self._sql(_INDEX_WINDOW))
        if table is None:
            field = self._quote(self._query_field.name)
            session.run(self._sql(_INDEX_QUERY_FIELD, field=field))

    def _sql_type(self, staged: pa.DataType) -> str:
        kind = staged_kind(staged)
        staged = plain_type(staged)
        if kind == "integer":
            return _INTEGERS[str(staged)]
        if kind == "decimal":
            scale = max(staged.scale, 0)
            return f"numeric({max(staged.precision - min(staged.scale, 0), scale)},{scale})"
        return _TYPES[kind]

    def _total(self, quoted: str, staged: pa.DataType, column: TargetColumn) -> str:
        return _TOTALS[staged_kind(staged)].format(column=quoted)

    def _insert(self, session: Session, request: LoadRequest, table: TargetTable) -> None:
        assert isinstance(session, PostgresSession)
        manifest = request.manifest
        columns = [table.column(name) for name in manifest.schema.names]
        statement = self._sql(_COPY, columns=", ".join(self._quote(c.name) for c in columns))
        start = (manifest.window_start - _EPOCH) // timedelta(microseconds=1)
        constants = [manifest.pipeline_name.encode(), timestamp_bytes(start)]
        with (
            psycopg.RawCursor(session.connection) as cursor,
            cursor.copy(statement.encode()) as copy,
        ):
            copy.write(HEADER)
            for location in request.files:
                request.still_ours()
                with open_file(location, request.open) as file:
                    for batch in batches(file):
                        for part in encode(batch, columns, constants):
                            copy.write(part)
            copy.write(TRAILER)

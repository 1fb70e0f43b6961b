"""Rows of a table or view in PostgreSQL.

Rows stream as binary COPY through ADBC. With bound parameters the driver would fetch a whole result
first (measured: 430 MB for half a million rows), so bounds become typed literals of psycopg.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pyarrow as pa
from psycopg import IsolationLevel, sql

from pipeline_platform.config import systems
from pipeline_platform.connections.postgres import (
    connect_postgres,
    postgres_conninfo,
    postgres_error,
)
from pipeline_platform.errors import PermanentError, PipelineError, TransientError
from pipeline_platform.movement import Prerequisite, Snapshot, WindowSlice
from pipeline_platform.sources.columns import (
    column_checks,
    query_field_of,
    selected_columns,
)
from pipeline_platform.sources.conversion import Conversion, FiniteRange
from pipeline_platform.sources.postgres_types import (
    Fetch,
    PostgresColumn,
    columns_of,
    find_object,
    identifier,
)

APPLICATION_NAME = "pipeline_platform source"
BATCH_BYTES = 8 << 20

# From 4713 BC; ADBC's arithmetic wraps both infinities to far below it.
_FINITE = FiniteRange(-210_866_803_200_000_000, 2**63 - 2, -2_440_588, 2**31 - 2)

_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# What the text of odd types looks like must not depend on the role's settings.
_TEXT_FORMAT = (
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL IntervalStyle = 'iso_8601'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
)


class PostgresSource:
    """One REPEATABLE READ, READ ONLY transaction per call; see `sources/base.py`.

    numeric(p, s) up to 38 digits is staged as decimal(p, s), other numeric as decimal(38, 9);
    arrays and composites as JSON text; uuid, json, inet, enums and other odd types as text. A
    numeric that does not fit exactly (NaN and infinity included), an infinite date or timestamp
    and a time of 24:00 are a DataError that names the column.
    """

    def __init__(self, system: systems.PostgresSource, *, base_dir: Path) -> None:
        self._config = system
        self._base_dir = base_dir
        schema = f"{system.db_schema}." if system.db_schema else ""
        server = f"{system.host}:{system.port}/{system.database}"
        self.name = f"postgres://{server} {schema}{system.table}"

    def check(self) -> Sequence[Prerequisite]:
        """Reachable, table, query field, columns, readable."""
        done: list[Prerequisite] = []
        step = "source reachable"
        try:
            with self._session() as fetch:
                done.append(Prerequisite(step, True, self.name))
                step = "source table"
                table, columns = self._object(fetch)
                done.append(Prerequisite(step, True, f"{len(columns)} columns"))
                done += column_checks({c.name: c.type for c in columns}, self._config)
                if all(check.passed for check in done):
                    step = "source readable"
                    nothing = sql.SQL("false")
                    fetch(self._select(table, columns, nothing))
                    done.append(Prerequisite(step, True, "select permitted"))
                    step = "change_field comparable"
                    self._change_value(fetch, table, nothing)
        except PipelineError as error:
            transient = isinstance(error, TransientError)
            hint = error.hint or "Choose a source_system.change_field that max() takes."
            done.append(Prerequisite(step, False, error.message, hint, transient))
        return done

    def count(self, window: WindowSlice) -> int:
        """One `count(*)`."""
        with self._session() as fetch:
            table, columns = self._object(fetch)
            return _count(fetch, table, self._where(columns, window))

    def change_value(self, window: WindowSlice) -> str | None:
        """One `max`."""
        if self._config.change_field is None:
            return None
        with self._session() as fetch:
            table, columns = self._object(fetch)
            return self._change_value(fetch, table, self._where(columns, window))

    @contextmanager
    def read(self, window: WindowSlice) -> Iterator[Snapshot]:
        """Kind `exact`: types, count, change value and rows are of one transaction."""
        with self._stream() as cursor:

            def fetch(query: sql.Composable) -> list[tuple[Any, ...]]:
                cursor.execute(query.as_string(None))
                return [tuple(row) for row in cursor.fetchall()]

            table, columns = self._object(fetch)
            selected = selected_columns(columns, self._config)
            conversion = Conversion(selected, _FINITE)
            where = self._where(columns, window)
            count = _count(fetch, table, where)
            change_value = self._change_value(fetch, table, where)
            cursor.execute(self._select(table, columns, where).as_string(None))
            reader = cursor.fetch_record_batch()
            try:
                yield Snapshot(
                    kind="exact",
                    count=count,
                    schema=conversion.schema,
                    batches=conversion.batches(
                        self._rows(reader), self._config.required_fields, self._config.batch_rows
                    ),
                    change_value=change_value,
                    original_names={column.staged_name: column.name for column in selected},
                )
            except BaseException:
                # Otherwise closing would fetch the rest of the rows.
                with suppress(adbc_driver_manager.Error):
                    cursor.adbc_cancel()
                raise
            finally:
                with suppress(adbc_driver_manager.Error, pa.ArrowException, OSError):
                    reader.close()

    def _rows(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            for batch in reader:
                yield _without_extensions(batch)
        except adbc_driver_manager.Error as error:
            raise postgres_error(error, self._config) from error
        except (pa.ArrowException, OSError) as error:
            # ADBC gives no SQLSTATE here; what ends a COPY half way is mostly a lost connection,
            # a shutdown or a timeout.
            text = str(error).strip().partition("\n")[0]
            raise TransientError(
                f"{self.name}: the rows broke off: {text}", hint="The window is read again."
            ) from error

    @contextmanager
    def _session(self) -> Iterator[Fetch]:
        with connect_postgres(
            self._config, self._base_dir, application_name=APPLICATION_NAME
        ) as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield lambda query: connection.execute(query.as_bytes(connection)).fetchall()

    @contextmanager
    def _stream(self) -> Iterator["adbc_driver_postgresql.dbapi.Cursor"]:
        """A cursor inside the snapshot; leaving cancels what still runs and ends the session."""
        conninfo = postgres_conninfo(
            self._config, self._base_dir, application_name=APPLICATION_NAME
        )
        options = {"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
        try:
            with (
                closing(adbc_driver_postgresql.dbapi.connect(conninfo, autocommit=True)) as session,
                closing(session.cursor(adbc_stmt_kwargs=options)) as cursor,
            ):
                for statement in (_SNAPSHOT, *_TEXT_FORMAT):
                    cursor.execute(statement)
                yield cursor
        except adbc_driver_manager.Error as error:
            raise postgres_error(error, self._config) from error

    def _object(self, fetch: Fetch) -> tuple[sql.Composable, list[PostgresColumn]]:
        found = find_object(fetch, self._config.db_schema, self._config.table)
        if found is None:
            raise PermanentError(
                f"{self.name} does not exist.",
                hint="Check source_system.schema and source_system.table, and that the role may "
                "use the schema.",
            )
        return _table(*found), columns_of(fetch, *found)

    def _where(self, columns: list[PostgresColumn], window: WindowSlice) -> sql.Composable:
        selected_columns(columns, self._config)
        name = self._config.query_field
        kind = next(column.type for column in columns if column.name == name)
        lower, upper = query_field_of(self._config).bounds(window, kind)
        return sql.SQL("{field} >= {lower} AND {field} < {upper}").format(
            field=identifier(name), lower=sql.Literal(lower), upper=sql.Literal(upper)
        )

    def _select(
        self, table: sql.Composable, columns: list[PostgresColumn], where: sql.Composable
    ) -> sql.Composable:
        expressions = {column.name: column.expression for column in columns}
        selected = selected_columns(columns, self._config)
        return sql.SQL("SELECT {} FROM {} WHERE {}").format(
            sql.SQL(", ").join(expressions[column.name] for column in selected), table, where
        )

    def _change_value(
        self, fetch: Fetch, table: sql.Composable, where: sql.Composable
    ) -> str | None:
        if self._config.change_field is None:
            return None
        field = identifier(self._config.change_field)
        ((value,),) = fetch(
            sql.SQL("SELECT max({})::text FROM {} WHERE {}").format(field, table, where)
        )
        return None if value is None else str(value)


def _table(schema: str, name: str) -> sql.Composable:
    return sql.SQL("{}.{}").format(identifier(schema), identifier(name))


def _count(fetch: Fetch, table: sql.Composable, where: sql.Composable) -> int:
    ((rows,),) = fetch(sql.SQL("SELECT count(*) FROM {} WHERE {}").format(table, where))
    return int(rows)


def _without_extensions(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Types that Arrow does not know come wrapped, e.g. text of a domain."""
    arrays = [
        array.storage if isinstance(array, pa.ExtensionArray) else array for array in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[str(n) for n in range(len(arrays))])

"""Rows of a table or view in a DuckDB file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline_platform.config import systems
from pipeline_platform.connections.duckdb import connect_duckdb, duckdb_error, forget_blocks
from pipeline_platform.errors import PermanentError, PipelineError
from pipeline_platform.movement import Prerequisite, Snapshot, WindowSlice
from pipeline_platform.quoting import quote_duckdb
from pipeline_platform.sources.columns import (
    ObjectColumn,
    column_checks,
    query_field_of,
    selected_columns,
)
from pipeline_platform.sources.conversion import Conversion, FiniteRange

_FINITE = FiniteRange(-(2**63) + 2, 2**63 - 2, -(2**31) + 2, 2**31 - 2)

_NATIVE = frozenset(
    ("boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger",
     "ubigint", "float", "double", "decimal", "blob", "date", "time", "timestamp", "timestamp_ns",
     "timestamp with time zone")
)  # fmt: skip
_NESTED = frozenset(("list", "struct", "map", "array", "union", "variant"))
_HUGE = frozenset(("hugeint", "uhugeint"))

_FIND = """
SELECT database_name, schema_name, object_name FROM (
    SELECT database_name, schema_name, table_name AS object_name FROM duckdb_tables()
    UNION ALL
    SELECT database_name, schema_name, view_name FROM duckdb_views()
) WHERE database_name = current_database()
    AND lower(schema_name) = lower(coalesce(?, current_schema()))
    AND lower(object_name) = lower(?)
"""


# DuckDB keeps what it read of a file, up to most of the machine's memory.
_FORGET_AFTER_BYTES = 32 * 2**20


class DuckDBSource:
    """One read-only connection and one transaction per call; see `sources/base.py`.

    Huge integers are staged as decimal(38, 0), nested values as JSON text, second and millisecond
    timestamps as microseconds; what has no exact staged type is text. Infinite dates and
    timestamps, and integers beyond 38 digits, are a DataError that names the column.
    """

    def __init__(self, system: systems.DuckDBSource, *, base_dir: Path) -> None:
        self._config = system
        self._path = system.resolved_path(base_dir)
        schema = f"{system.db_schema}." if system.db_schema else ""
        self.name = f"duckdb://{self._path} {schema}{system.table}"

    def check(self) -> Sequence[Prerequisite]:
        """Reachable, table, query field, columns."""
        done: list[Prerequisite] = []
        step = "source reachable"
        try:
            with self._transaction() as connection:
                done.append(Prerequisite(step, True, self.name))
                step = "source table"
                table = self._table(connection)
                columns = self._columns(connection, table)
                done.append(Prerequisite(step, True, f"{len(columns)} columns"))
                done += column_checks({c.name: c.type for c, _ in columns}, self._config)
                if self._config.change_field in [c.name for c, _ in columns]:
                    step = "change_field comparable"
                    self._change_value(connection, table, "false")
        except PipelineError as error:
            done.append(Prerequisite.failed(step, error))
        return done

    def count(self, window: WindowSlice) -> int:
        """One `count(*)`."""
        with self._transaction() as connection:
            table = self._table(connection)
            where = self._bind(connection, self._columns(connection, table), window)
            return _count(connection, table, where)

    def change_value(self, window: WindowSlice) -> str | None:
        """One `max`."""
        if self._config.change_field is None:
            return None
        with self._transaction() as connection:
            table = self._table(connection)
            where = self._bind(connection, self._columns(connection, table), window)
            return self._change_value(connection, table, where)

    @contextmanager
    def read(self, window: WindowSlice) -> Iterator[Snapshot]:
        """Kind `exact`: count, change value and rows are of one transaction."""
        with self._transaction() as connection:
            table = self._table(connection)
            found = self._columns(connection, table)
            selected = selected_columns([column for column, _ in found], self._config)
            conversion = Conversion(selected, _FINITE)
            where = self._bind(connection, found, window)
            count = _count(connection, table, where)
            change_value = self._change_value(connection, table, where)
            expressions = {column.name: expression for column, expression in found}
            listed = ", ".join(expressions[column.name] for column in selected)
            query = " ".join(("SELECT", listed, "FROM", table, "WHERE", where))
            reader = connection.sql(query).to_arrow_reader(self._config.batch_rows)
            try:
                yield Snapshot(
                    kind="exact",
                    count=count,
                    schema=conversion.schema,
                    batches=conversion.batches(
                        self._rows(connection, reader),
                        self._config.required_fields,
                        self._config.batch_rows,
                    ),
                    change_value=change_value,
                    original_names={column.staged_name: column.name for column in selected},
                )
            finally:
                reader.close()

    def _rows(
        self, connection: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader
    ) -> Iterator[pa.RecordBatch]:
        read = 0
        try:
            for batch in reader:
                yield batch
                read += batch.nbytes
                if read >= _FORGET_AFTER_BYTES:
                    forget_blocks(connection, self._path)
                    read = 0
        except (pa.ArrowException, OSError) as error:
            raise duckdb_error(duckdb.Error(str(error)), self._path) from error

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with connect_duckdb(
            self._path, read_only=True, lock_timeout_seconds=self._config.lock_timeout_seconds
        ) as connection:
            # A table name must never be taken for a variable of this program.
            connection.execute("SET python_enable_replacements = false")
            connection.execute("BEGIN TRANSACTION READ ONLY")
            yield connection

    def _table(self, connection: duckdb.DuckDBPyConnection) -> str:
        """The quoted full name of what the catalog has; never a file of that name."""
        config = self._config
        found = connection.execute(_FIND, [config.db_schema, config.table]).fetchall()
        if not found:
            raise PermanentError(
                f"{self.name} does not exist.",
                hint="Check source_system.schema and source_system.table.",
            )
        return ".".join(quote_duckdb(part) for part in found[0])

    def _columns(
        self, connection: duckdb.DuckDBPyConnection, table: str
    ) -> list[tuple[ObjectColumn, str]]:
        """Each column with the expression that reads it."""
        relation = connection.sql(" ".join(("SELECT * FROM", table)))
        kinds = dict(zip(relation.columns, relation.types, strict=True))
        expressions = {name: _expression(name, kind) for name, kind in kinds.items()}
        probe = " ".join(("SELECT", ", ".join(expressions.values()), "FROM", table, "LIMIT 0"))
        with connection.sql(probe).to_arrow_reader(1) as reader:
            types = list(reader.schema.types)
        return [
            (ObjectColumn(name, pa.decimal128(38, 0) if kind.id in _HUGE else given), expression)
            for (name, kind), given, expression in zip(
                kinds.items(), types, expressions.values(), strict=True
            )
        ]

    def _bind(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: list[tuple[ObjectColumn, str]],
        window: WindowSlice,
    ) -> str:
        """The condition; its values are variables of the session.

        A lazy, streaming result takes no parameters in DuckDB 1.5.
        """
        found = [column for column, _ in columns]
        selected_columns(found, self._config)
        kind = next(c.type for c in found if c.name == self._config.query_field)
        lower, upper = query_field_of(self._config).bounds(window, kind)
        connection.execute("SET VARIABLE lower_bound = ?", [lower])
        connection.execute("SET VARIABLE upper_bound = ?", [upper])
        field = quote_duckdb(self._config.query_field)
        return " ".join(
            (field, ">= getvariable('lower_bound') AND", field, "< getvariable('upper_bound')")
        )

    def _change_value(
        self, connection: duckdb.DuckDBPyConnection, table: str, where: str
    ) -> str | None:
        if self._config.change_field is None:
            return None
        field = quote_duckdb(self._config.change_field)
        query = ("SELECT CAST(max(", field, ") AS VARCHAR) FROM", table, "WHERE", where)
        ((value,),) = connection.execute(" ".join(query)).fetchall()
        return None if value is None else str(value)


def _count(connection: duckdb.DuckDBPyConnection, table: str, where: str) -> int:
    query = " ".join(("SELECT count(*) FROM", table, "WHERE", where))
    ((rows,),) = connection.execute(query).fetchall()
    return int(rows)


def _expression(name: str, kind: "duckdb.sqltypes.DuckDBPyType") -> str:
    quoted = quote_duckdb(name)
    if kind.id in _NATIVE or (kind.id == "varchar" and str(kind) == "VARCHAR"):
        return quoted
    if kind.id in ("timestamp_s", "timestamp_ms"):
        return f"CAST({quoted} AS TIMESTAMP)"
    if kind.id in _NESTED:
        return f"CAST(to_json({quoted}) AS VARCHAR)"
    return f"CAST({quoted} AS VARCHAR)"

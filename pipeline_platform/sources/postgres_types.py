"""The types of a PostgreSQL object's columns, from the catalog, and how each is read exactly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from psycopg import sql

from pipeline_platform.quoting import quote_postgres
from pipeline_platform.sources.columns import ObjectColumn

# Runs one query and returns its rows, over whichever driver.
Fetch = Callable[[sql.Composable], list[tuple[Any, ...]]]

DECIMAL_DIGITS = 38
UNCONSTRAINED_SCALE = 9

_NATIVE: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}

_FIND = sql.SQL("""
SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname::text = {table} AND {schema}
""")
_IN_SEARCH_PATH = sql.SQL("pg_catalog.pg_table_is_visible(c.oid)")
_IN_SCHEMA = sql.SQL("n.nspname::text = {}")

# Domains are followed down to the type below them.
_COLUMNS = sql.SQL("""
WITH RECURSIVE typed AS (
    SELECT a.attnum, a.attname, a.atttypid AS type_id, a.atttypmod AS modifier
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname::text = {schema} AND c.relname::text = {table}
        AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT typed.attnum, typed.attname, t.typbasetype,
        CASE WHEN typed.modifier = -1 THEN t.typtypmod ELSE typed.modifier END
    FROM typed JOIN pg_catalog.pg_type t ON t.oid = typed.type_id
    WHERE t.typtype = 'd'
)
SELECT typed.attname::text, typed.modifier, t.typname::text, n.nspname::text,
    t.typtype::text, t.typcategory::text
FROM typed
JOIN pg_catalog.pg_type t ON t.oid = typed.type_id
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype <> 'd' ORDER BY typed.attnum
""")


@dataclass(frozen=True)
class PostgresColumn(ObjectColumn):
    """`expression` reads the column; numbers with a decimal point come as text."""

    expression: sql.Composable


def identifier(name: str) -> sql.Composable:
    """A name as psycopg composes it, quoted by the one function for PostgreSQL."""
    return sql.SQL(quote_postgres(name))


def find_object(fetch: Fetch, schema: str | None, table: str) -> tuple[str, str] | None:
    """Schema and name of a table or view; without a schema the search path decides."""
    where = _IN_SCHEMA.format(sql.Literal(schema)) if schema is not None else _IN_SEARCH_PATH
    found = fetch(_FIND.format(table=sql.Literal(table), schema=where))
    return (found[0][0], found[0][1]) if found else None


def columns_of(fetch: Fetch, schema: str, table: str) -> list[PostgresColumn]:
    """All columns, in the object's order."""
    query = _COLUMNS.format(schema=sql.Literal(schema), table=sql.Literal(table))
    return [
        _column(name, modifier, type_name, type_schema == "pg_catalog", kind, category)
        for name, modifier, type_name, type_schema, kind, category in fetch(query)
    ]


def _column(
    name: str, modifier: int, type_name: str, built_in: bool, kind: str, category: str
) -> PostgresColumn:
    quoted = identifier(name)
    if built_in and type_name in _NATIVE:
        return PostgresColumn(name, _NATIVE[type_name], quoted)
    as_text = sql.SQL("{}::text").format(quoted)
    if built_in and type_name == "numeric":
        return PostgresColumn(name, _decimal(modifier), as_text)
    if category == "A" or kind == "c":
        return PostgresColumn(
            name, pa.string(), sql.SQL("pg_catalog.to_json({})::text").format(quoted)
        )
    return PostgresColumn(name, pa.string(), as_text)


def _decimal(modifier: int) -> pa.Decimal128Type:
    """numeric(p, s) as it is; without limits, or beyond 38 digits, the nearest that exists.

    Values that do not fit exactly are refused when they come.
    """
    if modifier < 0:
        return pa.decimal128(DECIMAL_DIGITS, UNCONSTRAINED_SCALE)
    precision = ((modifier - 4) >> 16) & 0xFFFF
    # A signed number of 11 bits: numeric(5, -2) rounds to hundreds, numeric(2, 4) is below 0.01.
    scale = (((modifier - 4) & 0x7FF) ^ 0x400) - 0x400
    digits = max(precision - min(scale, 0), scale)
    return pa.decimal128(min(digits, DECIMAL_DIGITS), min(max(scale, 0), DECIMAL_DIGITS))

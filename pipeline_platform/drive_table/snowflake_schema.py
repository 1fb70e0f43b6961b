"""Snowflake's dialect of the drive table, and its migrations."""

from collections.abc import Callable, Mapping

from pipeline_platform.drive_table.schema import (
    DRIVE_COLUMNS,
    EXECUTION_DRIVE,
    EXECUTION_LOG,
    LOG_TYPES,
    MIGRATIONS,
    RECORD_TYPES,
    RECORDS,
    Dialect,
    Migration,
)
from pipeline_platform.quoting import quote_snowflake

WRITE_LOCK = "pipeline_write_lock"

# Not correlated: Snowflake refuses some subqueries that are. It reads three narrow columns.
_LATEST_REVISION = """
    (run.pipeline_id, run.epoch, run.revision) IN (
        SELECT pipeline_id, epoch, revision FROM {log}
        QUALIFY ROW_NUMBER() OVER (PARTITION BY pipeline_id ORDER BY epoch DESC, revision DESC) = 1
    )"""

DIALECT = Dialect(
    quote=quote_snowflake,
    parameter=lambda name: "?",
    types={
        "text": "VARCHAR",
        "integer": "NUMBER(10, 0)",
        "bigint": "NUMBER(19, 0)",
        "percent": "NUMBER(9, 2)",
        "timestamp": "TIMESTAMP_TZ",
        "date": "DATE",
        "json": "VARIANT",
        "text_array": "ARRAY",
    },
    # The time of the statement's start, which is after the transaction got the write lock.
    clock="CURRENT_TIMESTAMP()",
    secondary_indexes=False,
    lease_end="DATEADD('microsecond', :lease, {clock})",
    latest=_LATEST_REVISION,
    json_member=lambda value, name: f"{value}['{name}']",
)


def snowflake_migrations(table: Callable[[str], str]) -> tuple[Migration, ...]:
    """All migrations, oldest first.

    Snowflake commits every DDL statement by itself, so each may be run again: by a process that
    started together with this one, or after one that died between two of them.
    """
    return (Migration(1, "records, execution log, execution drive", _first(table)),)


def migration_table(table: Callable[[str], str]) -> str:
    """The table of applied migrations."""
    types = DIALECT.types
    return (
        f"CREATE TABLE IF NOT EXISTS {table(MIGRATIONS)} (version {types['integer']} NOT NULL, "
        f"description {types['text']} NOT NULL, applied_at {types['timestamp']} NOT NULL)"
    )


def write_lock(table: Callable[[str], str]) -> tuple[str, ...]:
    """The table whose one row every writing transaction updates first.

    Should two processes put a row into it at once, both rows are updated, and nothing is lost.
    """
    lock = table(WRITE_LOCK)
    return (
        f"CREATE TABLE IF NOT EXISTS {lock} (id {DIALECT.types['integer']} NOT NULL, "
        f"taken_at {DIALECT.types['timestamp']} NOT NULL)",
        f"INSERT INTO {lock} (id, taken_at) SELECT 1, {DIALECT.clock} "  # noqa: S608
        f"WHERE NOT EXISTS (SELECT 1 FROM {lock})",
    )


def _first(table: Callable[[str], str]) -> tuple[str, ...]:
    log = table(EXECUTION_LOG)
    drive_columns = ", ".join(f"run.{column}" for column in DRIVE_COLUMNS)
    # No primary keys: Snowflake would not enforce them, and a reader would rely on them.
    return (
        f"CREATE TABLE IF NOT EXISTS {table(RECORDS)} ({_columns(RECORD_TYPES)})",
        f"CREATE TABLE IF NOT EXISTS {log} ({_columns(LOG_TYPES)})",
        f"CREATE VIEW IF NOT EXISTS {table(EXECUTION_DRIVE)} AS SELECT {drive_columns} "  # noqa: S608
        f"FROM {log} AS run WHERE {_LATEST_REVISION.format(log=log)}",
    )


def _columns(types: Mapping[str, str]) -> str:
    columns = []
    for name, kind in types.items():
        of_type, _, rest = kind.partition(" ")
        column = f"{name} {DIALECT.types[of_type]} {rest.upper()}"
        if name == "id":
            column += " AUTOINCREMENT START 1 INCREMENT 1 NOORDER"
        columns.append(column.rstrip())
    return ", ".join(columns)

"""The rows that every benchmark moves: twelve mixed columns, the same in DuckDB and PostgreSQL."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb

from pipeline_platform_tests.servers.postgres import Database

FIRST_DAY = datetime(2024, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)

# One list of columns, so that both systems hold equal rows: i is the row's number in its day.
_COLUMNS = (
    ("id", "BIGINT", "{first} + i"),
    ("placed_at", "TIMESTAMPTZ", "{day} + i * {step}"),
    ("updated_at", "TIMESTAMPTZ", "{day} + (i % 86400) * INTERVAL '1 second'"),
    ("customer_id", "INTEGER", "CAST((i * 7919) % 50000 AS INTEGER)"),
    ("quantity", "SMALLINT", "CAST(i % 100 AS SMALLINT)"),
    ("amount", "DECIMAL(12, 2)", "CAST((i * 31) % 10000000 AS DECIMAL(12, 2)) / 100"),
    (
        "rate",
        "DECIMAL(18, 6)",
        "CASE WHEN i % 3 = 0 THEN NULL "
        "ELSE CAST((i * 17) % 1000000 AS DECIMAL(18, 6)) / 1000000 END",
    ),
    ("weight", "DOUBLE PRECISION", "CAST((i * 13) % 100000 AS DOUBLE PRECISION) / 7"),
    ("paid", "BOOLEAN", "i % 4 <> 0"),
    (
        "due_on",
        "DATE",
        "CASE WHEN i % 10 = 0 THEN NULL ELSE DATE '2024-01-01' + CAST(i % 365 AS INTEGER) END",
    ),
    ("status", "TEXT", "CASE i % 4 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' WHEN 2 THEN 'sent' "
                       "ELSE 'returned' END"),
    ("note", "TEXT", "CASE WHEN i % 5 = 0 THEN NULL ELSE 'note ' || md5(CAST(i AS TEXT)) END"),
)  # fmt: skip
COLUMN_COUNT = len(_COLUMNS)


def key_of_day(number: int) -> str:
    """The partition key of a day, counted from the first one."""
    return (FIRST_DAY + number * DAY).strftime("%Y-%m-%d")


def create_duckdb_rows(path: Path, rows_of_days: list[int]) -> None:
    """Table `orders` with so many rows in each of the days from FIRST_DAY on."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE orders ({_definitions()})")
        for number, rows in enumerate(rows_of_days):
            connection.execute(
                f"INSERT INTO orders SELECT {_expressions(number, rows, rows_of_days)} "
                f"FROM range({rows}) AS numbers(i)"
            )


def create_postgres_rows(database: Database, rows_of_days: list[int]) -> None:
    """The same table in PostgreSQL, with an index on the query field, analyzed."""
    with database.connect() as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute(f"CREATE TABLE orders ({_definitions()})".encode())
        for number, rows in enumerate(rows_of_days):
            connection.execute(
                f"INSERT INTO orders SELECT {_expressions(number, rows, rows_of_days)} "
                f"FROM generate_series(0::bigint, {rows} - 1) AS numbers(i)".encode()
            )
        connection.execute("CREATE INDEX ON orders (placed_at)")
        connection.execute("VACUUM ANALYZE orders")
        connection.execute("CHECKPOINT")


def _definitions() -> str:
    return ", ".join(f"{name} {kind}" for name, kind, _ in _COLUMNS)


def _expressions(number: int, rows: int, rows_of_days: list[int]) -> str:
    day = f"TIMESTAMPTZ '{(FIRST_DAY + number * DAY).isoformat()}'"
    step = f"(INTERVAL '1 day' / {max(rows, 1)})"
    first = sum(rows_of_days[:number])
    return ", ".join(
        expression.format(first=first, day=day, step=step) for _, _, expression in _COLUMNS
    )

"""The drive store in Snowflake: for any number of processes."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline_platform.config.snowflake import SnowflakeState
from pipeline_platform.connections.snowflake import connect_snowflake
from pipeline_platform.connections.snowflake_session import SnowflakeSession
from pipeline_platform.drive_table.migrate import applied_version
from pipeline_platform.drive_table.rows import in_utc
from pipeline_platform.drive_table.schema import Migration
from pipeline_platform.drive_table.snowflake_queries import SNOWFLAKE_QUERIES
from pipeline_platform.drive_table.snowflake_schema import (
    DIALECT,
    WRITE_LOCK,
    migration_table,
    snowflake_migrations,
    write_lock,
)
from pipeline_platform.drive_table.snowflake_statements import SnowflakeStatements
from pipeline_platform.drive_table.sql_store import SqlStore
from pipeline_platform.drive_table.statements import Session, Statements
from pipeline_platform.errors import PermanentError, PipelineError, TransientError
from pipeline_platform.quoting import fold_snowflake

T = TypeVar("T")

_DOES_NOT_EXIST = 2003
# A lock that did not come free, and a transaction that was ended for a deadlock.
_LOCKED = (625, 639)


class SnowflakeStore(SqlStore):
    """`DriveStore` in a Snowflake schema, correct whatever an UPDATE does that had to wait.

    Locks are on tables and INSERT takes none, so a transaction that writes first updates the row
    of `pipeline_write_lock`: from there to its COMMIT no other one writes. Whatever it reads and
    decides on comes in later statements, which see all that was committed before they began.
    Reading takes no lock.
    """

    dialect = DIALECT
    statements = SnowflakeStatements
    queries = SNOWFLAKE_QUERIES

    def __init__(self, state: SnowflakeState, *, base_dir: Path) -> None:
        self._connection = state
        self._base_dir = base_dir
        place = f"{state.account}/{state.database}"
        super().__init__(f"snowflake {place} {state.db_schema}", state.db_schema)

    def _table(self, name: str) -> str:
        return f"{self.dialect.quote(self._connection.database)}.{super()._table(name)}"

    def _all_migrations(self) -> tuple[Migration, ...]:
        return snowflake_migrations(self._table)

    def _run(self, work: Callable[[Statements], T], *, write: bool) -> T:
        """A transaction that lost against another one's lock is begun again, for a while."""
        deadline = time.monotonic() + self._connection.lock_timeout_seconds
        while True:
            try:
                return super()._run(work, write=write)
            except TransientError as error:
                if _number(error) not in _LOCKED or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.02, 0.2))  # noqa: S311

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        with connect_snowflake(self._connection, self._base_dir) as connection:
            if not write:
                yield _Session(connection)
                return
            connection.run("BEGIN")
            self._take_write_lock(connection)
            try:
                yield _Session(connection)
            except PipelineError:
                # Ours, not the driver's: the connection is well, and others wait for the lock.
                with suppress(Exception):
                    connection.run("ROLLBACK")
                raise
            connection.run("COMMIT")

    def _take_write_lock(self, connection: SnowflakeSession) -> None:
        lock = self._table(WRITE_LOCK)
        taken = connection.changed(f"UPDATE {lock} SET taken_at = {self.dialect.clock}")  # noqa: S608
        if not taken:
            raise PermanentError(
                f"The table {lock} is empty, so nobody can write to the drive table.",
                hint=f"INSERT INTO {lock} VALUES (1, CURRENT_TIMESTAMP())",  # noqa: S608
            )

    def migrate(self) -> None:
        """One look when the schema is up to date; else what is missing.

        Every statement may be run again, and a migration's row is written after its last one.
        """
        if self._version() < self._migrations[-1].version:
            self._run(self._prepare_schema, write=False)
            for migration in self._migrations[self._version() :]:
                self._run(partial(_apply, migration), write=False)
                self._run(partial(_record, migration), write=True)

    def _version(self) -> int:
        known = self._migrations
        try:
            return self._run(lambda s: applied_version(s, self._schema, known), write=False)
        except PermanentError as error:
            if _number(error) != _DOES_NOT_EXIST:
                raise
            return 0

    def _prepare_schema(self, statements: Statements) -> None:
        database, schema = self._connection.database, self._schema
        # CREATE SCHEMA IF NOT EXISTS asks for a right that it does not need if it exists.
        exists = statements.rows(
            f"SELECT 1 FROM {self.dialect.quote(database)}.information_schema.schemata "  # noqa: S608
            "WHERE schema_name = :schema",
            {"schema": fold_snowflake(schema)},
        )
        if not exists:
            quoted = f"{self.dialect.quote(database)}.{self.dialect.quote(schema)}"
            statements.run_as_written(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        for statement in (migration_table(self._table), *write_lock(self._table)):
            statements.run_as_written(statement)


class _Session:
    def __init__(self, connection: SnowflakeSession) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {name: in_utc(value) for name, value in row.items()}
            for row in self._connection.records(sql, list(values.values()))
        ]

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        return self._connection.changed(sql, list(values.values()))


def _apply(migration: Migration, statements: Statements) -> None:
    for statement in migration.statements:
        statements.run_as_written(statement)


def _record(migration: Migration, statements: Statements) -> None:
    statements.change(
        "INSERT INTO {migrations} (version, description, applied_at) "
        "SELECT :version, :description, {clock} "
        "WHERE NOT EXISTS (SELECT 1 FROM {migrations} WHERE version = :version)",
        {"version": migration.version, "description": migration.description},
    )


def _number(error: PipelineError) -> int | None:
    """Snowflake's number of the driver's error behind one of ours."""
    return getattr(error.__cause__, "errno", None)

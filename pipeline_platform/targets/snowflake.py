"""A table in Snowflake as target. Files are copied beside it first, so that its lock is held
briefly.

Snowflake enforces no primary key, its INSERTs do not wait for each other, and whether an UPDATE
that waited looks at its rows anew is nowhere promised. So every transaction begins by updating one
row of the commit table that all of them update: from there on only one of them is at work on this
table, and each of its statements sees all that was committed before.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_platform.config.snowflake import SnowflakeTarget
from pipeline_platform.config.system_fields import SqlTargetFields
from pipeline_platform.connections.snowflake import connect_snowflake
from pipeline_platform.connections.snowflake_errors import snowflake_error
from pipeline_platform.connections.snowflake_session import SnowflakeSession, query_tag
from pipeline_platform.errors import (
    ConfigurationError,
    PermanentError,
    PipelineError,
    TransientError,
)
from pipeline_platform.execution import pipeline_id
from pipeline_platform.movement import (
    AttemptPath,
    CommitRow,
    LoadRequest,
    LoadResult,
    Prerequisite,
    WindowSlice,
)
from pipeline_platform.query_field import QueryField
from pipeline_platform.quoting import fold_snowflake, quote_snowflake
from pipeline_platform.targets import commits, snowflake_load, snowflake_types
from pipeline_platform.targets.columns import TargetColumn, TargetTable
from pipeline_platform.targets.snowflake_load import Copied, LoadTable, load_table
from pipeline_platform.targets.sql_table import COMMITS_SUFFIX, Session
from pipeline_platform.targets.sql_target import SqlTarget

_DOES_NOT_EXIST = 2003

_DESCRIBE = "DESCRIBE TABLE {schema}.{name}"
_SCHEMAS = "SELECT count(*) FROM {database}.INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = $1"
_STAGES = "SHOW STAGES IN SCHEMA {schema}"
# The row that every transaction updates first; no pipeline has this name. More than one, by two
# processes at once, would do as well: whoever came later updates both.
_INSERT_LOCK_ROW = (
    "INSERT INTO {commits} (pipeline_name, window_start, window_end, epoch, updated_at) "
    "SELECT '', '1970-01-01 00:00:00 +0000'::TIMESTAMP_TZ, "
    "'1970-01-01 00:00:00 +0000'::TIMESTAMP_TZ, 0, {clock} "
    "WHERE NOT EXISTS (SELECT 1 FROM {commits} WHERE pipeline_name = '')"
)
_TAKE_LOCK = "UPDATE {commits} SET updated_at = {clock} WHERE pipeline_name = ''"
_INSERT_COMMIT_ROW = (
    "INSERT INTO {commits} (pipeline_name, window_start, window_end, epoch, updated_at) "
    "SELECT $1, $2, $3, 0, {clock} WHERE NOT EXISTS (SELECT 1 FROM {commits} WHERE {key})"
)
_INSERT = "INSERT INTO {table} ({columns}, {metadata}) SELECT {values}, $1, $2 FROM {load}"
_NAME_PART = re.compile(r'"(?:[^"]|"")+"|[^."]+')


class SnowflakeTableTarget(SqlTarget):
    """Target `snowflake`. Windows copy side by side; their short transactions follow each other."""

    _clock = "CURRENT_TIMESTAMP()"
    _in_utc = ""
    _keeps_nanoseconds = True

    def __init__(self, system: SnowflakeTarget, *, query_field: QueryField, base_dir: Path) -> None:
        super().__init__(system, query_field)
        self._account = system
        self._base_dir = base_dir
        self._external_stage = _stage_name(system)
        self.name = (
            f"snowflake://{system.account}/{fold_snowflake(system.database)} "
            f"{fold_snowflake(system.db_schema)}.{fold_snowflake(system.table)}"
        )

    # What Snowflake does differently

    def _qualified_schema(self, system: SqlTargetFields) -> str:
        assert isinstance(system, SnowflakeTarget)
        return f"{quote_snowflake(system.database)}.{quote_snowflake(system.db_schema)}"

    def _quote(self, name: str) -> str:
        return quote_snowflake(name)

    def _connect(self, *, read_only: bool = False) -> AbstractContextManager[SnowflakeSession]:
        return connect_snowflake(self._account, self._base_dir)

    def _mapped(self, error: Exception) -> PipelineError:
        if hasattr(error, "errno") and hasattr(error, "sqlstate"):
            return snowflake_error(error, self._account)
        return TransientError(f"{type(error).__name__}: {error}")

    def _says_missing(self, error: Exception) -> bool:
        return getattr(error, "errno", None) == _DOES_NOT_EXIST

    def _is_there(self) -> bool:
        return True

    def _has_schema(self, session: Session) -> bool:
        statement = self._sql(_SCHEMAS, database=self._quote(self._account.database))
        return bool(session.rows(statement, [fold_snowflake(self._account.db_schema)])[0][0])

    def _table(self, session: Session, name: str) -> TargetTable | None:
        assert isinstance(session, SnowflakeSession)
        try:
            found = session.records(self._sql(_DESCRIBE, name=self._quote(name)))
        except Exception as error:
            if self._says_missing(error):
                return None
            raise
        return snowflake_types.table_from(found)

    def _require_table(self, session: Session) -> TargetTable:
        """As it was before BEGIN: DESCRIBE counts as DDL, which would end the transaction."""
        assert isinstance(session, SnowflakeSession)
        table: TargetTable = session.remembered["table"]
        return table

    def _sql_type(self, staged: pa.DataType) -> str:
        return snowflake_types.sql_type(staged)

    def _total(self, quoted: str, staged: pa.DataType, column: TargetColumn) -> str:
        return snowflake_types.total(quoted, staged)

    # Preparing and checking

    @contextmanager
    def _creating(self, session: Session) -> Iterator[None]:
        """No transaction, DDL would end it: each statement creates only what is missing."""
        yield

    def _serialize_ddl(self, session: Session) -> None:
        """Nothing: CREATE ... IF NOT EXISTS is atomic."""

    def _index(self, session: Session, table: TargetTable | None) -> None:
        """None: Snowflake keeps the least and greatest value of each micro-partition."""

    def check(self) -> Sequence[Prerequisite]:
        """The login, role and warehouse work; schema, table and stage are there or creatable."""
        try:
            with self._connect(read_only=True) as session:
                schema = self._has_schema(session)
                table = self._table(session, self._system.table) if schema else None
                stage = self._check_stage(session)
        except PipelineError as error:
            return [Prerequisite.failed("target", error)]
        creatable = schema or self._system.create_table
        place = f"{fold_snowflake(self._account.database)}.{fold_snowflake(self._system.db_schema)}"
        return [
            Prerequisite("target", True, f"{self.name} is reachable"),
            Prerequisite(
                "target schema",
                creatable,
                f"{place} is there" if schema
                else f"{place} will be created" if creatable
                else f"{place} does not exist, or the role may not see it",
                "" if creatable else "Create it and grant USAGE on it to the role, or set "
                "target_system.create_table: true.",
            ),
            self._check_table(table),
            *stage,
        ]  # fmt: skip

    def _check_stage(self, session: SnowflakeSession) -> list[Prerequisite]:
        if self._external_stage is None:
            return []
        schema, name = self._external_stage
        shown = self._account.external_stage
        hint = "Create it, and grant USAGE on it to the role (docs/snowflake.md)."
        try:
            found = session.records(_STAGES.format(schema=schema))
        except Exception as error:
            if not self._says_missing(error):
                raise
            found = []
        urls = [str(row["url"]) for row in found if _exactly(str(row["name"])) == name]
        if not urls:
            detail = f"{shown} does not exist, or the role may not see it"
            return [Prerequisite("target stage", False, detail, hint)]
        if not urls[0]:
            detail = f"{shown} is an internal stage"
            hint = "Name an external one, or leave external_stage out."
            return [Prerequisite("target stage", False, detail, hint)]
        return [Prerequisite("target stage", True, f"{shown} reads {urls[0]}")]

    # Moving a window

    def load(self, request: LoadRequest) -> LoadResult:
        """As for every SQL target; before its transaction the files are copied beside the table.

        Also VerificationError: COPY counted other rows in a file than the manifest. Tables that
        older attempts left behind are dropped after the commit.
        """
        window = request.manifest.attempt.window
        with self._tagged(window, request.epoch):
            try:
                result = super().load(request)
            except BaseException:
                self._drop_load_tables(request, older=False)
                raise
            self._drop_load_tables(request, older=request.epoch > 1)
            return result

    def store_audit(self, window: WindowSlice, epoch: int, audit_result: str) -> CommitRow:
        """As for every SQL target."""
        with self._tagged(window, epoch):
            return super().store_audit(window, epoch, audit_result)

    def delete_window(self, window: WindowSlice, epoch: int) -> int:
        """As for every SQL target."""
        with self._tagged(window, epoch):
            return super().delete_window(window, epoch)

    def _before_load(self, session: Session, request: LoadRequest, window: WindowSlice) -> None:
        """Copies the files beside the table; then as for every SQL target."""
        assert isinstance(session, SnowflakeSession)
        table = super()._require_table(session)
        self._refuse_misfits(request.manifest, table)
        session.remembered["table"] = table
        request.still_ours()
        if request.manifest.rows:
            load = self._load_table(request)
            snowflake_load.create(session, load, request)
            session.remembered["copied"] = snowflake_load.fill(
                session,
                load,
                request,
                external_stage=".".join(self._external_stage) if self._external_stage else None,
                parallel=self._account.put_parallel,
            )
        super()._before_load(session, request, window)

    def _insert(self, session: Session, request: LoadRequest, table: TargetTable) -> None:
        request.still_ours()
        if not request.manifest.rows:
            return
        manifest = request.manifest
        columns = [(self._quote(name), table.column(name)) for name in manifest.schema.names]
        statement = self._sql(
            _INSERT,
            columns=", ".join(self._quote(column.name) for _, column in columns),
            values=", ".join(snowflake_types.from_staged(*pair) for pair in columns),
            load=self._load_table(request).quoted,
        )
        session.changed(statement, [manifest.pipeline_name, manifest.window_start])

    def _load_details(self, session: Session) -> dict[str, Any]:
        assert isinstance(session, SnowflakeSession)
        copied: Copied = session.remembered.get("copied", Copied())
        return {**copied.details(), "query_ids": session.ids()}

    def _begin(self, session: Session) -> None:
        """Also takes the table's lock; waits for it, at most `lock_timeout_seconds`."""
        super()._begin(session)
        if session.changed(self._sql(_TAKE_LOCK)):
            return
        session.run("ROLLBACK")
        session.changed(self._sql(_INSERT_LOCK_ROW))
        super()._begin(session)
        if not session.changed(self._sql(_TAKE_LOCK)):
            raise PermanentError(
                f"{self.name}: the row to lock in {self._system.table}{COMMITS_SUFFIX} is missing.",
                hint="Grant the role SELECT, INSERT and UPDATE on that table.",
            )

    def _lock_overlapping(self, session: Session, window: WindowSlice) -> None:
        """Nothing: the transaction holds the lock that all of them need."""

    def _insert_commit_row(self, session: Session, window: WindowSlice) -> None:
        if self._read_commit(session, window) is not None:
            return
        self._begin(session)
        try:
            session.changed(self._sql(_INSERT_COMMIT_ROW), commits.key_values(window))
            session.run("COMMIT")
        except BaseException:
            with suppress(Exception):
                session.run("ROLLBACK")
            raise

    # Load tables

    def drop_load_tables(self, attempts: Sequence[AttemptPath]) -> int:
        """As for every target."""
        if not attempts:
            return 0
        schema, table = self._names["schema"], self._system.table
        loads = [load_table(schema, table, one.window, one.epoch) for one in attempts]
        with self._connect() as session:
            if not self._has_schema(session):
                return 0
            return snowflake_load.drop_those(session, schema, table, loads)

    def _load_table(self, request: LoadRequest) -> LoadTable:
        window = request.manifest.attempt.window
        return load_table(self._names["schema"], self._system.table, window, request.epoch)

    def _drop_load_tables(self, request: LoadRequest, *, older: bool) -> None:
        """This attempt's, and those of older ones; what cannot be dropped now, a later load does.

        Older attempts are known to be fenced only after a commit.
        """
        window = request.manifest.attempt.window
        with suppress(Exception), self._connect() as session:
            if request.manifest.rows:
                snowflake_load.drop(session, self._load_table(request))
            if older:
                schema, table = self._names["schema"], self._system.table
                snowflake_load.drop_older(session, schema, table, window, request.epoch)

    @staticmethod
    def _tagged(window: WindowSlice, epoch: int) -> AbstractContextManager[None]:
        run = pipeline_id(window.pipeline_name, window.start, epoch)
        start = window.start.strftime("%Y-%m-%dT%H:%M:%SZ")
        return query_tag(pipeline=window.pipeline_name, window=start, run=run)


def _stage_name(system: SnowflakeTarget) -> tuple[str, str] | None:
    """Schema and name of the external stage, each in quotes."""
    if system.external_stage is None:
        return None
    parts = [
        part[1:-1].replace('""', '"') if part.startswith('"') else part.upper()
        for part in _NAME_PART.findall(system.external_stage)
    ]
    around = [fold_snowflake(system.database), fold_snowflake(system.db_schema)]
    parts = [*around[: max(3 - len(parts), 0)], *parts]
    if len(parts) != 3:
        raise ConfigurationError(
            f"external_stage {system.external_stage!r} is not [database.][schema.]name."
        )
    database, schema, name = (_exactly(part) for part in parts)
    return f"{database}.{schema}", name


def _exactly(stored: str) -> str:
    """A stored name as an identifier, not folded."""
    escaped = stored.replace('"', '""')
    return f'"{escaped}"'

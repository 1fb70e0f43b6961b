"""A schema of the account that the points may do anything in, and that goes when they are done."""

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

from pipeline_platform.config.snowflake import SnowflakeState, SnowflakeTarget
from pipeline_platform.connections.snowflake import close_idle_connections, connect_snowflake
from pipeline_platform.connections.snowflake_session import SnowflakeSession
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.query_field import QueryField
from pipeline_platform.quoting import quote_snowflake
from pipeline_platform.targets import build_target
from pipeline_platform.targets.base import Target

T = TypeVar("T")


class Scratch:
    """One schema with a name of its own; `connection` has the fields of a Snowflake connection."""

    def __init__(
        self, connection: Mapping[str, Any], base_dir: Path, external_stage: str | None
    ) -> None:
        self.schema = f"pipeline_platform_verify_{uuid.uuid4().hex[:10]}"
        self.external_stage = external_stage
        self.base_dir = base_dir
        self.folder = base_dir
        self._connection = dict(connection)
        self._store: DriveStore | None = None
        state = self.state()
        # Only the server that tests start is reached without TLS.
        self.is_test_server = state.protocol == "http"
        self.rounds, self.at_once = (1, 4) if self.is_test_server else (3, 8)
        self.account = f"{state.account}/{state.database}"

    @contextmanager
    def open(self) -> Iterator[None]:
        """Create the schema, and `folder` on this machine; drop both at the end."""
        schema = self.name()
        with self.session() as session:
            session.run(f"CREATE SCHEMA {schema}")
        try:
            with tempfile.TemporaryDirectory(prefix="pipeline-platform-verify-") as folder:
                self.folder = Path(folder)
                yield
        finally:
            with self.session() as session:
                session.run(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            close_idle_connections()

    def name(self, table: str | None = None, schema: str | None = None) -> str:
        """The schema's, or a table's, whole quoted name."""
        database = self._connection["database"]
        parts = [database, schema or self.schema, *([table] if table else [])]
        return ".".join(map(quote_snowflake, parts))

    def state(self, **changes: Any) -> SnowflakeState:
        """The config of a drive table here."""
        fields = {**self._connection, "type": "snowflake", "schema": self.schema, **changes}
        return SnowflakeState.model_validate(fields)

    def target_system(self, table: str) -> dict[str, Any]:
        """The target section of a pipeline's config for a table here."""
        return {**self._connection, "type": "snowflake", "schema": self.schema, "table": table}

    def target(self, table: str, query_field: QueryField) -> Target:
        """The target connector for a table here."""
        system = SnowflakeTarget.model_validate(self.target_system(table))
        return build_target(system, query_field=query_field, base_dir=self.base_dir)

    @property
    def store(self) -> DriveStore:
        """The drive table here, migrated."""
        if self._store is None:
            self._store = self.new_store()
            self._store.migrate()
        return self._store

    def new_store(self, schema: str | None = None) -> DriveStore:
        """A store as another process has it; not migrated."""
        changes = {"schema": schema} if schema else {}
        return build_store(self.state(**changes), base_dir=self.base_dir)

    def session(self, **changes: Any) -> AbstractContextManager[SnowflakeSession]:
        """A new connection; `changes` are to its settings."""
        return connect_snowflake(self.state(**changes), self.base_dir, reuse=False)


def together(actions: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Each in a thread of its own, all begun at once: what it returned or raised."""
    barrier = Barrier(len(actions))

    def begun(action: Callable[[], T]) -> T | Exception:
        barrier.wait(60)
        try:
            return action()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(begun, actions))

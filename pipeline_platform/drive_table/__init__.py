"""State of all pipelines: one drive store, chosen by the kind of database."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError

STORES: Mapping[str, str] = {
    "duckdb": "pipeline_platform.drive_table.duckdb:DuckDBStore",
    "postgres": "pipeline_platform.drive_table.postgres:PostgresStore",
    "snowflake": "pipeline_platform.drive_table.snowflake:SnowflakeStore",
}


def build_store(state: StateSystem, *, base_dir: Path) -> DriveStore:
    """The store for a `state` config; nothing is opened yet.

    `base_dir` is where relative paths count from. ConfigurationError for an unknown kind.
    """
    if state.type not in STORES:
        raise ConfigurationError(
            f"There is no drive store {state.type!r}.", hint=f"There are: {', '.join(STORES)}."
        )
    module, _, name = STORES[state.type].partition(":")
    return cast(DriveStore, getattr(import_module(module), name)(state, base_dir=base_dir))

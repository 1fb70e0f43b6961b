"""Where windows end: one file per system, all with the protocol of `base.py`."""

from pathlib import Path

from pipeline_platform.config.systems import TargetSystem
from pipeline_platform.connectors import build_connector
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets.base import Target

TARGETS: dict[str, str] = {
    "duckdb": "pipeline_platform.targets.duckdb:DuckDBTableTarget",
    "postgres": "pipeline_platform.targets.postgres:PostgresTableTarget",
    "snowflake": "pipeline_platform.targets.snowflake:SnowflakeTableTarget",
}


def build_target(system: TargetSystem, *, query_field: QueryField, base_dir: Path) -> Target:
    """The connector that a config's `target_system` names; nothing is connected yet.

    `query_field` is under its staged name. `base_dir` is where relative paths count from. A class
    of one's own is called as `Class(system, query_field=..., base_dir=...)`. ConfigurationError if
    it cannot be imported.
    """
    target: Target = build_connector(system, TARGETS, base_dir=base_dir, query_field=query_field)
    return target

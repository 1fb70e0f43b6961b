"""Where windows end: one file per system, all with the protocol of `base.py`."""

from importlib import import_module
from pathlib import Path
from typing import cast

from pipeline_platform.config.systems import TargetSystem
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets.base import Target

TARGETS: dict[str, str] = {
    "duckdb": "pipeline_platform.targets.duckdb:DuckDBTableTarget",
    "postgres": "pipeline_platform.targets.postgres:PostgresTableTarget",
}


def build_target(system: TargetSystem, *, query_field: QueryField, base_dir: Path) -> Target:
    """The connector that a config's `target_system` names; nothing is connected yet.

    `query_field` is under its staged name. `base_dir` is where relative paths count from. A class
    of one's own is called as `Class(system, query_field=..., base_dir=...)`. ConfigurationError if
    it cannot be imported.
    """
    path = TARGETS.get(system.type, system.type)
    module, _, name = path.partition(":")
    try:
        connector = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"target_system.type {system.type!r} cannot be imported: {error}.",
            hint="Name a known target "
            f"({', '.join(TARGETS)}) or `package.module:Class`, and install what it needs.",
        ) from error
    return cast(Target, connector(system, query_field=query_field, base_dir=base_dir))

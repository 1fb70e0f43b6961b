"""Dagster projects in a folder of their own, loaded by name as a user's is."""

import os
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import yaml

from benchmarks.data import key_of_day
from benchmarks.world import World
from pipeline_platform.component import DriveTable
from pipeline_platform.drive_table.io_manager import DRIVE_TABLE
from pipeline_platform.project import Project, find_project
from pipeline_platform.runner import run_window, wishes

_DEFINITIONS = """
from pathlib import Path
import dagster as dg
from pipeline_platform import load_defs_folder

@dg.definitions
def defs():
    return dg.Definitions.merge(
        load_defs_folder(Path(__file__).parent),
        dg.Definitions(executor=dg.in_process_executor),
    )
"""
_INSTANCE = "telemetry: {enabled: false}\n"


def write_project(
    folder: Path, state: Mapping[str, Any], configs: Sequence[Mapping[str, Any]]
) -> str:
    """Files of a project with a drive table and one component per config; returns its package."""
    package = f"bench_{uuid.uuid4().hex[:8]}"
    settings = (
        f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{package}"\n'
    )
    _write(folder / "pyproject.toml", settings)
    _write(folder / "dagster.yaml", _INSTANCE)
    _write(folder / package / "__init__.py", "")
    _write(folder / package / "definitions.py", _DEFINITIONS)
    _component(folder / package / "defs" / "drive_table", "DriveTable", state)
    for config in configs:
        name = config["pipeline_metadata"]["pipeline_name"]
        _component(folder / package / "defs" / name, "WindowedPipeline", config)
    return package


def state_of(world: World) -> Mapping[str, Any]:
    """Attributes of the drive table component for the state of this world."""
    if world.database is None:
        return {"type": "duckdb", "path": "warehouse.duckdb"}
    return {"type": "postgres", **world.database.as_config()}


def _component(folder: Path, kind: str, attributes: Mapping[str, Any]) -> None:
    content = {"type": f"pipeline_platform.{kind}", "attributes": dict(attributes)}
    _write(folder / "defs.yaml", yaml.safe_dump(content))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@contextmanager
def project_of(world: World, **changes: Any) -> Iterator[tuple[Project, dg.DagsterInstance]]:
    """The world's pipeline as a loaded project, and an instance with SQLite storage."""
    write_project(world.folder, state_of(world), [world.config(**changes)])
    project = find_project(world.folder)
    with (
        patch.dict(os.environ, {"DAGSTER_HOME": str(world.folder)}),
        warnings.catch_warnings(),
        project.instance() as instance,
    ):
        warnings.simplefilter("ignore", dg.PreviewWarning)
        try:
            yield project, instance
        finally:
            sys.path.remove(str(world.folder))


def run_first_window(project: Project, instance: dg.DagsterInstance) -> str:
    """Move the first window of `orders` through Dagster, by force; returns the run's id."""
    window = project.pipeline("orders").pipeline.windows.window_of_key(key_of_day(0))
    result = run_window(project, "orders", window, instance, tags=wishes(force=True))
    assert result.success, result.reason
    assert result.row is not None
    return result.row.dagster_run_id


@dataclass(frozen=True)
class Tick:
    """What one tick of a sensor gave: windows it wants run, and the cursor for the next one."""

    requested: int
    cursor: str | None


def tick(project: Project, instance: dg.DagsterInstance, cursor: str | None = None) -> Tick:
    """One tick of the sensor of `orders`, as the code server makes it for the daemon."""
    repository = project.definitions.get_repository_def()
    sensor = repository.get_sensor_def("orders_due_windows")
    [table] = project.components.get_all_components(of_type=DriveTable)
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=repository,
        resources={DRIVE_TABLE: table.io_manager},
    )
    done = sensor.evaluate_tick(context)
    return Tick(len(done.run_requests or ()), done.cursor)

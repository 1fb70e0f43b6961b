"""The Dagster project that a command works in: found upwards from a folder, loaded once."""

import importlib
import os
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import dagster as dg

from pipeline_platform.component import DriveTable, WindowedPipeline
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Project:
    """A folder whose pyproject.toml has `[tool.dg.project]`."""

    root: Path
    root_module: str

    @cached_property
    def components(self) -> dg.ComponentTree:
        """The components below the project's `defs/`."""
        self._importable()
        return dg.ComponentTree.for_project(self.root)

    def pipelines(self) -> dict[str, WindowedPipeline]:
        """All pipelines by name."""
        found = self.components.get_all_components(of_type=WindowedPipeline)
        return {component.pipeline.name: component for component in found}

    def pipeline(self, name: str) -> WindowedPipeline:
        """One pipeline; ConfigurationError lists the others if there is none of that name."""
        pipelines = self.pipelines()
        if name not in pipelines:
            known = ", ".join(sorted(pipelines)) or "none"
            raise ConfigurationError(
                f"There is no pipeline {name!r} in {self.root}.", hint=f"Known: {known}."
            )
        return pipelines[name]

    def store(self) -> DriveStore:
        """The drive store of the project."""
        tables = self.components.get_all_components(of_type=DriveTable)
        if len(tables) != 1:
            raise ConfigurationError(
                f"{self.root} has {len(tables)} components of type pipeline_platform.DriveTable.",
                hint="It needs exactly one, e.g. defs/drive_table/defs.yaml.",
            )
        return tables[0].io_manager.store

    def definitions(self) -> dg.Definitions:
        """What the Dagster UI loads: `definitions.py` of the root module."""
        self._importable()
        module = importlib.import_module(f"{self.root_module}.definitions")
        found = getattr(module, "defs", None)
        loaded = found() if callable(found) else found
        if not isinstance(loaded, dg.Definitions):
            raise ConfigurationError(
                f"{self.root_module}.definitions has no `defs`.",
                hint="Define it as a new Dagster project does: a function `defs` decorated "
                "with @dg.definitions.",
            )
        return loaded

    def job(self, pipeline_name: str) -> dg.JobDefinition:
        """The job of one pipeline, the same as in the UI."""
        name = self.pipeline(pipeline_name).job_name
        return self.definitions().resolve_job_def(name)

    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance: DAGSTER_HOME if set, else the project's own folder.

        Never a temporary one by accident: a project without dagster.yaml is a ConfigurationError.
        """
        if not os.environ.get("DAGSTER_HOME"):
            if not (self.root / "dagster.yaml").exists():
                raise ConfigurationError(
                    f"DAGSTER_HOME is not set and {self.root} has no dagster.yaml.",
                    hint="Set DAGSTER_HOME, or put a dagster.yaml beside pyproject.toml.",
                )
            os.environ["DAGSTER_HOME"] = str(self.root)
        return dg.DagsterInstance.get()

    def _importable(self) -> None:
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))


def find_project(start: Path) -> Project:
    """The nearest project upwards from `start`; ConfigurationError if there is none."""
    for folder in [start.resolve(), *start.resolve().parents]:
        file = folder / "pyproject.toml"
        if file.exists():
            settings = tomllib.loads(file.read_text()).get("tool", {}).get("dg", {})
            module = settings.get("project", {}).get("root_module")
            if module:
                return Project(folder, module)
    raise ConfigurationError(
        f"No Dagster project found in {start} or above it.",
        hint="A project is a folder whose pyproject.toml has [tool.dg.project] root_module.",
    )


@lru_cache(maxsize=1)
def _project_at(root: str) -> Project:
    return find_project(Path(root))


def reconstruct_job(root: str, pipeline_name: str) -> dg.JobDefinition:
    """The job, for `dg.build_reconstructable_job`; both arguments are plain text."""
    return _project_at(root).job(pipeline_name)

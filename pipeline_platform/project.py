"""The Dagster project that a command works in: found upwards from a folder, loaded once."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_platform.component import DriveTable, PipelineOff, WindowedPipeline
from pipeline_platform.config.layout import ProjectLayout, find_layout
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.loading import notes_left_out

DAGSTER_YAML = "dagster.yaml"


@dataclass(frozen=True)
class Project:
    """A Dagster project on this machine. What it loads, it loads once.

    A config that is wrong is a ConfigurationError, whatever Dagster wraps around it.
    """

    layout: ProjectLayout

    @property
    def root(self) -> Path:
        """The folder of its pyproject.toml."""
        return self.layout.root

    @cached_property
    def definitions(self) -> dg.Definitions:
        """What the Dagster UI loads: `definitions.py` of the root module."""
        with self._loading():
            module = importlib.import_module(f"{self.layout.root_module}.definitions")
            found = getattr(module, "defs", None)
            loaded = found() if callable(found) else found
        if not isinstance(loaded, dg.Definitions):
            raise ConfigurationError(
                f"{self.layout.root_module}.definitions has no `defs`.",
                hint="Define it as a new Dagster project does: a function `defs` decorated "
                "with @dg.definitions.",
            )
        return loaded

    @cached_property
    def components(self) -> dg.ComponentTree:
        """The components below the project's `defs/`.

        They are not taken from `definitions`, which take seconds where Dagster lists every
        component type that is installed. But `definitions.py` is imported first: it may set
        variables that the components ask for.
        """
        with self._loading():
            importlib.import_module(f"{self.layout.root_module}.definitions")
            tree = dg.ComponentTree.for_project(self.root)
            tree.load_root_component()
        return tree

    @cached_property
    def _all_pipelines(self) -> Sequence[WindowedPipeline]:
        with self._loading():
            return self.components.get_all_components(of_type=WindowedPipeline)

    @cached_property
    def pipelines(self) -> Mapping[str, WindowedPipeline]:
        """All pipelines that are not off, by name; ConfigurationError if two have the same."""
        found: dict[str, WindowedPipeline] = {}
        for component in self._all_pipelines:
            if isinstance(component, PipelineOff):
                continue
            other = found.setdefault(component.pipeline.name, component)
            if other is not component:
                raise ConfigurationError(
                    f"Two pipelines are called {component.pipeline.name}: in {other.loaded.path} "
                    f"and in {component.loaded.path}.",
                    hint="Give one of them another pipeline_metadata.pipeline_name.",
                )
        return found

    def pipeline(self, name: str) -> WindowedPipeline:
        """One pipeline; ConfigurationError lists the others if there is none of that name."""
        off = {one.name for one in self._all_pipelines if isinstance(one, PipelineOff)}
        if name in off and name not in self.pipelines:
            raise ConfigurationError(
                f"The pipeline {name!r} is off.",
                hint="Its pipeline_metadata.enabled is false, or a variable that it asks for is "
                "not set.",
            )
        if name not in self.pipelines:
            known = ", ".join(sorted(self.pipelines)) or "none"
            raise ConfigurationError(
                f"There is no pipeline {name!r} in {self.root}.", hint=f"Known: {known}."
            )
        return self.pipelines[name]

    @cached_property
    def store(self) -> DriveStore:
        """The drive store of the project."""
        with self._loading():
            return DriveTable.require_one(self.components.load_context).io_manager.store

    def job(self, pipeline_name: str) -> dg.JobDefinition:
        """The job of one pipeline, the same as in the UI."""
        name = self.pipeline(pipeline_name).job_name
        with self._loading():
            return self.definitions.resolve_job_def(name)

    def instance(self) -> dg.DagsterInstance:
        """Dagster's instance: DAGSTER_HOME if set, else the nearest folder with a dagster.yaml.

        Never a temporary one by accident: a project without either is a ConfigurationError.
        """
        home = os.environ.get("DAGSTER_HOME")
        if not home:
            folders = (self.root, *self.root.parents)
            found = next((one for one in folders if (one / DAGSTER_YAML).exists()), None)
            if found is None:
                raise ConfigurationError(
                    f"DAGSTER_HOME is not set, and there is no {DAGSTER_YAML} in {self.root} or "
                    "above it.",
                    hint="Set DAGSTER_HOME, or put a dagster.yaml beside pyproject.toml.",
                )
            os.environ["DAGSTER_HOME"] = str(found)
        elif not (Path(home).is_absolute() and Path(home).is_dir()):
            raise ConfigurationError(
                f"DAGSTER_HOME is {home}, which is not the absolute path of a folder.",
                hint="Set it to the folder of your dagster.yaml, or unset it.",
            )
        try:
            return dg.DagsterInstance.get()
        except Exception as error:
            raise ConfigurationError(
                f"Dagster cannot open its instance in {os.environ['DAGSTER_HOME']}: {error}",
                hint=f"Check the storage in its {DAGSTER_YAML}.",
            ) from error

    @contextmanager
    def _loading(self) -> Iterator[None]:
        if str(self.layout.import_folder) not in sys.path:
            sys.path.insert(0, str(self.layout.import_folder))
        try:
            with notes_left_out():
                yield
        except PipelineError:
            raise
        except Exception as error:
            causes = list(_causes(error))
            for cause in causes:
                if isinstance(cause, PipelineError):
                    raise cause from None
            raise ConfigurationError(
                f"The project {self.root} cannot be loaded: "
                f"{type(causes[-1]).__name__}: {causes[-1]}",
                hint="`dg check yaml` and `dg check defs` show more.",
            ) from error


def find_project(start: Path) -> Project:
    """The nearest project upwards from `start`; ConfigurationError if there is none."""
    return _project_at(find_layout(start))


@lru_cache(maxsize=1)
def _project_at(layout: ProjectLayout) -> Project:
    return Project(layout)


def reconstruct_job(root: str, pipeline_name: str) -> dg.JobDefinition:
    """The job, for `dg.build_reconstructable_job`; both arguments are plain text."""
    return find_project(Path(root)).job(pipeline_name)


def resolve_templates(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Attributes of a component with `{{ env.NAME }}` in them resolved, as Dagster does it.

    ConfigurationError if one cannot be resolved from the environment alone.
    """
    try:
        context = dg.ResolutionContext.default()
        resolved: Mapping[str, Any] = context.resolve_value(dict(attributes), as_type=dict)
    except Exception as error:
        raise ConfigurationError(
            f"A template cannot be resolved: {list(_causes(error))[-1]}.",
            hint="Set the variable; other templates only `dg check defs` can check.",
        ) from error
    return resolved


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, outermost first."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__

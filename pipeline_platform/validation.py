"""Checks of configs and of the systems they name, before anything is moved."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.config.attributes import load_file
from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.partitions import partitions_definition, refuse_key_mismatch
from pipeline_platform.project import Project

CONFIG_NAMES = ("defs.yaml", "config.yaml", "config.yml", "config.json")


@dataclass(frozen=True)
class Finding:
    """One line of `validate`: where, and what is right or wrong with it."""

    where: str
    passed: bool
    text: str


def validate_project(project: Project, *, connect: bool) -> Iterator[Finding]:
    """All pipelines of the project."""
    for name, component in sorted(project.pipelines().items()):
        yield from validate_pipeline(component.pipeline, name, connect=connect)


def validate_path(path: Path, *, connect: bool) -> Iterator[Finding]:
    """A config file, a defs.yaml, or every one of them below a folder."""
    files = [path]
    if path.is_dir():
        files = sorted(file for name in CONFIG_NAMES for file in path.rglob(name))
    if not files:
        raise ConfigurationError(
            f"There is no config in {path}.", hint=f"Looked for {', '.join(CONFIG_NAMES)}."
        )
    for file in files:
        where = str(file.relative_to(path.parent if path.is_dir() else file.parent))
        try:
            for loaded in load_file(file):
                pipeline = Pipeline(loaded.config, loaded.base_dir)
                yield from validate_pipeline(pipeline, where, connect=connect)
        except ConfigurationError as error:
            yield Finding(where, False, str(error))


def validate_pipeline(pipeline: Pipeline, where: str, *, connect: bool) -> Iterator[Finding]:
    """The windows against Dagster's, then the prerequisites of source, stage and target."""
    try:
        refuse_key_mismatch(pipeline.windows, partitions_definition(pipeline.windows))
    except ConfigurationError as error:
        yield Finding(where, False, str(error))
        return
    yield Finding(where, True, f"config of pipeline {pipeline.name} is valid")
    if not connect:
        return
    for part in ("source", "stage", "target"):
        try:
            for check in getattr(pipeline, part).check():
                text = f"{part}: {check.name}: {check.detail}"
                yield Finding(where, check.passed, text if check.passed else f"{text} {check.hint}")
        except PipelineError as error:
            yield Finding(where, False, f"{part}: {error}")

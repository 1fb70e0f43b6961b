"""Checks of configs and of the systems they name, before anything is moved."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_platform.config.attributes import (
    DEFS_FILE,
    DRIVE_TABLE_TYPE,
    PIPELINE_TYPE,
    load_attributes,
    load_state,
    read_defs,
    switched_off,
)
from pipeline_platform.config.load import LoadedConfig, load_config, project_folder, shown_path
from pipeline_platform.config.problems import ConfigFileError, example_of
from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.source import unverified_connections
from pipeline_platform.movement import Prerequisite
from pipeline_platform.partitions import partitions_definition, refuse_key_mismatch
from pipeline_platform.project import Project, resolve_templates

CONFIG_NAMES = ("config.yaml", "config.yml", "config.json")
# The setting that a failed prerequisite is about, where its name does not say so.
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "source reachable": ("host", "path"),
    "source table": ("table",),
    "source readable": ("user", "table"),
    "change_field comparable": ("change_field",),
    "stage writable": ("path",),
    "target": ("host", "path"),
    "target writable": ("host", "path"),
    "target table": ("table",),
    "target privileges": ("user",),
}


@dataclass(frozen=True)
class Finding:
    """One line of `validate`: where, and what is right or wrong with it."""

    where: str
    passed: bool
    text: str


def validate_project(project: Project, *, connect: bool) -> Iterator[Finding]:
    """All configs of the project, then whether Dagster can load them together."""
    failed = False
    for finding in validate_path(project.layout.defs_folder, connect=connect):
        failed = failed or not finding.passed
        yield finding
    if failed:
        return
    try:
        _ = project.definitions
        for name in project.pipelines:
            project.job(name)
        names = ", ".join(sorted(project.pipelines)) or "none"
        yield Finding(shown_path(project.root), True, f"Dagster loads the pipelines: {names}")
        if connect:
            yield Finding(project.store.name, True, project.store.check())
    except PipelineError as error:
        yield Finding(shown_path(project.root), False, str(error))


def validate_path(path: Path, *, connect: bool) -> Iterator[Finding]:
    """A config file, a defs.yaml, or every one of them below a folder.

    ConfigurationError if there is none.
    """
    files = [path] if path.is_file() else sorted(path.rglob(DEFS_FILE))
    if not files:
        files = sorted(file for name in CONFIG_NAMES for file in path.rglob(name))
    if not files:
        raise ConfigurationError(
            f"There is no config in {shown_path(path)}.",
            hint=f"Looked for {', '.join((DEFS_FILE, *CONFIG_NAMES))}.",
        )
    for file in files:
        try:
            if file.name == DEFS_FILE:
                yield from _validate_defs(file, connect=connect)
            else:
                yield from _validate_config(load_config(file), connect=connect)
        except ConfigurationError as error:
            yield from _findings_of(error, shown_path(file))


def _validate_defs(file: Path, *, connect: bool) -> Iterator[Finding]:
    documents = read_defs(file)
    if not documents:
        yield Finding(shown_path(file), False, f"the file is empty. Example: type: {PIPELINE_TYPE}")
    for document in documents:
        values = document.values if isinstance(document.values, Mapping) else {}
        at = document.locations.find(["type"])
        where = f"{shown_path(file)}:{at.line}" if at else shown_path(file)
        try:
            yield from _validate_component(values, file, where, connect=connect)
        except ConfigurationError as error:
            yield from _findings_of(error, where)


def _validate_component(
    values: Mapping[str, Any], file: Path, where: str, *, connect: bool
) -> Iterator[Finding]:
    kind, attributes = str(values.get("type", "")), values.get("attributes") or {}
    own = kind.startswith("pipeline_platform.")
    if not kind or (own and kind not in (PIPELINE_TYPE, DRIVE_TABLE_TYPE)):
        yield Finding(where, False, f"type: must name a component. Example: type: {PIPELINE_TYPE}")
    elif not own:
        yield Finding(where, True, f"component {kind} is not ours and is not checked here")
    elif not isinstance(attributes, Mapping):
        yield Finding(where, False, "attributes: must be a section with keys")
    elif kind == DRIVE_TABLE_TYPE:
        load_state(dict(resolve_templates(attributes)), file, resolve_templates)
        yield Finding(where, True, "config of the drive table is valid")
    else:
        resolved = resolve_templates(attributes)
        off = switched_off(resolved)
        if off is not None:
            yield Finding(where, True, f"pipeline {off} is off, its config is not checked")
            return
        loaded = load_attributes(resolved, file.parent, project_folder(file))
        yield from _validate_config(loaded, connect=connect)


def _validate_config(loaded: LoadedConfig, *, connect: bool) -> Iterator[Finding]:
    """The windows against Dagster's, then the prerequisites of source, stage and target."""
    where = shown_path(loaded.path) if loaded.path else "config"
    pipeline = Pipeline(loaded.config, loaded.base_dir)
    try:
        refuse_key_mismatch(pipeline.windows, partitions_definition(pipeline.windows))
    except ConfigurationError as error:
        line = loaded.locate("query_window.duration")
        at = f"{where}:{line}" if line else where
        yield Finding(at, False, f"query_window.duration: {error}")
        return
    yield Finding(where, True, f"config of pipeline {pipeline.name} is valid")
    if not connect:
        return
    for check in unverified_connections(loaded.config):
        yield Finding(where, True, f"{check.name}: {check.detail}")
    for part in ("source", "stage", "target"):
        try:
            for check in getattr(pipeline, part).check():
                yield _finding(loaded, where, part, check)
        except PipelineError as error:
            yield _finding(
                loaded, where, part, Prerequisite(part, False, error.message, error.hint)
            )


def _finding(loaded: LoadedConfig, where: str, part: str, check: Prerequisite) -> Finding:
    if check.passed:
        return Finding(where, True, f"{check.name}: {check.detail}")
    section = f"{part}_system"
    model = type(getattr(loaded.config, section))
    keys = (*_SETTINGS.get(check.name, ()), check.name)
    key = next((key for key in keys if _has_key(model, key)), None)
    field = f"{section}.{key}" if key else section
    line = loaded.locate(field)
    example = example_of(model, key, as_json=where.endswith(".json")) if key else ""
    problem = f"{check.name}: {check.detail.rstrip('.')}. {check.hint}".strip()
    return Finding(
        f"{where}:{line}" if line else where,
        False,
        f"{field}: {problem}" + (f" Example: {example}" if example else ""),
    )


def _has_key(model: type[Any], key: str) -> bool:
    return key in model.model_fields


def _findings_of(error: ConfigurationError, where: str) -> Iterator[Finding]:
    """One finding for each problem, at its line."""
    if isinstance(error, ConfigFileError):
        for problem in error.problems:
            yield Finding(problem.place, False, problem.text)
    else:
        yield Finding(where, False, str(error))

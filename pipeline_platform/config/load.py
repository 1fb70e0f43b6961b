"""Reading a config: YAML or JSON, all its mistakes at once, each with file and line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline_platform.config.locations import (
    DocumentError,
    KeyProblem,
    Locations,
    read_document,
)
from pipeline_platform.config.pipeline import PipelineConfig, window_problem
from pipeline_platform.config.problems import ConfigFileError, ConfigProblem, explain


@dataclass(frozen=True)
class LoadedConfig:
    """A valid config and where it came from. Relative paths in it count from `base_dir`."""

    config: PipelineConfig
    path: Path | None
    base_dir: Path
    locations: Locations = field(default_factory=Locations, compare=False, repr=False)

    def locate(self, field_path: str) -> int | None:
        """Line of a field, e.g. `source_system.path`; its section's if the field is not written.

        None when the config did not come from a file.
        """
        position = self.locations.find(field_path.split("."))
        return position.line if position else None


def load_config(path: Path) -> LoadedConfig:
    """The config in a YAML file or config.json; ConfigFileError lists all that is wrong with it."""
    where = shown_path(path)
    try:
        document = read_document(path)
    except DocumentError as error:
        raise unreadable(where, error) from None
    return parse_config(
        document.values,
        where=where,
        path=path,
        base_dir=project_folder(path),
        locations=document.locations,
        key_problems=document.problems,
    )


def parse_config(
    values: Mapping[str, Any],
    *,
    where: str = "config",
    base_dir: Path | None = None,
    path: Path | None = None,
    locations: Locations | None = None,
    key_problems: Sequence[KeyProblem] = (),
) -> LoadedConfig:
    """The config in a mapping that is parsed already, e.g. the attributes of a component.

    `where` names it in messages. `locations`, if known, give them lines; `key_problems` are told
    with the others. Relative paths count from `base_dir`, by default the current folder.
    ConfigFileError lists all that is wrong.
    """
    locations = locations or Locations()
    problems = [
        ConfigProblem(where, key.position.line, key.position.column, key.field, key.problem)
        for key in key_problems
    ]
    try:
        config = PipelineConfig.model_validate(values)
    except ValidationError as error:
        problems += explained(error, values, where, locations)
        raise ConfigFileError(where, problems) from None
    if problems:
        raise ConfigFileError(where, problems)
    return LoadedConfig(config, path, base_dir or Path.cwd(), locations)


def project_folder(path: Path) -> Path:
    """The nearest folder upwards with a pyproject.toml, else the file's own."""
    folder = path.resolve().parent
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").exists():
            return candidate
    return folder


def shown_path(path: Path) -> str:
    """The path as messages name it: from the current folder if it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def unreadable(where: str, error: DocumentError) -> ConfigFileError:
    """The error of a file that cannot be read at all."""
    at = error.position
    return ConfigFileError(where, [ConfigProblem(where, at.line, at.column, "", error.problem)])


def explained(
    error: ValidationError,
    values: Any,
    where: str,
    locations: Locations,
    model: type[BaseModel] = PipelineConfig,
) -> list[ConfigProblem]:
    """What pydantic found wrong with the values of a model, with lines and examples."""
    # The input is left out: it may be a secret.
    details = error.errors(include_url=False, include_input=False)
    if model is PipelineConfig:
        details += _window_problem(details, values)
    problems = []
    for detail in details:
        problem, example = explain(detail, model, values, as_json=where.endswith(".json"))
        path = detail["loc"]
        position = locations.find(path, key=detail["type"] == "extra_forbidden")
        problems.append(
            ConfigProblem(
                where,
                position.line if position else None,
                position.column if position else None,
                ".".join(str(step) for step in path),
                problem,
                example,
            )
        )
    return problems


def _window_problem(details: Sequence[ErrorDetails], values: Any) -> list[ErrorDetails]:
    """The check of duration against zone, which pydantic leaves out when their sections fail."""
    loc = ("query_window", "duration")
    wrong = [detail["loc"][:2] for detail in details]
    if loc in wrong:
        return []
    try:
        duration = values["query_window"]["duration"]
        timezone = values["schedule"].get("timezone", "UTC")
    except (KeyError, TypeError, AttributeError):
        return []
    if ("schedule", "timezone") in wrong:
        # What UTC does not allow, no zone does.
        timezone = "UTC"
    problem = window_problem(duration, timezone)
    return [{"type": "refused", "loc": loc, "msg": problem, "input": None}] if problem else []

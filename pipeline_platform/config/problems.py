"""What is wrong with a config: where, what, and an example of what is right."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from pipeline_platform.config.kinds import ByType
from pipeline_platform.errors import ConfigurationError

# Names of the original documents, and what they are called here.
_FORMER_NAMES = {
    "dag_schedule": "schedule",
    "cron_expression": "cron",
    "batch_size": "batch_rows",
    "index": "table",
    "username": "user",
    "credentials_ref": "password",
    "authentication": "password",
}
_TEXTS = {
    "missing": "is missing",
    "string_pattern_mismatch": "does not have the right form",
    "model_type": "must be a section with keys",
    "model_attributes_type": "must be a section with keys",
    "dict_type": "must be a section with keys",
    "tuple_type": "must be a list",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "string_too_short": "must not be empty",
}


@dataclass(frozen=True)
class ConfigProblem:
    """One thing that is wrong. Lines and columns count from 1; None where the file is not known."""

    file: str
    line: int | None
    column: int | None
    field: str
    problem: str
    example: str = ""

    @property
    def place(self) -> str:
        """`file:line:column`, as far as they are known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)

    @property
    def text(self) -> str:
        """What is wrong with which field, and an example."""
        field = f"{self.field}: " if self.field else ""
        example = f" Example: {self.example}" if self.example else ""
        return f"{field}{self.problem}.{example}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ConfigFileError(ConfigurationError):
    """All that is wrong with one config, in the order of its lines. Holds no value of it."""

    def __init__(self, where: str, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda one: (one.line or 0, one.column or 0)))
        number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{number} in {where}:", *(f"  {p}" for p in self.problems)]))


def explain(
    error: ErrorDetails, model: type[BaseModel], values: Any, *, as_json: bool = False
) -> tuple[str, str]:
    """`(what is wrong, example of what is right)` for one error of pydantic.

    Neither holds a value of the config: it could be a secret.
    """
    path = [step for step in error["loc"] if isinstance(step, str)]
    section, field = _resolve(model, values, path)
    name = path[-1] if path else ""
    if error["type"] == "extra_forbidden" and section is not None:
        problem, name, field = _unknown_key(name, section, model)
    elif error["type"] == "string_type" and _value_at(values, error["loc"]) is None:
        problem = "has no value; where it is a template, set the variable that it asks for"
    else:
        problem = _TEXTS.get(error["type"]) or _plain(error)
    return problem, _example(name, field, as_json)


def example_of(section: type[BaseModel], key: str, *, as_json: bool = False) -> str:
    """An example of one field, as a line of the config."""
    return _example(key, _fields_by_key(section).get(key), as_json)


def _value_at(values: Any, path: Sequence[int | str]) -> Any:
    for step in path:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _plain(error: ErrorDetails) -> str:
    text = error["msg"].replace("Input should be", "must be", 1).replace("String should", "must", 1)
    return text.replace("date or datetime", "day", 1).removesuffix(".")


def _unknown_key(
    name: str, section: type[BaseModel], model: type[BaseModel]
) -> tuple[str, str, FieldInfo | None]:
    fields = _fields_by_key(section)
    near = _FORMER_NAMES.get(name, name)
    if near not in fields:
        near = next(iter(difflib.get_close_matches(name, fields, n=1)), "")
    homes = sorted(set(_homes(name, model)))
    if near and not homes:
        return f"unknown key, did you mean {near}", near, fields[near]
    if 0 < len(homes) < 3:
        return f"unknown key here, it belongs in {' or '.join(homes)}", "", None
    return f"unknown key, known are {', '.join(fields)}", "", None


def _homes(name: str, model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Sections that do have a key of this name."""
    for key, field in _fields_by_key(model).items():
        for section in _models_of(field):
            if name in _fields_by_key(section):
                yield ".".join((*path, key))
            yield from _homes(name, section, (*path, key))


def _fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_of(field: FieldInfo) -> list[type[BaseModel]]:
    for marker in field.metadata:
        if isinstance(marker, ByType):
            return [*marker.kinds.values(), *([marker.custom] if marker.custom else [])]
    found = [field.annotation, *get_args(field.annotation)]
    return [one for one in found if isinstance(one, type) and issubclass(one, BaseModel)]


def _resolve(
    model: type[BaseModel], values: Any, path: Sequence[str | int]
) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The section that holds the last step of the path, and its field if it has one there."""
    section: type[BaseModel] | None = model
    field: FieldInfo | None = None
    for number, step in enumerate(path):
        if isinstance(step, int) or section is None:
            break
        field = _fields_by_key(section).get(step)
        values = values.get(step) if isinstance(values, Mapping) else None
        if field is None or number == len(path) - 1:
            break
        section = _chosen(field, values)
    return section, field


def _chosen(field: FieldInfo, values: Any) -> type[BaseModel] | None:
    for marker in field.metadata:
        if isinstance(marker, ByType):
            kind = values.get("type") if isinstance(values, Mapping) else None
            return marker.choose(kind) or next(iter(marker.kinds.values()))
    return next(iter(_models_of(field)), None)


def _example(name: str, field: FieldInfo | None, as_json: bool) -> str:
    if field is None:
        return ""
    value: Any = None
    if field.examples:
        value = field.examples[0]
    elif get_origin(field.annotation) is Literal:
        value = get_args(field.annotation)[0]
    elif field.default is not PydanticUndefined:
        value = field.default
    if value in (None, "", ()):
        return ""
    if as_json:
        return json.dumps({name: value})[1:-1]
    return f"{name}: {_as_yaml(value)}"


def _as_yaml(value: Any) -> str:
    """One line of YAML, without the quotes that YAML can do without."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_as_yaml(item) for item in value) + "]"
    plain = isinstance(value, str) and re.fullmatch(r"[\w@/.][\w@/.:* -]*", value)
    return str(value) if plain else json.dumps(value)

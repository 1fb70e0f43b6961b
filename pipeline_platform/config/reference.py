"""The configuration reference for people, written from the model.

`python -m pipeline_platform.config.reference` writes docs/configuration.md.
"""

import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline_platform.config import fields as types_of_fields
from pipeline_platform.config.connections import Section
from pipeline_platform.config.hashing import NOT_HASHED
from pipeline_platform.config.kinds import ByType
from pipeline_platform.config.phases import Phases
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.problems import example_of
from pipeline_platform.config.reference_texts import EXAMPLE, INTRO, STATE, TYPES
from pipeline_platform.config.secrets import SecretReference
from pipeline_platform.config.systems import ImportPath, StateSystem

REFERENCE_FILE = Path(__file__).parents[2] / "docs" / "configuration.md"

_NAMED = (
    (types_of_fields.Duration, "duration"),
    (types_of_fields.DurationOrZero, "duration, `0s` allowed"),
    (types_of_fields.Percent, "percent, 0 to 100"),
    (types_of_fields.TimeZone, "time zone"),
    (types_of_fields.Day, "day"),
    (types_of_fields.Cron, "cron expression"),
    (types_of_fields.LocalPath, "path"),
    (types_of_fields.Email, "e-mail address"),
    (ImportPath, "import path"),
)
_PLAIN = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    dict: "keys and values",
    SecretReference: "secret reference",
}


def reference_text() -> str:
    """The reference as it is checked in."""
    parts = [INTRO, "## Example\n", f"```yaml\n{EXAMPLE}```\n", TYPES]
    for name, field in PipelineConfig.model_fields.items():
        parts.append(f"## {name}\n")
        chooser = _chooser(field)
        if chooser:
            parts.append(f"{field.description}\n")
            parts += _kinds(name, chooser, reload=True)
        elif field.annotation is Phases:
            parts += _phases()
        else:
            [model] = _sections(field)
            parts.append(f"{model.__doc__}\n")
            parts += _tables(model)
    parts.append(STATE)
    [state] = (mark for mark in get_args(StateSystem) if isinstance(mark, ByType))
    parts += _kinds("drive table", state, reload=False)
    return "\n".join(parts)


def _kinds(place: str, chooser: ByType, *, reload: bool) -> Iterator[str]:
    """A heading and a table for each connector that `type` can choose."""
    own = [("package.module:Class", chooser.custom)] if chooser.custom else []
    for kind, model in (*chooser.kinds.items(), *own):
        yield f"### {place}, `type: {kind}`\n"
        yield f"{model.__doc__}\n"
        yield _table(model, reload=reload)


def _phases() -> Iterator[str]:
    """The ten phases, then each kind of settings with the phases that have it."""
    yield f"{Phases.__doc__} A phase that is not named has its defaults.\n"
    users: dict[type[BaseModel], list[str]] = {}
    rows = []
    for name, field in Phases.model_fields.items():
        users.setdefault(_sections(field)[0], []).append(f"`{name}`")
        rows.append(f"| `{name}` | {field.description} |")
    yield "\n".join(["| phase | what it does |", "| --- | --- |", *rows]) + "\n"
    for model, names in users.items():
        yield f"### {', '.join(names)}\n"
        yield f"{model.__doc__}\n"
        yield from _tables(model)


def _tables(model: type[BaseModel]) -> Iterator[str]:
    """The table of a section, and those of the sections in it."""
    yield _table(model)
    for name, field in model.model_fields.items():
        for inner in _sections(field):
            yield f"#### `{name}`\n"
            yield f"{inner.__doc__}\n"
            yield from _tables(inner)


def _table(model: type[BaseModel], *, reload: bool = False) -> str:
    heads = ["field", "type", "default", "what it does", "example", *(["reload"] if reload else [])]
    rows = [heads, ["---"] * len(heads)]
    hints = get_type_hints(model, include_extras=True)
    # What chooses the connector comes first, wherever its class has it.
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] != "type"):
        key = field.alias or name
        example = example_of(model, key)
        rows.append(
            [
                f"`{key}`",
                _words(hints[name], field.metadata),
                _default(field),
                field.description or "",
                f"`{example}`" if example else "",
                *(["" if NOT_HASHED in field.metadata else "yes"] if reload else []),
            ]
        )
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
                     for row in rows) + "\n"  # fmt: skip


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.default if field.default is not PydanticUndefined else None
    if value is None and field.default_factory is None:
        return "none"
    if value in ("", (), None):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _words(hint: Any, marks: Sequence[Any]) -> str:
    """The type in words; `marks` are the limits that stand at the field itself."""
    if get_origin(hint) is Annotated:
        base, *own = get_args(hint)
        for named, words in _NAMED:
            _, *wanted = get_args(named)
            if own[: len(wanted)] == wanted:
                return words
        return _words(base, marks)
    inner = [one for one in get_args(hint) if one is not type(None)]
    origin = get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(f"`{one}`" for one in inner) if inner[1:] else f"`{inner[0]}`"
    if origin is tuple:
        return f"list: {_words(inner[0], marks)}"
    if origin in (Union, types.UnionType):
        return _words(inner[0], marks)
    if isinstance(hint, type) and issubclass(hint, Section):
        return "section"
    return _PLAIN[origin or hint] + _limits(marks)


def _limits(marks: Sequence[Any]) -> str:
    low = next((mark.ge for mark in marks if isinstance(mark, Ge)), None)
    above = next((mark.gt for mark in marks if isinstance(mark, Gt)), None)
    high = next((mark.le for mark in marks if isinstance(mark, Le)), None)
    if low is not None and high is not None:
        return f", {low:,} to {high:,.0f}"
    if low is not None:
        return f", at least {low:,}"
    return f", more than {above:,}" if above is not None else ""


def _chooser(field: FieldInfo) -> ByType | None:
    return next((mark for mark in field.metadata if isinstance(mark, ByType)), None)


def _sections(field: FieldInfo) -> list[type[BaseModel]]:
    """The section that a field holds, if it holds one."""
    kind = field.annotation
    return [kind] if isinstance(kind, type) and issubclass(kind, Section) else []


def main() -> None:
    """Write the reference's file."""
    REFERENCE_FILE.parent.mkdir(exist_ok=True)
    REFERENCE_FILE.write_text(reference_text(), encoding="utf-8")


if __name__ == "__main__":
    main()

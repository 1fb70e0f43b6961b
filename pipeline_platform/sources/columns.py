"""Which columns of an object are read, under which names, and whether the config fits them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa

from pipeline_platform.config.system_fields import SourceFields
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.movement import Prerequisite, WindowSlice
from pipeline_platform.naming import column_names
from pipeline_platform.query_field import QueryField


@dataclass(frozen=True)
class ObjectColumn:
    """A column as the source's catalog has it.

    type: the Arrow type it is staged as; a column of an odd type is staged as text.
    """

    name: str
    type: pa.DataType


@dataclass(frozen=True)
class StagedColumn:
    """A column that is read: its name at the source, in the stage, and its staged type."""

    name: str
    staged_name: str
    type: pa.DataType


def query_field_of(config: SourceFields) -> QueryField:
    """The query field with its zone or unit."""
    return QueryField(config.query_field, config.query_field_timezone, config.query_field_unit)


def selected_columns(
    columns: Iterable[ObjectColumn], config: SourceFields
) -> tuple[StagedColumn, ...]:
    """The columns to read, in the source's order.

    Raises ConfigurationError for the first thing that `column_checks` finds wrong.
    """
    found = {column.name: column.type for column in columns}
    for check in column_checks(found, config):
        if not check.passed:
            raise ConfigurationError(f"{check.name}: {check.detail}.", hint=check.hint)
    staged = column_names(_selected_names(found, config), safe=config.safe_names)
    return tuple(StagedColumn(name, staged[name], found[name]) for name in staged)


def column_checks(columns: Mapping[str, pa.DataType], config: SourceFields) -> list[Prerequisite]:
    """Each thing that the config says about columns, with its result."""
    checks = [_query_field_check(columns, config)]
    selected = _selected_names(columns, config)
    for key, names in _named_columns(config).items():
        missing = [name for name in names if name not in columns]
        if missing:
            detail = f"{', '.join(map(repr, missing))} does not exist"
            checks.append(Prerequisite(key, False, detail, _hint(key, columns)))
        elif names:
            checks.append(Prerequisite(key, True, ", ".join(map(repr, names))))
    try:
        staged = column_names(selected, safe=config.safe_names)
    except ConfigurationError as error:
        checks.append(Prerequisite("column names", False, error.message, error.hint))
    else:
        checks.append(Prerequisite("column names", bool(staged), f"{len(staged)} columns"))
    return checks


def _selected_names(columns: Iterable[str], config: SourceFields) -> list[str]:
    return [
        name
        for name in columns
        if (not config.include_columns or name in config.include_columns)
        and name not in config.exclude_columns
    ]


def _named_columns(config: SourceFields) -> dict[str, tuple[str, ...]]:
    return {
        "change_field": (config.change_field,) if config.change_field else (),
        "required_fields": config.required_fields,
        "include_columns": config.include_columns,
        "exclude_columns": config.exclude_columns,
    }


def _query_field_check(columns: Mapping[str, pa.DataType], config: SourceFields) -> Prerequisite:
    name = config.query_field
    if name not in columns:
        return Prerequisite(
            "query_field",
            False,
            f"{name!r} does not exist",
            hint=_hint("query_field", columns),
        )
    field = query_field_of(config)
    try:
        field.bounds(_probe(config.query_field_timezone), columns[name])
    except ConfigurationError as error:
        return Prerequisite("query_field", False, error.message, hint=error.hint)
    return Prerequisite("query_field", True, f"{name!r}, {columns[name]}")


def _probe(zone: str | None) -> WindowSlice:
    """One local day, which fits every kind of field."""
    start = datetime(2025, 1, 1, tzinfo=ZoneInfo(zone or "UTC")).astimezone(timezone.utc)
    return WindowSlice("probe", start, start + timedelta(days=1))


def _hint(key: str, columns: Iterable[str]) -> str:
    names = list(columns)
    shown = ", ".join(map(repr, names[:20])) + (" ..." if len(names) > 20 else "")
    return f"Correct source_system.{key}; the columns are {shown}."

"""The defs.yaml files that `dg scaffold defs` writes; what they explain, the model says.

A line `#key: value` is a choice that is off. The file is valid as it is, and with all of them on.
"""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline_platform.config.attributes import DRIVE_TABLE_TYPE, PIPELINE_TYPE
from pipeline_platform.config.kinds import ByType
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.problems import example_of
from pipeline_platform.config.systems import StateSystem

_WIDTH = 96
# Key to YAML text, or to an outline of its own. No text: the model's example or default.
_Outline: TypeAlias = Mapping[str, Any]
_ON, _OFF = "", "#"

_POSTGRES: _Outline = {
    "host": _ON, "port": _ON, "database": _ON, "user": _ON, "password": _ON,
    "sslmode": _OFF, "sslrootcert": _OFF,
}  # fmt: skip
_SOURCES: Mapping[str, _Outline] = {
    "duckdb": {"path": "data/operational.duckdb", "schema": "#main"},
    "postgres": {**_POSTGRES, "schema": _ON},
}
_WAREHOUSES: Mapping[str, _Outline] = {"duckdb": {"path": _ON}, "postgres": _POSTGRES}


def pipeline_template(name: str, *, source: str, target: str) -> str:
    """A pipeline that moves the table `name`, between systems of these kinds."""
    outline: _Outline = {
        "pipeline_metadata": {
            "pipeline_name": name, "pipeline_description": _OFF, "owner_name": _OFF,
            "owner_email": _OFF,
        },
        "schedule": {
            "timezone": "UTC", "start_date": "2025-01-01", "end_date": "#2030-01-01",
            "automatic": _ON, "cron": _OFF, "catchup": _OFF, "max_windows_per_tick": _OFF,
        },
        "query_window": {
            "duration": _ON, "x_time_back": "15m", "max_shrink_percent": _OFF,
            "on_empty_window": _OFF,
        },
        "source_system": {
            "type": source, **_SOURCES[source], "table": name, "query_field": _ON,
            "query_field_timezone": _OFF, "change_field": _OFF, "required_fields": _OFF,
        },
        "stage_system": {"type": "local", "path": _ON},
        "target_system": {
            "type": target, **_WAREHOUSES[target], "schema": _ON, "table": name,
            "create_table": _OFF, "adopt": _OFF,
        },
        "phases": {
            "source_to_stage_transfer": "#{expected_run_duration: 10m, timeout: 1h}",
            "audit": {
                "count_tolerances": {
                    "source_to_stage_tolerance_percent": "0",
                    "stage_to_target_tolerance_percent": "0",
                },
            },
            "stage_cleaning": {"enabled": _ON, "delete_after_days": _OFF},
        },
        "retry": {"max_retries": _ON, "backoff_strategy": _ON, "backoff_seconds": _ON},
    }  # fmt: skip
    lines = [
        *_comment(
            f"Moves the table {name}, window by window. Put what is yours in place of the examples "
            "of host, database, table and so on. A line `#key: value` is a choice that is off: "
            "take the # away to use it. `pipeline-platform validate` says what is wrong or missing."
        ),
        f"type: {PIPELINE_TYPE}",
        "",
        "attributes:",
    ]
    for number, section in enumerate(outline):
        lines += [""] if number else []
        lines += _section(PipelineConfig, {section: outline[section]}, indent="  ")
    return "\n".join(lines) + "\n"


def drive_table_template(kind: str) -> str:
    """The drive table of a project, in a database of this kind."""
    outline = {"type": kind, **_WAREHOUSES[kind], "schema": _ON}
    lines = [
        *_comment(
            "The drive table: what every run of every pipeline did. One per project, best in the "
            "warehouse that the pipelines load. Embedded DuckDB is for one run at a time."
        ),
        f"type: {DRIVE_TABLE_TYPE}",
        "",
        "attributes:",
        *_fields(_STATE, outline, indent="  "),
    ]
    return "\n".join(lines) + "\n"


_STATE = next(marker for marker in get_args(StateSystem) if isinstance(marker, ByType))


def _section(model: type[BaseModel], outline: _Outline, indent: str) -> Iterator[str]:
    """The fields of one model, each below its description."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, value in outline.items():
        yield from _comment(_explained(fields[key]), indent)
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _fields(_chooser(fields[key]), value, f"{indent}  ")
        else:
            mark, text = ("#", value[1:]) if value.startswith("#") else ("", value)
            yield f"{indent}{mark}" + (f"{key}: {text}" if text else example_of(model, key))


def _fields(chooser: "ByType | type[BaseModel]", outline: _Outline, indent: str) -> Iterator[str]:
    """The same, for a model that `type` chooses as well."""
    if isinstance(chooser, ByType):
        model = chooser.choose(outline["type"])
        assert model is not None
        yield from _comment(f"Connector: {chooser.known}.", indent)
        yield f"{indent}type: {outline['type']}"
        outline = {key: value for key, value in outline.items() if key != "type"}
    else:
        model = chooser
    yield from _section(model, outline, indent)


def _explained(field: FieldInfo) -> str:
    words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    known = f" One of {', '.join(words)}." if words else ""
    return f"{field.description}{known}"


def _chooser(field: FieldInfo) -> "ByType | type[BaseModel]":
    by_type = next((one for one in field.metadata if isinstance(one, ByType)), None)
    if by_type is not None:
        return by_type
    model = field.annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model


def _comment(text: str, indent: str = "") -> list[str]:
    lead = f"{indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False
    )

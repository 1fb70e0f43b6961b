"""JSON Schema of a component's attributes, for `dg check yaml`: line and caret for most mistakes.

JSON Schema has no words of its own for zones and durations. Where a value is wrong, `const` of an
explanation makes the validator's message say what is right. What it lets pass, the model checks.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from pipeline_platform.config.fields import known_zones
from pipeline_platform.config.pipeline import PipelineConfig, window_problem
from pipeline_platform.config.systems import StateSystem

_CONFIG_FILE = {
    "type": "string",
    "description": "YAML or JSON file with the config, beside this file.",
}
_TEMPLATE = {"type": "string", "pattern": r"\{\{.*\}\}"}
_ABOUT = ("description", "default", "examples")
_MINUTES_A_DAY = 24 * 60
# One unit, or hours and minutes; odder sums of units are left to the model.
_DECIDED_HERE = r"^([0-9]+[dhms]|[0-9]+h ?0*[0-5]?[0-9]m)$"


def state_schema() -> dict[str, Any]:
    """Either `config: FILE` alone, or the connection of one of the drive stores."""
    schema = TypeAdapter[StateSystem](StateSystem).json_schema()
    _accept_templates(schema)
    return {
        "$defs": schema.pop("$defs"),
        "if": {"required": ["config"]},
        "then": {"properties": {"config": _CONFIG_FILE}, "additionalProperties": False},
        "else": schema,
    }


def attributes_schema() -> dict[str, Any]:
    """Either `config: FILE` alone, or the sections of a config."""
    schema = PipelineConfig.model_json_schema()
    sections = {name: schema[name] for name in ("properties", "required")}
    zone = schema["$defs"]["Schedule"]["properties"]["timezone"]
    zone.update(_otherwise({"enum": sorted(_zones())}, "an IANA time zone, e.g. Europe/Berlin"))
    _explain_duration(schema["$defs"]["QueryWindow"]["properties"]["duration"])
    _accept_templates(schema)
    return {
        **{key: value for key, value in schema.items() if key not in (*sections, "title")},
        "properties": {
            "config": _CONFIG_FILE,
            **sections["properties"],
        },
        "if": {"not": {"required": ["config"]}},
        "then": {"required": sections["required"], "allOf": [_durations_outside_utc()]},
    }


def _accept_templates(schema: dict[str, Any]) -> None:
    """Let every setting be a template; what it gives, the model checks when it is loaded."""
    for section in (schema, *schema.get("$defs", {}).values()):
        for name, setting in section.get("properties", {}).items():
            if "$ref" not in setting and name != "type":
                section["properties"][name] = {
                    **{key: setting[key] for key in _ABOUT if key in setting},
                    "if": _TEMPLATE,
                    "else": setting,
                }


def _explain_duration(field: dict[str, Any]) -> None:
    """Two explanations in place of a pattern that nobody wants to read."""
    form = {"minLength": 1, "pattern": field.pop("pattern")}
    possible = {
        "anyOf": [
            {"not": {"type": "string", "pattern": _DECIDED_HERE}},
            {"pattern": _spellings(_possible_minutes("UTC"))},
        ]
    }
    field["allOf"] = [
        _otherwise(form, "days, hours, minutes and seconds in this order, e.g. 1d or 2h30m"),
        _otherwise(possible, "a divisor of 60 minutes, whole hours or 1d, e.g. 15m"),
    ]


def _durations_outside_utc() -> dict[str, Any]:
    """90m and its like exist in UTC only."""
    zone = {"required": ["timezone"], "properties": {"timezone": {"not": {"enum": _utc_names()}}}}
    only_utc = _possible_minutes("UTC") - _possible_minutes("America/New_York")
    duration = _otherwise(
        {"not": {"type": "string", "pattern": _spellings(only_utc)}},
        "a divisor of 60 minutes, whole hours or 1d: other minutes exist in UTC only",
    )
    return {
        "if": {"required": ["schedule"], "properties": {"schedule": zone}},
        "then": {"properties": {"query_window": {"properties": {"duration": duration}}}},
    }


def _otherwise(right: dict[str, Any], explanation: str) -> dict[str, Any]:
    return {"if": right, "else": {"const": explanation}}


def _zones() -> set[str]:
    return set(known_zones().values())


@lru_cache(maxsize=1)
def _utc_names() -> list[str]:
    return [zone for zone in sorted(_zones()) if window_problem("90m", zone) is None]


@lru_cache(maxsize=2)
def _possible_minutes(zone: str) -> frozenset[int]:
    minutes = range(1, _MINUTES_A_DAY + 1)
    return frozenset(one for one in minutes if window_problem(f"{one}m", zone) is None)


def _spellings(minutes: Collection[int]) -> str:
    """Pattern of what `_DECIDED_HERE` knows, for these durations."""
    forms = [f"{_one_of(minutes)}m", f"{_one_of(60 * one for one in minutes)}s"]
    hours_by_rest: dict[tuple[int, ...], list[int]] = {}
    for hour in range(_MINUTES_A_DAY // 60 + 1):
        rests = tuple(rest for rest in range(60) if 60 * hour + rest in minutes)
        if 60 * hour in minutes:
            forms.append(f"0*{hour}h")
        if rests:
            hours_by_rest.setdefault(rests, []).append(hour)
    forms += [f"{_one_of(hours)}h ?{_one_of(rests)}m" for rests, hours in hours_by_rest.items()]
    if _MINUTES_A_DAY in minutes:
        forms.append("0*1d")
    return f"^({'|'.join(forms)})$"


def _one_of(numbers: Iterable[int]) -> str:
    return f"0*({'|'.join(str(number) for number in sorted(numbers))})"

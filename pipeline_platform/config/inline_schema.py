"""JSON Schema of a component's attributes, for `dg check yaml`: line and caret for most mistakes.

JSON Schema has no words of its own for zones and durations. Where a value is wrong, `const` of an
explanation makes the validator's message say what is right.
"""

from typing import Any

from pipeline_platform.config.fields import known_zones
from pipeline_platform.config.pipeline import PipelineConfig, window_problem

_MINUTES_A_DAY = 24 * 60


def attributes_schema() -> dict[str, Any]:
    """Either `config: FILE` alone, or the sections of a config."""
    schema = PipelineConfig.model_json_schema()
    sections = {name: schema[name] for name in ("properties", "required")}
    _explain(schema["$defs"]["Schedule"]["properties"]["timezone"], sorted(_zones()),
             "an IANA time zone, e.g. Europe/Berlin")  # fmt: skip
    _explain(schema["$defs"]["QueryWindow"]["properties"]["duration"], _durations("UTC"),
             "a divisor of 60 minutes, whole hours or 1d, e.g. 15m")  # fmt: skip
    return {
        **{key: value for key, value in schema.items() if key not in (*sections, "title")},
        "properties": {
            "config": {
                "type": "string",
                "description": "YAML or JSON file with the config, beside this file.",
            },
            **sections["properties"],
        },
        "if": {"not": {"required": ["config"]}},
        "then": {"required": sections["required"], "allOf": [_durations_outside_utc()]},
    }


def _durations_outside_utc() -> dict[str, Any]:
    """90m and its like exist in UTC only."""
    zone = {"required": ["timezone"], "properties": {"timezone": {"not": {"enum": _utc_names()}}}}
    duration: dict[str, Any] = {}
    _explain(
        duration,
        _durations("America/New_York"),
        "a divisor of 60 minutes, whole hours or 1d: other minutes exist in UTC only",
    )
    return {
        "if": {"required": ["schedule"], "properties": {"schedule": zone}},
        "then": {"properties": {"query_window": {"properties": {"duration": duration}}}},
    }


def _explain(schema: dict[str, Any], allowed: list[str], otherwise: str) -> None:
    schema.update({"if": {"enum": allowed}, "else": {"const": otherwise}})


def _zones() -> set[str]:
    return set(known_zones().values())


def _utc_names() -> list[str]:
    return [zone for zone in sorted(_zones()) if window_problem("90m", zone) is None]


def _durations(zone: str) -> list[str]:
    """All spellings of the possible durations in minutes, hours and days."""
    found = []
    for minutes in range(1, _MINUTES_A_DAY + 1):
        hours, rest = divmod(minutes, 60)
        if window_problem(f"{minutes}m", zone) is None:
            found.append(f"{minutes}m")
            if hours:
                found.append(f"{hours}h" if not rest else f"{hours}h{rest}m")
    return [*found, "1d"]

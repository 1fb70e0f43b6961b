"""The JSON Schema: current, described, and of the same opinion as the model."""

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline_platform.config.load import parse_config
from pipeline_platform.config.problems import ConfigFileError
from pipeline_platform.config.schema import SCHEMA_FILE, config_schema, schema_text
from pipeline_platform_tests.config.examples import POSTGRES, values

# It comes with dagster-dg-cli, which validates component attributes with it; it has no types.
Draft202012Validator: Any = importlib.import_module("jsonschema").Draft202012Validator


def errors(config: dict[str, Any]) -> list[tuple[str, str]]:
    found = Draft202012Validator(config_schema()).iter_errors(config)
    return [(".".join(map(str, error.absolute_path)), error.message) for error in found]


def test_the_checked_in_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "run python -m pipeline_platform.config.schema"
    )


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json.loads(schema_text()))


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name == "properties" and not path.endswith(".if"):
                yield from ((f"{path}.{key}", one) for key, one in value.items())
            if name != "examples":
                yield from properties(value, f"{path}.{name}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from properties(value, f"{path}.{number}")


def test_every_property_is_described() -> None:
    found = dict(properties(json.loads(schema_text())))
    assert len(found) > 80
    assert [path for path, one in found.items() if not one.get("description")] == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"source_system": POSTGRES},
        {"source_system": {"type": "a.b:C", "query_field": "at", "options": {"x": 1}}},
        {"query_window": {"duration": "1h", "x_time_back": "1d 2h", "max_shrink_percent": 2.5}},
        {"phases": {"audit": {"enabled": True, "timeout": None}}},
    ],
)
def test_what_the_model_accepts_the_schema_accepts(changes: dict[str, Any]) -> None:
    assert parse_config(values(**changes))
    assert errors(values(**changes)) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("pipeline_metadata__pipelin_name", "x", "'pipelin_name' was unexpected"),
        ("source_system__query_field", None, "'query_field' is a required property"),
        ("source_system__tabel", "x", "'tabel' was unexpected"),
        ("source_system__batch_rows", 0, "less than the minimum of 1"),
        ("target_system__type", "oracle", "one of duckdb, postgres, snowflake, package.module"),
        ("query_window__duration", "1x", "does not match"),
        ("phases__audit__enabled", False, "True was expected"),
        ("phases__audit__count_tolerances", {"stage_to_target_tolerance_percent": 101}, "maximum"),
        ("phases__target_cleaning__enabled", True, "False was expected"),
    ],
)
def test_what_the_schema_refuses_the_model_refuses(path: str, value: Any, says: str) -> None:
    (error,) = errors(values(**{path: value}))
    assert path.split("__")[0] in error[0]
    assert says in error[1]
    with pytest.raises(ConfigFileError):
        parse_config(values(**{path: value}))


@pytest.mark.parametrize("secret", ["hunter2", 12345, ["hunter2"], {"env": "hunter2"}])
def test_a_refused_password_is_not_quoted(secret: object) -> None:
    found = errors(values(source_system={**POSTGRES, "password": secret}))
    assert found == [("source_system.password", "'env:NAME_OF_A_VARIABLE' was expected")]


def test_a_missing_password_is_fine() -> None:
    for source in ({**POSTGRES, "password": None}, {**POSTGRES}):
        assert errors(values(source_system=source)) == []

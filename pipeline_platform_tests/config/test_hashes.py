"""Hashes change with what decides rows and values, and with nothing else."""

from typing import Any

import pytest

from pipeline_platform.config.connections import Section
from pipeline_platform.config.hashing import NOT_HASHED
from pipeline_platform.config.load import parse_config
from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.config.systems import (
    CustomSource,
    CustomStage,
    CustomTarget,
    DuckDBSource,
    DuckDBTarget,
    LocalStage,
    PostgresSource,
    PostgresTarget,
)
from pipeline_platform_tests.config.examples import POSTGRES, values

POSTGRES_TARGET = {
    "type": "postgres",
    "host": "db.example.com",
    "database": "shop",
    "user": "pipeline",
    "schema": "analytics",
    "table": "orders",
}


def hashes(**changes: Any) -> dict[str, str]:
    return parse_config(values(**changes)).config.hashes()


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


def test_four_hashes_and_a_short_one_over_all() -> None:
    one = parse_config(values()).config
    assert list(one.hashes()) == ["source", "stage", "query_window", "target"]
    assert all(len(value) == 64 for value in one.hashes().values())
    assert len(one.config_hash) == 16
    other = parse_config(values(stage_system__path="elsewhere")).config
    assert other.config_hash != one.config_hash


def test_hashes_do_not_change_between_versions() -> None:
    """A new value here moves every window of every user once more."""
    assert parse_config(values()).config.config_hash == "dfaa90847f51ee82"
    postgres = values(source_system=POSTGRES, target_system=POSTGRES_TARGET)
    assert parse_config(postgres).config.config_hash == "d16f47504a1c3bdf"


@pytest.mark.parametrize(
    ("section", "path", "value"),
    [
        ("source", "source_system__path", "other.duckdb"),
        ("source", "source_system__schema", "s"),
        ("source", "source_system__table", "t"),
        ("source", "source_system__query_field", "f"),
        ("source", "source_system__query_field_timezone", "UTC"),
        ("source", "source_system__query_field_unit", "s"),
        ("source", "source_system__required_fields", ["carrier"]),
        ("source", "source_system__include_columns", ["time_hour", "carrier"]),
        ("source", "source_system__exclude_columns", ["carrier"]),
        ("source", "source_system__safe_names", False),
        ("stage", "stage_system__path", "other"),
        ("query_window", "query_window__duration", "1h"),
        ("query_window", "schedule__timezone", "UTC"),
        ("target", "target_system__path", "other.duckdb"),
        ("target", "target_system__schema", "s"),
        ("target", "target_system__table", "t"),
    ],
)
def test_what_decides_rows_changes_its_section_only(section: str, path: str, value: Any) -> None:
    assert changed(hashes(), hashes(**{path: value})) == [section]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pipeline_metadata__pipeline_description", "other"),
        ("pipeline_metadata__owner_name", "other"),
        ("pipeline_metadata__owner_email", "other@example.com"),
        ("schedule__start_date", "2012-01-01"),
        ("schedule__end_date", "2015-01-01"),
        ("schedule__cron", "0 * * * *"),
        ("schedule__catchup", False),
        ("schedule__max_windows_per_tick", 2),
        ("query_window__duration", "24h"),
        ("query_window__x_time_back", "1h"),
        ("query_window__max_shrink_percent", 50),
        ("query_window__on_empty_window", "fail"),
        ("source_system__batch_rows", 7),
        ("source_system__lock_timeout_seconds", 7),
        ("source_system__change_field", "updated_at"),
        ("stage_system__compression", "snappy"),
        ("stage_system__rows_per_file", 7),
        ("stage_system__rows_per_group", 7),
        ("target_system__create_table", False),
        ("target_system__adopt", True),
        ("target_system__lock_timeout_seconds", 7),
        ("phases__audit__count_tolerances__source_to_stage_tolerance_percent", 3),
        ("phases__source_to_stage_transfer__timeout", "1h"),
        ("phases__stage_cleaning__enabled", True),
        ("retry__max_retries", 0),
        ("recheck__enabled", True),
        ("recheck__windows", 9),
        ("monitoring__duration_multiplier_threshold", 5),
    ],
)
def test_what_decides_no_rows_changes_nothing(path: str, value: Any) -> None:
    assert changed(hashes(), hashes(**{path: value})) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user", "other"),
        ("password", "env:OTHER"),
        ("sslmode", "verify-ca"),
        ("sslrootcert", "ca.pem"),
        ("connect_timeout_seconds", 30),
        ("statement_timeout_seconds", 30),
        ("lock_timeout_seconds", 30),
    ],
)
def test_how_to_log_in_does_not_count(key: str, value: Any) -> None:
    before = hashes(source_system=POSTGRES, target_system=POSTGRES_TARGET)
    after = hashes(
        source_system={**POSTGRES, key: value}, target_system={**POSTGRES_TARGET, key: value}
    )
    assert changed(before, after) == []


@pytest.mark.parametrize(
    ("key", "value"), [("host", "other"), ("port", 5433), ("database", "other")]
)
def test_which_database_does_count(key: str, value: Any) -> None:
    before = hashes(source_system=POSTGRES, target_system=POSTGRES_TARGET)
    after = hashes(
        source_system={**POSTGRES, key: value}, target_system={**POSTGRES_TARGET, key: value}
    )
    assert changed(before, after) == ["source", "target"]


def test_order_of_keys_and_of_column_lists_does_not_count() -> None:
    backwards = dict(reversed(values()["source_system"].items()))
    assert hashes(source_system=backwards) == hashes()
    one, other = ["time_hour", "a", "b"], ["b", "time_hour", "a"]
    assert hashes(source_system__include_columns=one) == hashes(
        source_system__include_columns=other
    )


def test_options_of_ones_own_connector_count_except_secrets() -> None:
    def with_options(**options: Any) -> dict[str, str]:
        source = {"type": "a.b:C", "query_field": "at", "options": options}
        return hashes(source_system=source)

    before = with_options(index="a", auth={"api_key": "env:A"})
    assert changed(before, with_options(index="a", auth={"api_key": "env:B"})) == []
    assert changed(before, with_options(index="b", auth={"api_key": "env:A"})) == ["source"]


def test_the_fields_that_do_not_count() -> None:
    """A new field counts until somebody decides here that it does not."""
    postgres = {"user", "password", "sslmode", "sslrootcert", "connect_timeout_seconds",
                "statement_timeout_seconds", "lock_timeout_seconds"}  # fmt: skip
    s3 = {"region", "access_key_id", "secret_access_key", "session_token", "profile", "path_style",
          "ca_certs", "server_side_encryption", "kms_key_id", "connect_timeout_seconds",
          "read_timeout_seconds", "max_attempts"}  # fmt: skip
    files = {"compression", "rows_per_file", "bytes_per_file", "rows_per_group"}
    source, target = {"change_field", "batch_rows"}, {"create_table", "adopt"}
    expected: dict[type[Section], set[str]] = {
        DuckDBSource: {"lock_timeout_seconds"} | source,
        PostgresSource: postgres | source,
        CustomSource: source,
        LocalStage: files,
        S3Stage: s3 | files,
        CustomStage: set(),
        DuckDBTarget: {"lock_timeout_seconds"} | target,
        PostgresTarget: postgres | target,
        CustomTarget: target,
    }
    for model, names in expected.items():
        fields = model.model_fields.items()
        assert {name for name, field in fields if NOT_HASHED in field.metadata} == names

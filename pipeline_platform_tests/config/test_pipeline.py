"""Every section of a config: defaults, what is accepted, what is refused."""

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline_platform.config.load import parse_config
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.problems import ConfigFileError, ConfigProblem
from pipeline_platform.config.sections import Recheck, Retry
from pipeline_platform.config.systems import (
    CustomSource,
    DuckDBSource,
    DuckDBTarget,
    LocalStage,
    PostgresSource,
)
from pipeline_platform.execution import PHASES
from pipeline_platform.query_field import QueryField
from pipeline_platform_tests.config.examples import POSTGRES, values


def config(**changes: Any) -> PipelineConfig:
    return parse_config(values(**changes)).config


def problems(**changes: Any) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigFileError) as caught:
        config(**changes)
    return caught.value.problems


def the_problem(field: str, **changes: Any) -> str:
    (problem,) = problems(**changes)
    assert problem.field == field
    return problem.problem


def test_the_example_gives_the_three_systems_and_sensible_defaults() -> None:
    one = config()
    assert isinstance(one.source_system, DuckDBSource)
    assert isinstance(one.stage_system, LocalStage)
    assert isinstance(one.target_system, DuckDBTarget)
    assert one.target_system.db_schema == "analytics"
    assert one.schedule.catchup is True
    assert one.schedule.max_windows_per_tick == 10
    assert one.query_window.x_time_back == "0s"
    assert one.query_window.max_shrink_percent == Decimal(5)
    assert one.query_window.on_empty_window == "allow"
    assert one.phases.stale_pipeline_handling.timeout_minutes == 120
    assert one.phases.audit.count_tolerances.source_to_stage_tolerance_percent == Decimal("0")
    assert one.phases.audit.on_final_mismatch == "keep"
    assert one.phases.stage_cleaning.enabled is False
    assert one.phases.stage_cleaning.delete_after_days == 7
    assert one.phases.stage_cleaning.superseded_grace_hours == 24
    assert one.phases.target_cleaning.enabled is False
    assert one.retry == Retry(max_retries=3, backoff_strategy="exponential", backoff_seconds=1.0)
    assert one.monitoring.duration_multiplier_threshold == 2.0
    assert one.recheck == Recheck(enabled=False, windows=7, every="1h", reload="all")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().retry.max_retries = 5  # type: ignore[misc]


def test_each_phase_has_a_section() -> None:
    phases = config().phases
    assert tuple(type(phases).model_fields) == PHASES
    for phase in PHASES:
        assert getattr(phases, phase).timeout is None
        assert getattr(phases, phase).expected_run_duration is None


@pytest.mark.parametrize("name", ["orders", "a", "o" + "x" * 62, "o_2"])
def test_pipeline_names(name: str) -> None:
    assert config(pipeline_metadata__pipeline_name=name).pipeline_metadata.pipeline_name == name


@pytest.mark.parametrize("name", ["Orders", "2orders", "or-ders", "", "o" * 64, "orders\n"])
def test_bad_pipeline_names(name: str) -> None:
    field = "pipeline_metadata.pipeline_name"
    assert the_problem(field, pipeline_metadata__pipeline_name=name) == (
        "does not have the right form"
    )


def test_window_plan_and_query_fields() -> None:
    one = config(
        source_system__query_field="Time Hour",
        source_system__query_field_timezone="America/New_York",
    )
    plan = one.window_plan()
    assert (plan.duration, plan.timezone) == ("1d", "America/New_York")
    assert plan.start == datetime(2013, 1, 1, 5, tzinfo=timezone.utc)
    assert plan.end_date == date(2014, 1, 1)
    assert one.query_field() == QueryField("Time Hour", "America/New_York")
    assert one.staged_query_field() == QueryField("time_hour", "America/New_York")
    kept = config(source_system__query_field="Time Hour", source_system__safe_names=False)
    assert kept.staged_query_field().name == "Time Hour"


def test_an_epoch_query_field_keeps_its_unit() -> None:
    one = config(source_system__query_field_unit="ms")
    assert one.query_field() == QueryField("time_hour", None, "ms")
    assert one.staged_query_field().unit == "ms"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("schedule__timezone", "America/NewYork", "did you mean America/New_York"),
        ("schedule__timezone", "utc", "did you mean UTC"),
        ("schedule__timezone", "Middle/Earth", "unknown time zone"),
        ("schedule__timezone", "../../etc/passwd", "unknown time zone"),
        ("schedule__start_date", "2013-02-30", "must be a valid day"),
        ("schedule__start_date", 1356998400, "YYYY-MM-DD"),
        ("schedule__start_date", "1356998400", "YYYY-MM-DD"),
        ("schedule__start_date", "0001-01-01", "between 1900-01-01 and 2199-12-31"),
        ("schedule__end_date", "2013-01-01", "must be after start_date"),
        ("schedule__cron", "0 25 * * *", "the hour of a cron expression has a value outside"),
        ("schedule__cron", "hourly", "five fields"),
        ("schedule__max_windows_per_tick", 0, "greater than or equal to 1"),
        ("query_window__duration", "1x", "is not a duration"),
        ("query_window__duration", "", "is not a duration"),
        ("query_window__duration", 3600, "must be text"),
        ("query_window__duration", "0s", "longer than 0s"),
        ("query_window__duration", "45s", "Windows of 45s are not possible"),
        ("query_window__duration", "2d", "Windows of 2d are not possible"),
        ("query_window__duration", "90m", "possible in UTC only, not in America/New_York"),
        ("query_window__x_time_back", "soon", "is not a duration"),
        ("query_window__max_shrink_percent", 101, "less than or equal to 100"),
        ("query_window__on_empty_window", "skip", "must be 'allow' or 'fail'"),
        ("source_system__query_field_timezone", "EST5", "unknown time zone"),
        ("source_system__query_field_unit", "minutes", "must be 's', 'ms', 'us' or 'ns'"),
        ("source_system__batch_rows", 0, "greater than or equal to 1"),
        ("source_system__path", "s3://bucket/file.duckdb", "not supported yet"),
        ("source_system__path", ":memory:", "not supported yet"),
        ("stage_system__path", "~/stage", "is not expanded"),
        ("stage_system__compression", "gzip", "must be 'zstd', 'snappy' or 'none'"),
        ("phases__audit__expected_run_duration", "quick", "is not a duration"),
        ("phases__audit__timeout", "0s", "longer than 0s"),
        ("phases__audit__on_final_mismatch", "drop", "must be 'keep' or 'delete'"),
        ("phases__stage_cleaning__archive_location", "s3://bucket/a", "on this machine"),
        ("phases__stage_cleaning__archive_location", "s3://B/../a", "must be s3://bucket/prefix"),
        ("phases__stage_cleaning__delete_after_days", -1, "greater than or equal to 0"),
        ("retry__max_retries", -1, "greater than or equal to 0"),
        ("retry__backoff_strategy", "random", "must be 'exponential', 'linear' or 'none'"),
        ("recheck__windows", 0, "greater than or equal to 1"),
        ("recheck__windows", 1001, "less than or equal to 1000"),
        ("recheck__every", "0s", "longer than 0s"),
        ("recheck__reload", "deleted", "must be 'all', 'late' or 'none'"),
        ("monitoring__duration_multiplier_threshold", 0, "greater than or equal to 1"),
        ("pipeline_metadata__owner_email", "somebody", "right form"),
    ],
)
def test_values_that_cannot_be(path: str, value: Any, says: str) -> None:
    assert says in the_problem(path.replace("__", "."), **{path: value})


def test_the_example_of_a_problem_is_accepted() -> None:
    """What a message proposes must be right itself."""
    wrong = {
        "schedule__timezone": "x",
        "schedule__start_date": "x",
        "schedule__cron": "x",
        "query_window__duration": "x",
        "query_window__x_time_back": "x",
        "retry__backoff_strategy": "x",
        "retry__max_retries": "x",
        "stage_system__compression": "x",
        "phases__audit__timeout": "x",
        "pipeline_metadata__pipeline_name": "X",
        "pipeline_metadata__owner_email": "x",
    }
    for path, value in wrong.items():
        (problem,) = problems(**{path: value})
        name, _, right = problem.example.partition(": ")
        assert name == path.split("__")[-1]
        config(**{path: right, "schedule__end_date": None})


def test_windows_of_ninety_minutes_fit_utc() -> None:
    one = config(query_window__duration="90m", schedule__timezone="UTC")
    assert one.window_plan().seconds == 5400


@pytest.mark.parametrize("phase", [name for name in PHASES if not name.endswith("cleaning")][1:])
def test_a_mandatory_phase_cannot_be_disabled(phase: str) -> None:
    field = f"phases.{phase}.enabled"
    assert "this phase cannot be disabled" in the_problem(field, **{f"phases__{phase}": OFF})
    assert config(**{f"phases__{phase}": {"enabled": True}})


OFF = {"enabled": False}


def test_stale_handling_and_cleanings_may_be_disabled() -> None:
    one = config(
        phases={
            "stale_pipeline_handling": OFF,
            "stage_cleaning": OFF,
            "target_cleaning": OFF,
        }
    )
    assert one.phases.stale_pipeline_handling.enabled is False


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("phases__target_cleaning__enabled", True),
        ("monitoring__alert_on_failure", True),
        ("monitoring__alert_on_duration_exceed", True),
        ("pipeline_metadata__notification_emails", ["a@example.com"]),
        ("pipeline_metadata__slack_channel", "#data-alerts"),
    ],
)
def test_what_comes_later_is_refused(path: str, value: Any) -> None:
    assert "not supported yet" in the_problem(path.replace("__", "."), **{path: value})


def test_what_comes_later_may_be_written_as_off() -> None:
    off = {"alert_on_failure": False, "alert_on_duration_exceed": False}
    assert config(monitoring=off, pipeline_metadata__notification_emails=[])


def test_archive_needs_a_place() -> None:
    cleaning = {"enabled": True, "archive_before_delete": True}
    field = "phases.stage_cleaning.archive_location"
    assert "archive_before_delete needs it" in the_problem(field, phases__stage_cleaning=cleaning)
    cleaning["archive_location"] = "data/archive"  # type: ignore[assignment]
    assert config(phases__stage_cleaning=cleaning).phases.stage_cleaning.archive_before_delete


def test_tolerances_are_exact_decimals() -> None:
    hop = "phases__audit__count_tolerances__stage_to_target_tolerance_percent"
    for written in (0.1, "0.1"):
        tolerances = config(**{hop: written}).phases.audit.count_tolerances
        assert tolerances.stage_to_target_tolerance_percent == Decimal("0.1")
    for wrong in (101, -0.5, float("nan"), 0.00001):
        the_problem(hop.replace("__", "."), **{hop: wrong})


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        ("exponential", [0.0, 1.5, 3.0, 6.0, 12.0]),
        ("linear", [0.0, 1.5, 1.5, 1.5, 1.5]),
        ("none", [0.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_backoff(strategy: Any, waits: list[float]) -> None:
    retry = Retry(backoff_strategy=strategy, backoff_seconds=1.5)
    assert [retry.wait_seconds(number) for number in range(5)] == waits


def test_backoff_never_waits_longer_than_an_hour() -> None:
    assert Retry().wait_seconds(10_000) == 3600.0


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        ("source_system__include_columns", ["id"], "include_columns", "hold the query field"),
        ("source_system__exclude_columns", ["time_hour"], "exclude_columns", "not hold the query"),
        ("source_system__include_columns", ["time_hour", "A b", "a_b"], "safe_names", "both"),
        ("source_system__query_field", "...", "safe_names", "no letter or digit"),
    ],
)
def test_columns_that_do_not_fit(path: str, value: Any, field: str, says: str) -> None:
    assert says in the_problem(f"source_system.{field}", **{path: value})


def test_include_and_exclude_columns_exclude_each_other() -> None:
    said = the_problem(
        "source_system.exclude_columns",
        source_system__include_columns=["time_hour", "id"],
        source_system__exclude_columns=["note"],
    )
    assert "cannot stand beside include_columns" in said


def test_required_fields_must_be_read() -> None:
    for change in ({"include_columns": ["time_hour"]}, {"exclude_columns": ["carrier"]}):
        source = {**values()["source_system"], **change, "required_fields": ["carrier"]}
        said = the_problem("source_system.required_fields", source_system=source)
        assert "leaves out" in said


@pytest.mark.parametrize("section", ["source_system", "stage_system", "target_system"])
@pytest.mark.parametrize("kind", ["opensearch", "mysql", "http", "servicenow", "gcs", "bigquery"])
def test_connectors_that_come_later(section: str, kind: str) -> None:
    said = the_problem(f"{section}.type", **{section: {"type": kind, "anything": 1}})
    assert said.startswith(f"{kind} is not supported yet, known are ")


def test_unknown_connector_kinds() -> None:
    said = the_problem("source_system.type", source_system__type="postgresql")
    assert said == (
        "unknown connector kind, did you mean postgres; known are duckdb, elasticsearch, "
        "postgres, package.module:Class for one's own"
    )
    assert "known are local" in the_problem("stage_system.type", stage_system__type="tape")
    assert "is missing" in the_problem("stage_system.type", stage_system__type=None)
    for kind in ("", 5, ["duckdb"]):
        assert "unknown connector kind" in the_problem(
            "target_system.type", target_system__type=kind
        )


def test_a_connector_of_ones_own() -> None:
    source = {
        "type": "my_company.connectors:LedgerSource",
        "query_field": "booked_at",
        "options": {"ledger": 7, "api_key": "env:LEDGER_KEY"},
    }
    one = config(source_system=source).source_system
    assert isinstance(one, CustomSource)
    assert one.options == source["options"]
    source["type"] = "my company:Ledger Source"
    assert the_problem("source_system.type", source_system=source)


def test_postgres_needs_verified_tls_except_on_loopback() -> None:
    said = the_problem("source_system.sslmode", source_system={**POSTGRES, "sslmode": "require"})
    assert "use verify-full" in said
    here = {**POSTGRES, "sslmode": "disable", "host": "localhost"}
    assert isinstance(config(source_system=here).source_system, PostgresSource)

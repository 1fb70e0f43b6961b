"""What the catalog says of a pipeline's assets, before and after a window was moved."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline_platform.config.load import load_config, parse_config
from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.execution import PHASES
from pipeline_platform.flow.assets import build_assets
from pipeline_platform.flow.catalog import (
    NO_FILE,
    SECTIONS,
    ConfigPlace,
    described,
    freshness_policy,
)
from pipeline_platform.flow.step import CHECK_OF_STEP, STEPS
from pipeline_platform.partitions import partitions_definition
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS
from pipeline_platform_tests.pipelines import (
    create_duckdb_orders,
    duckdb_config,
    duckdb_store,
    make_pipeline,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Specifying a partitions_def on an AssetCheckSpec:dagster.PreviewWarning"
)

NOW = datetime(2024, 6, 1, tzinfo=timezone.utc)
MINUTES = timedelta(minutes=1)


def policy(**changes: Any) -> Any:
    config = parse_config(duckdb_config(**changes)).config
    return freshness_policy(config, NOW)


def test_nothing_is_expected_of_a_pipeline_that_does_not_run_by_itself() -> None:
    assert policy() is None
    assert policy(schedule={"automatic": True, "end_date": "2024-05-01"}) is None


def test_a_window_a_day() -> None:
    found = policy(schedule={"automatic": True})
    assert found.warn_window.to_timedelta() == timedelta(days=1) + 10 * MINUTES
    assert found.fail_window.to_timedelta() == timedelta(days=2) + 10 * MINUTES


def test_expected_durations_and_cron_count() -> None:
    found = policy(
        schedule={"automatic": True, "cron": "0 6 * * 1-5", "end_date": "2025-01-01"},
        phases={
            "source_to_stage_transfer": {"expected_run_duration": "20m"},
            "stage_to_target_transfer": {"expected_run_duration": "10m"},
        },
        monitoring={"duration_multiplier_threshold": 3},
    )
    assert found.warn_window.to_timedelta() == timedelta(days=3) + 100 * MINUTES
    assert found.fail_window.to_timedelta() == timedelta(days=6) + 100 * MINUTES


@pytest.mark.parametrize("step", list(STEPS))
def test_an_asset_names_the_lines_that_it_is_about(step: str, tmp_path: Path) -> None:
    file = tmp_path / "defs" / "orders.yaml"
    file.parent.mkdir()
    config = duckdb_config(phases={"audit": {}, "stage_cleaning": {"enabled": True}})
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    loaded = load_config(file)
    metadata = described(loaded.config, step, ConfigPlace(file, tmp_path, loaded.locate))[
        "metadata"
    ]
    path, _, line = metadata["config"].value.rpartition(":")
    assert path == "defs/orders.yaml"
    last_key = SECTIONS[step].split(".")[-1]
    assert file.read_text().splitlines()[int(line) - 1].strip().startswith(f"{last_key}:")


def test_kinds_and_tables(tmp_path: Path) -> None:
    config = parse_config(duckdb_config(), base_dir=tmp_path).config
    found = {step: described(config, step, NO_FILE) for step in STEPS}
    assert {step: one["kinds"] for step, one in found.items()} == {
        "source": {"duckdb"}, "stage": {"parquet"}, "target": {"duckdb"}, "audit": {"duckdb"},
        "cleaning": {"parquet"},
    }  # fmt: skip
    assert found["source"]["metadata"]["dagster/table_name"] == "source.orders"
    assert found["target"]["metadata"]["dagster/table_name"] == "warehouse.analytics.orders"
    assert {one["pool"] for one in found.values()} == {None}


def test_loads_into_a_snowflake_table_share_a_pool(tmp_path: Path) -> None:
    target = {
        "type": "snowflake", "account": "acme", "user": "ME", "password": "env:P",
        "database": "my data", "schema": "analytics", "table": "orders",
    }  # fmt: skip
    stage = {"type": "s3", "bucket": "acme-stage"}
    values = {**duckdb_config(), "target_system": target, "stage_system": stage}
    config = parse_config(values, base_dir=tmp_path).config
    found = {step: described(config, step, NO_FILE) for step in STEPS}
    assert found["target"]["pool"] == "snowflake/my_data.analytics.orders"
    assert {one["pool"] for step, one in found.items() if step != "target"} == {None}
    assert found["stage"]["kinds"] == {"parquet", "s3"}
    assert found["target"]["metadata"]["dagster/table_name"] == "my data.analytics.orders"


def materialize(folder: Path) -> dg.ExecuteInProcessResult:
    pipeline = make_pipeline(duckdb_config(), folder)
    state = {"type": "duckdb", "path": "warehouse.duckdb"}
    manager = DriveTableIOManager(state=state, base_dir=str(folder), held_wait_seconds=0)
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            build_assets(pipeline, partitions_definition(pipeline.windows), NO_FILE),
            partition_key=KEY,
            instance=instance,
            resources={DRIVE_TABLE: manager},
        )


def of_steps(result: dg.ExecuteInProcessResult) -> Mapping[str, Mapping[str, dg.MetadataValue]]:
    materializations = (
        event.materialization for event in result.get_asset_materialization_events()
    )
    return {one.asset_key.path[-1]: one.metadata for one in materializations}


def test_numbers_of_a_window_moved_and_of_one_passed_through(tmp_path: Path) -> None:
    create_duckdb_orders(tmp_path / "source.duckdb", [DAY], ROWS)
    duckdb_store(tmp_path)
    moved, skipped = materialize(tmp_path), materialize(tmp_path)
    for result, status in ((moved, "SUCCESS"), (skipped, "SKIPPED")):
        found = of_steps(result)
        for step in ("source", "stage", "target", "audit"):
            assert found[step]["dagster/partition_row_count"].value == ROWS
            seconds = found[step]["seconds"].value
            assert isinstance(seconds, float)
            assert 0 < seconds < 60
        assert found["audit"]["status"].value == status
        for check in result.get_asset_check_evaluations():
            facts = {name: value.value for name, value in check.metadata.items()}
            assert check.passed
            assert facts["reason"]
            assert facts["observed"] == ROWS
            if check.check_name != CHECK_OF_STEP["source"]:
                assert (facts["expected"], facts["loss_percent"]) == (ROWS, 0)
                assert facts["tolerance_percent"] == 0
    for step in ("stage", "target"):
        metadata = of_steps(moved)[step]
        assert {"bytes", "rows_per_second", "loss_percent"} <= set(metadata)
        schema = metadata["dagster/column_schema"].value
        assert isinstance(schema, dg.TableSchema)
        assert [column.name for column in schema.columns][:2] == ["id", "placed_at"]


def test_every_phase_may_have_an_expected_duration() -> None:
    config = parse_config(duckdb_config()).config
    assert {name for name, _ in config.phases} == set(PHASES)

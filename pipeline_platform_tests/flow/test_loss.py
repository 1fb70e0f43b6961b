"""A reload that loses rows, through Dagster: the old rows stay and the verdict is on record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.flow.assets import build_assets
from pipeline_platform.flow.catalog import NO_FILE
from pipeline_platform.partitions import partitions_definition
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.flow.conftest import DAY, KEY, KINDS, ROWS, World

pytestmark = pytest.mark.filterwarnings(
    "ignore:Specifying a partitions_def on an AssetCheckSpec:dagster.PreviewWarning"
)

CONNECTORS = "pipeline_platform_tests.faults.connectors"


def spoiled_source(world: World, **options: Any) -> dict[str, Any]:
    real = settings(world)["source_system"]
    return {
        "type": f"{CONNECTORS}:WatchedSource",
        "query_field": "placed_at",
        "options": {"system": real, **options},
    }


def spoiled_target(world: World) -> dict[str, Any]:
    return {"type": f"{CONNECTORS}:lossy_target", "options": settings(world)["target_system"]}


def settings(world: World) -> dict[str, Any]:
    if world.database is not None:
        return pipelines.postgres_config(world.database)
    return pipelines.duckdb_config()


def materialize(
    world: World, instance: dg.DagsterInstance, config: Mapping[str, Any]
) -> dg.ExecuteInProcessResult:
    """All five assets of the window, as the UI runs them."""
    pipeline = pipelines.make_pipeline(config, world.folder)
    state: dict[str, Any] = {"type": "duckdb", "path": "warehouse.duckdb"}
    if world.database is not None:
        state = {"type": "postgres", **world.database.as_config()}
    manager = DriveTableIOManager(state=state, base_dir=str(world.folder), held_wait_seconds=0)
    return dg.materialize(
        build_assets(pipeline, partitions_definition(pipeline.windows), NO_FILE),
        partition_key=KEY,
        instance=instance,
        resources={DRIVE_TABLE: manager},
        raise_on_error=False,
    )


@dataclass(frozen=True)
class Loss:
    """A way to lose rows, and what has to be told about it."""

    asset: str
    check: str
    phase: str
    observed: int
    reason: str
    change: Callable[[World], dict[str, Any]]


LOSSES = {
    "source drops rows": Loss(
        "stage", "stage_count", "source_to_stage_transfer", ROWS - 5,
        "95 rows staged and 0 rejected, but the snapshot counted 100",
        lambda world: {"source_system": spoiled_source(world, drop=5)},
    ),
    "source rejects rows": Loss(
        "stage", "stage_count", "stage_count", ROWS - 5,
        "5 of 100 rows lost, 5.00 % is over the tolerance of 2",
        lambda world: {"source_system": spoiled_source(world, reject=5)},
    ),
    "target drops rows": Loss(
        "target", "target_count", "stage_to_target_transfer", ROWS - 1,
        "1 of 100 rows lost, 1.00 % is over the tolerance of 0",
        lambda world: {"target_system": spoiled_target(world)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_old_rows_stay_and_the_verdict_is_on_record(
    kind: str, name: str, make_world: Callable[[str], World]
) -> None:
    world, loss = make_world(kind), LOSSES[name]
    tolerances = {"phases": {"audit": {"count_tolerances": {
        "source_to_stage_tolerance_percent": 2.0}}}}  # fmt: skip
    good = pipelines.merged(settings(world), tolerances)
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize(world, instance, good).success
        rows_before = world.rows()
        commits = "SELECT * FROM analytics.orders_window_commits"
        loaded = f"SELECT manifest_hash, target_rows, committed_at FROM ({commits}) AS c"
        committed_before = world.at_target(loaded)
        assert len(rows_before) == ROWS

        reload = {**good, **loss.change(world)}
        result = materialize(world, instance, reload)
        assert not result.success
        assert world.rows() == rows_before
        assert world.at_target(loaded) == committed_before

        key = dg.AssetKey(["orders", loss.asset])
        assert key not in {e.asset_key for e in result.get_asset_materialization_events()}
        [failed] = [e for e in result.get_asset_check_evaluations() if not e.passed]
        assert (failed.asset_key, failed.check_name, failed.partition) == (key, loss.check, KEY)
        told = {name: value.value for name, value in failed.metadata.items()}
        assert told["expected"] == ROWS
        assert told["observed"] == loss.observed
        assert told["loss_percent"] == ROWS - loss.observed
        assert told["tolerance_percent"] == (2.0 if loss.phase == "stage_count" else 0.0)
        assert loss.reason in str(told["reason"])

    [failed_run, first_run] = world.store.latest_runs("orders", 10)
    assert (first_run.pipeline_status, failed_run.pipeline_status) == ("SUCCESS", "FAILED")
    assert failed_run.phase_failed == loss.phase
    assert failed_run.error_category == "data"
    phase = next(record for p, record in failed_run.phases.items() if p == loss.phase)
    assert loss.reason in (phase.error_message or "")
    details = phase.phase_specific_details
    assert (details["expected"], details["observed"]) == (ROWS, loss.observed)
    assert Decimal(str(details["loss_percent"])) == ROWS - loss.observed
    assert failed_run.counts()["source_count"]["value"] == ROWS
    record = world.store.latest_record("orders")
    assert record is not None
    assert (record.window_start_time, record.pipeline_status) == (DAY, "PENDING")
    assert record.retry_attempt == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_equals_the_tolerance_passes(
    kind: str, make_world: Callable[[str], World]
) -> None:
    world = make_world(kind)
    config = pipelines.merged(
        {**settings(world), "source_system": spoiled_source(world, reject=2),
         "target_system": spoiled_target(world)},
        {"phases": {"audit": {"count_tolerances": {
            "source_to_stage_tolerance_percent": 2.0, "stage_to_target_tolerance_percent": 2.0}}}},
    )  # fmt: skip
    world.at_source(f"UPDATE orders SET note = 'n1' WHERE id = {ROWS + 9}")
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(world, instance, config)
        assert result.success
        checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert set(checks) == {"ready", "stage_count", "target_count", "audit"}
    assert all(check.passed and check.partition == KEY for check in checks.values())
    audit = {name: value.value for name, value in checks["audit"].metadata.items()}
    assert (audit["expected"], audit["observed"]) == (ROWS, ROWS - 3)
    assert (audit["loss_percent"], audit["tolerance_percent"]) == (3.0, 3.96)
    row = world.store.latest_runs("orders", 1)[0]
    assert row.pipeline_status == "SUCCESS"
    assert row.phases["audit"].phase_specific_details["loss_reasons"] == (
        "2 rejected: not wanted; 1 filtered or deduplicated between stage and target"
    )
    record = world.store.latest_record("orders")
    assert record is not None
    assert (record.source_count, record.target_count, record.count_difference) == (
        ROWS, ROWS - 3, 3,
    )  # fmt: skip
    assert record.percentage_difference == Decimal("3.00")

"""What an asset of one's own gets that takes an asset of a pipeline as input."""

import threading
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.fault_points import InjectedFaultError, fault_hook
from pipeline_platform.flow.assets import build_assets
from pipeline_platform.flow.catalog import NO_FILE
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


def test_the_row_of_the_same_run_or_nothing(tmp_path: Path) -> None:
    create_duckdb_orders(tmp_path / "source.duckdb", [DAY], ROWS)
    duckdb_store(tmp_path)
    pipeline = make_pipeline(duckdb_config(), tmp_path)
    partitions = partitions_definition(pipeline.windows)
    got: list[Any] = []

    @dg.asset(partitions_def=partitions, ins={"audited": dg.AssetIn(key=["orders", "audit"])})
    def report(audited: Any) -> None:
        got.append(audited)

    assets = [*build_assets(pipeline, partitions, NO_FILE), report]
    state = {"type": "duckdb", "path": "warehouse.duckdb"}
    manager = DriveTableIOManager(state=state, base_dir=str(tmp_path), held_wait_seconds=0)
    with dg.DagsterInstance.ephemeral() as instance:
        for selection in (None, [report]):
            result = dg.materialize(
                assets, selection=selection, partition_key=KEY, instance=instance,
                resources={DRIVE_TABLE: manager},
            )  # fmt: skip
            assert result.success
    row, nothing = got
    assert (row.pipeline_name, row.pipeline_status) == ("orders", "SUCCESS")
    assert row.phases["audit"].status == "COMPLETED"
    assert nothing is None


@pytest.mark.parametrize(
    ("point", "succeeds"), [("save.after_commit", True), ("save.before_begin", False)]
)
def test_the_last_handover_gets_no_answer(tmp_path: Path, point: str, succeeds: bool) -> None:
    """Another run takes the window before it is tried again: what was committed stands."""
    create_duckdb_orders(tmp_path / "source.duckdb", [DAY], ROWS)
    duckdb_store(tmp_path)
    pipeline = make_pipeline(duckdb_config(), tmp_path)
    assets = build_assets(pipeline, partitions_definition(pipeline.windows), NO_FILE)
    state = {"type": "duckdb", "path": "warehouse.duckdb"}
    manager = DriveTableIOManager(state=state, base_dir=str(tmp_path), held_wait_seconds=0)
    reached = 0

    def lose_the_last_answer(name: str) -> None:
        nonlocal reached
        reached += name == point
        if name == point and reached == 1 + len(assets):
            with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
                warehouse.execute(
                    "UPDATE pipeline_platform.pipeline_records SET owner = 'another', "
                    "epoch = epoch + 1, lease_until = now() + INTERVAL 5 MINUTE"
                )
            raise InjectedFaultError("No answer.")

    with dg.DagsterInstance.ephemeral() as instance, fault_hook(lose_the_last_answer):
        result = dg.materialize(
            assets, partition_key=KEY, instance=instance, raise_on_error=False,
            resources={DRIVE_TABLE: manager},
        )  # fmt: skip
    assert reached > len(assets)
    assert result.success is succeeds


def test_a_step_that_waits_for_its_turn_keeps_the_claim(tmp_path: Path) -> None:
    """Between two steps there is a heartbeat; behind the last one, and after a failure, none."""
    create_duckdb_orders(tmp_path / "source.duckdb", [DAY], ROWS)
    duckdb_store(tmp_path)
    pipeline = make_pipeline(duckdb_config(), tmp_path)
    partitions = partitions_definition(pipeline.windows)
    beating: list[bool] = []

    def beats() -> bool:
        return any(thread.name == "heartbeat" for thread in threading.enumerate())

    @dg.asset(
        partitions_def=partitions, deps=[["orders", "stage"]], op_tags={"dagster/priority": "10"}
    )
    def before_target() -> None:
        beating.append(beats())

    assets = [*build_assets(pipeline, partitions, NO_FILE), before_target]
    state = {"type": "duckdb", "path": "warehouse.duckdb"}
    manager = DriveTableIOManager(state=state, base_dir=str(tmp_path), held_wait_seconds=0)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            assets, partition_key=KEY, instance=instance, resources={DRIVE_TABLE: manager}
        )
    steps = [event.step_key for event in result.get_step_success_events()]
    assert steps.index("before_target") < steps.index("orders__target")
    assert beating == [True]
    assert not beats()

"""What dead runs leave behind goes after the grace: attempt paths of this window and of others."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.fault_points import fault_hook
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform.targets import snowflake_load
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS, World
from pipeline_platform_tests.flow.test_cleaning import NEXT_KEY, attempts
from pipeline_platform_tests.flow.test_drive_row import fails_at
from pipeline_platform_tests.flow.test_failures import DiedError, expire_lease
from pipeline_platform_tests.pipelines import (
    create_duckdb_orders,
    duckdb_config,
    duckdb_store,
    make_pipeline,
    run_window,
)
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase
from pipeline_platform_tests.targets.snowflake_schema import SnowflakeSchema
from pipeline_platform_tests.targets.warehouse import stop_at

# What no database has a part in.
on_one_kind = pytest.mark.parametrize("world", ["postgres"], indirect=True)


def with_grace(world: World, hours: float) -> Pipeline:
    return world.pipeline(phases={"stage_cleaning": {"superseded_grace_hours": hours}})


@contextmanager
def dies_at(world: World, point: str) -> Iterator[None]:
    """The process ends at this point: from there on it changes nothing more; its lease runs out."""
    dead: list[str] = []

    def hook(name: str) -> None:
        if dead or name == point:
            dead.append(name)
            raise DiedError

    with pytest.raises(DiedError), fault_hook(hook):
        yield
    expire_lease(world)


def handled(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = row.phases["stale_pipeline_handling"].phase_specific_details
    return found


def removed(row: Any) -> tuple[int, int]:
    """Attempts and load tables."""
    assert "clean_up_error" not in handled(row)
    return handled(row)["stale_attempts_removed"], handled(row)["load_tables_removed"]


def test_attempts_of_dead_runs_go_after_the_grace_and_with_their_reason(world: World) -> None:
    patient, hasty = with_grace(world, 1), with_grace(world, 0)
    with dies_at(world, "stage.before_manifest"):
        run_window(patient, world.store, KEY, run_id="first")
    with dies_at(world, "stage.after_manifest"):
        run_window(patient, world.store, KEY, run_id="second")
    third = run_window(patient, world.store, KEY)
    assert third.phases["source_to_stage_transfer"].status == "SKIPPED"  # goes on from run2
    assert (handled(third)["stale_records_found"], handled(third)["records_resolved"]) == (1, 1)
    assert handled(third)["runs"] == ["orders_20240310T0000Z_run2"]
    assert removed(third) == (0, 0)
    for owner in ("first", "second"):
        dead = world.store.run_of("orders", owner)
        assert dead is not None
        assert dead.pipeline_status == "FAILED"
        [why] = [phase.error_message for phase in dead.phases.values() if phase.error_message]
        assert why.startswith("The run died")
    assert attempts(world, KEY) == ["run1", "run2"]
    again = run_window(hasty, world.store, KEY)
    assert again.pipeline_status == "SKIPPED"
    assert removed(again) == (1, 0)
    assert attempts(world, KEY) == ["run2"]
    assert removed(run_window(hasty, world.store, KEY)) == (0, 0)
    assert len(world.rows()) == ROWS


def test_a_window_that_healed_is_tidied_by_the_next_window(world: World) -> None:
    hasty = with_grace(world, 0)
    with dies_at(world, "stage.before_manifest"):
        run_window(hasty, world.store, KEY)
    assert run_window(hasty, world.store, KEY).pipeline_status == "SUCCESS"
    assert attempts(world, KEY) == ["run1", "run2"]
    left = list((world.folder / "stage" / "orders" / "20240310T000000Z" / "run1").iterdir())
    next_window = run_window(hasty, world.store, NEXT_KEY)
    assert removed(next_window) == (1, 0)
    assert handled(next_window)["files_removed"] == len(left) > 0
    assert attempts(world, KEY) == ["run2"]
    assert run_window(hasty, world.store, KEY).pipeline_status == "SKIPPED"


@on_one_kind
def test_the_newest_the_newest_whole_and_the_committed_attempt_stay(world: World) -> None:
    hasty = with_grace(world, 0)
    run_window(hasty, world.store, KEY)
    with dies_at(world, "stage.before_manifest"):
        run_window(hasty, world.store, KEY, force=True)
    assert removed(run_window(hasty, world.store, KEY)) == (0, 0)
    assert attempts(world, KEY) == ["run1", "run2"]  # committed and whole; newest
    with dies_at(world, "stage.after_manifest"):
        run_window(hasty, world.store, KEY, force=True)
    assert attempts(world, KEY) == ["run1", "run2", "run4"]
    assert removed(run_window(hasty, world.store, KEY)) == (1, 0)
    assert attempts(world, KEY) == ["run1", "run4"]
    assert len(world.rows()) == ROWS


def test_a_worker_that_still_stages_a_removed_attempt_changes_nothing(world: World) -> None:
    hasty = with_grace(world, 0)

    def meanwhile() -> None:
        expire_lease(world)
        run_window(hasty, world.store, KEY, steps=["source", "stage"])
        row = run_window(hasty, world.store, KEY)
        assert (row.pipeline_status, removed(row)) == ("SUCCESS", (1, 0))
        assert attempts(world, KEY) == ["run2"]

    hook = stop_at("stage.before_manifest", meanwhile)
    with fault_hook(hook), pytest.raises(StepFailedError):
        run_window(hasty, world.store, KEY, run_id="paused")
    committed = world.at_target("SELECT epoch, target_rows FROM analytics.orders_window_commits")
    assert committed == [(3, ROWS)]
    assert len(world.rows()) == ROWS
    assert attempts(world, KEY) == ["run1", "run2"]  # a manifest without files, which counts for
    after = run_window(hasty, world.store, KEY)  # nothing and goes again
    assert (after.pipeline_status, removed(after)) == ("SKIPPED", (1, 0))
    assert attempts(world, KEY) == ["run2"]


def test_a_worker_that_still_loads_a_removed_attempt_changes_nothing(world: World) -> None:
    hasty = with_grace(world, 0)

    def meanwhile() -> None:
        expire_lease(world)
        run_window(hasty, world.store, KEY, force=True)
        world.at_source("DELETE FROM orders WHERE id BETWEEN 100 AND 101")
        assert removed(run_window(hasty, world.store, KEY, force=True)) == (1, 0)
        assert attempts(world, KEY) == ["run2", "run3"]

    hook = stop_at("load.before_begin", meanwhile)
    with fault_hook(hook), pytest.raises(StepFailedError):
        run_window(hasty, world.store, KEY, run_id="paused")
    assert len(world.rows()) == ROWS - 2
    assert world.at_target("SELECT epoch, target_rows FROM analytics.orders_window_commits") == [
        (3, ROWS - 2)
    ]
    assert run_window(hasty, world.store, KEY).pipeline_status == "SKIPPED"


@on_one_kind
def test_a_clean_up_that_fails_is_told_and_the_window_moves(world: World) -> None:
    hasty = with_grace(world, 0)
    with dies_at(world, "stage.before_manifest"):
        run_window(hasty, world.store, KEY)
    with dies_at(world, "stage.before_manifest"):
        run_window(hasty, world.store, KEY)
    with fails_at("clean.before_delete"):
        row = run_window(hasty, world.store, KEY)
    assert row.pipeline_status == "SUCCESS"
    assert row.phases["stale_pipeline_handling"].status == "COMPLETED"
    assert "Injected fault" in handled(row)["clean_up_error"]
    assert attempts(world, KEY) == ["run1", "run2", "run3"]
    assert removed(run_window(hasty, world.store, NEXT_KEY)) == (2, 0)
    assert attempts(world, KEY) == ["run3"]


@on_one_kind
def test_a_disabled_phase_removes_nothing(world: World) -> None:
    hasty = with_grace(world, 0)
    with dies_at(world, "stage.before_manifest"):
        run_window(hasty, world.store, KEY)
    run_window(hasty, world.store, KEY)
    off = world.pipeline(phases={
        "stale_pipeline_handling": {"enabled": False},
        "stage_cleaning": {"superseded_grace_hours": 0},
    })  # fmt: skip
    row = run_window(off, world.store, KEY)
    assert "stale_pipeline_handling" in row.phases_skipped
    assert attempts(world, KEY) == ["run1", "run2"]


def test_load_tables_of_dead_runs_go_with_the_next_window(
    snowflake_database: SnowflakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that died in its load and never ran again, and of one that died after its commit."""
    days = [DAY + timedelta(days=number) for number in range(3)]
    create_duckdb_orders(tmp_path / "source.duckdb", days, 10)
    snowflake = {
        "type": "snowflake", **snowflake_database.as_config(), "schema": "analytics",
        "table": "orders",
    }  # fmt: skip
    config = duckdb_config(phases={"stage_cleaning": {"superseded_grace_hours": 0}})
    orders = make_pipeline({**config, "target_system": snowflake}, tmp_path)
    world = World("duckdb", tmp_path, duckdb_store(tmp_path), None)
    schema = SnowflakeSchema(snowflake_database)
    with monkeypatch.context() as dead:
        dead.setattr(snowflake_load, "drop", lambda session, load: None)
        with dies_at(world, "load.before_begin"):
            run_window(orders, world.store, KEY)
        with dies_at(world, "load.after_commit"):
            run_window(orders, world.store, NEXT_KEY)
    assert [name[-5:] for name in schema.load_tables()] == ["_RUN1", "_RUN1"]
    healed = run_window(orders, world.store, NEXT_KEY)
    assert healed.phases["stage_to_target_transfer"].status == "SKIPPED"  # committed already
    assert removed(healed) == (0, 2)
    assert schema.load_tables() == []
    assert removed(run_window(orders, world.store, "2024-03-12")) == (0, 0)
    assert schema.execute("SELECT count(*) FROM analytics.orders") == [(20,)]

"""Both resets through real failures, dead and interrupted runs, windows held or not ready."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_platform.errors import (
    AuditMismatchError,
    PermanentError,
    VerificationError,
    WindowHeldError,
    WindowNotReadyError,
)
from pipeline_platform.execution import PHASES
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.flow.pending import build_complete_pipeline_record
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform.record import PipelineRecord, RecordKey
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS, World
from pipeline_platform_tests.flow.test_drive_row import fails_at
from pipeline_platform_tests.pipelines import run_window

WINDOW = RecordKey("orders", DAY, DAY + timedelta(days=1))
NEXT_KEY = "2024-03-11"
SOURCE_TO_STAGE = {
    "source_to_stage_ingestion_start_time": None,
    "source_to_stage_ingestion_end_time": None,
    "source_to_stage_ingestion_status": "PENDING",
}
STAGE_TO_TARGET = {
    "stage_to_target_ingestion_start_time": None,
    "stage_to_target_ingestion_end_time": None,
    "stage_to_target_ingestion_status": "PENDING",
}
AUDIT = {
    "audit_start_time": None,
    "audit_end_time": None,
    "audit_status": "PENDING",
    "audit_result": None,
    "source_count": None,
    "target_count": None,
    "count_difference": None,
    "percentage_difference": None,
}
PIPELINE = {"pipeline_start_time": None, "pipeline_end_time": None, "pipeline_status": "PENDING"}


class DiedError(BaseException):
    """The process ends here; nothing after it happens."""


def record_of(world: World) -> PipelineRecord:
    found = world.store.record(WINDOW)
    assert found is not None
    return found


def values(record: PipelineRecord, names: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def expire_lease(world: World) -> None:
    world.at_target(
        "UPDATE pipeline_platform.pipeline_records "
        "SET lease_until = lease_until - INTERVAL '1 hour' WHERE owner IS NOT NULL"
    )


@pytest.mark.parametrize(
    ("point", "phase", "reset", "phase_completed"),
    [
        ("stage.after_batch", "source_to_stage_transfer", SOURCE_TO_STAGE, None),
        ("load.after_delete", "stage_to_target_transfer", STAGE_TO_TARGET, "SOURCE_TO_STAGE"),
        ("audit.before_verdict", "audit", AUDIT, "STAGE_TO_TARGET"),
    ],
)
def test_process_failure_resets_its_phase_only(
    world: World, point: str, phase: str, reset: dict[str, Any], phase_completed: str | None
) -> None:
    with fails_at(point), pytest.raises(StepFailedError):
        run_window(world.pipeline(), world.store, KEY)
    record = record_of(world)
    [row] = world.store.look_up(WINDOW).runs
    assert (row.pipeline_status, row.phase_failed) == ("FAILED", phase)
    assert values(record, reset) == reset
    assert values(record, PIPELINE) == PIPELINE
    assert record.phase_completed == phase_completed
    assert record.retry_attempt == 1
    assert record.record_first_created_time is not None
    assert record.record_last_updated_time is not None
    assert record.record_last_updated_time > record.record_first_created_time
    assert record.owner is None
    kept = {"SOURCE_TO_STAGE": ["source_to_stage"], None: []}.get(
        phase_completed, ["source_to_stage", "stage_to_target"]
    )
    for hop in kept:
        assert getattr(record, f"{hop}_ingestion_status") == "COMPLETED"
        assert getattr(record, f"{hop}_ingestion_start_time") is not None
        assert getattr(record, f"{hop}_ingestion_end_time") is not None
    staged = list((world.folder / "stage").rglob("*.parquet"))
    assert bool(staged) == (phase != "source_to_stage_transfer")
    retried = run_window(world.pipeline(), world.store, KEY)
    assert retried.pipeline_status == "SUCCESS"
    skipped = [p for p in retried.phases_skipped if p.endswith("_transfer")]
    assert skipped == ["source_to_stage_transfer", "stage_to_target_transfer"][: len(kept)]
    assert len(world.rows()) == ROWS


def lose_rows_after_the_commit(world: World) -> Any:
    """A hook: somebody deletes rows of the target between its count and the audit."""

    def hook(name: str) -> None:
        row = world.store.look_up(WINDOW).runs[0] if name == "save.after_commit" else None
        if row is not None and row.phases_completed[-1:] == ["target_count"]:
            world.at_target(f"DELETE FROM analytics.orders WHERE id < {ROWS + 7}")

    return fault_hook(hook)


def test_audit_mismatch_resets_everything_and_the_next_run_starts_from_zero(world: World) -> None:
    with lose_rows_after_the_commit(world), pytest.raises(StepFailedError) as failed:
        run_window(world.pipeline(), world.store, KEY)
    assert isinstance(failed.value.error, AuditMismatchError)
    assert failed.value.check is not None
    assert failed.value.check.name == "audit"
    assert failed.value.check.facts == {
        "expected": ROWS, "observed": ROWS - 7, "observed_by_query_field": ROWS - 7,
        "loss_percent": 7.0, "tolerance_percent": 0.0,
    }  # fmt: skip
    record = record_of(world)
    everything = {**SOURCE_TO_STAGE, **STAGE_TO_TARGET, **AUDIT, **PIPELINE,
                  "phase_completed": None, "record_first_created_time": None,
                  "record_last_updated_time": None, "retry_attempt": 1,
                  "owner": None, "lease_until": None}  # fmt: skip
    assert values(record, everything) == everything
    [row] = world.store.look_up(WINDOW).runs
    assert (row.phase_failed, row.error_category) == ("audit", "data")
    assert not list((world.folder / "stage").rglob("*.parquet"))
    assert len(world.rows()) == ROWS - 7  # kept until the next load replaces them
    assert world.at_target("SELECT audit_result FROM analytics.orders_window_commits") == [
        ("FAIL",)
    ]

    again = run_window(world.pipeline(), world.store, KEY)
    assert (again.pipeline_status, again.pipeline_retry_number) == ("SUCCESS", 1)
    assert "source_to_stage_transfer" in again.phases_completed
    assert len(world.rows()) == ROWS
    assert record_of(world).record_first_created_time is not None


@pytest.mark.parametrize(("on_final_mismatch", "left"), [("keep", ROWS - 7), ("delete", 0)])
def test_a_mismatch_of_the_last_attempt(world: World, on_final_mismatch: str, left: int) -> None:
    pipeline = world.pipeline(
        retry={"max_retries": 0}, phases={"audit": {"on_final_mismatch": on_final_mismatch}}
    )
    with lose_rows_after_the_commit(world), pytest.raises(StepFailedError):
        run_window(pipeline, world.store, KEY)
    assert len(world.rows()) == left


def test_a_load_that_does_not_verify_leaves_the_old_rows_whatever_the_config_says(
    world: World,
) -> None:
    pipeline = world.pipeline(
        retry={"max_retries": 0}, phases={"audit": {"on_final_mismatch": "delete"}}
    )
    run_window(pipeline, world.store, KEY)
    before = world.rows()

    def change_a_value(name: str) -> None:
        if name == "load.before_commit_row":  # the files were just compared with the manifest
            [file] = (world.folder / "stage").rglob("run2/*.parquet")
            table = pq.read_table(file)
            ids = pa.array([*table["id"].to_pylist()[:-1], 4711], pa.int64())
            pq.write_table(table.set_column(0, table.schema.field("id"), ids), file)

    with fault_hook(change_a_value), pytest.raises(StepFailedError, match="differ") as failed:
        run_window(pipeline, world.store, KEY, force=True)
    assert type(failed.value.error) is VerificationError
    assert world.rows() == before
    assert not list((world.folder / "stage").rglob("*.parquet"))


@pytest.mark.fault_row(8)
def test_a_dead_run_is_closed_by_the_next_one_of_any_window(world: World) -> None:
    pipeline = world.pipeline()
    saves: list[str] = []

    def die(name: str) -> None:
        if name == "save.after_commit":
            saves.append(name)
            if len(saves) == 2:  # the claim's, then the source's
                raise DiedError

    with pytest.raises(DiedError), fault_hook(die):
        run_window(pipeline, world.store, KEY, run_id="dead")
    assert world.store.look_up(WINDOW).runs[0].pipeline_status == "RUNNING"
    with pytest.raises(StepFailedError) as held:
        run_window(pipeline, world.store, KEY)
    assert isinstance(held.value.error, WindowHeldError)
    expire_lease(world)
    other = run_window(pipeline, world.store, NEXT_KEY)
    handling = other.phases["stale_pipeline_handling"].phase_specific_details
    assert (handling["stale_records_found"], handling["records_resolved"]) == (1, 1)
    dead = world.store.run_of("orders", "dead")
    assert dead is not None
    assert (dead.pipeline_status, dead.error_category) == ("FAILED", "transient")
    assert dead.phase_failed == "source_to_stage_transfer"
    assert dead.pipeline_end_timestamp is not None
    assert dead.pipeline_run_duration is not None
    assert run_window(pipeline, world.store, KEY).pipeline_retry_number == 1


@pytest.mark.fault_row(4)
def test_a_run_that_lost_its_window_cleans_nothing(world: World) -> None:
    pipeline = world.pipeline()
    asleep: list[str] = []

    def oversleep(name: str) -> None:
        if name == "stage.after_manifest" and not asleep:
            asleep.append(name)
            expire_lease(world)
            run_window(pipeline, world.store, KEY, run_id="taker")
            raise VerificationError("The files are not what they were.")

    with fault_hook(oversleep), pytest.raises(StepFailedError):
        run_window(pipeline, world.store, KEY, run_id="sleeper")
    taker, sleeper = world.store.look_up(WINDOW).runs
    assert (taker.dagster_run_id, taker.pipeline_status) == ("taker", "SUCCESS")
    assert (sleeper.dagster_run_id, sleeper.pipeline_status) == ("sleeper", "FAILED")
    assert list((world.folder / "stage").rglob("manifest.json"))
    assert record_of(world).pipeline_status == "COMPLETED"
    assert len(world.rows()) == ROWS


@pytest.mark.fault_row(5)
def test_a_held_window_leaves_no_trace(world: World) -> None:
    pipeline = world.pipeline()
    fresh = build_complete_pipeline_record(
        pipeline.record_plan(), pipeline.windows.window_of_key(KEY)
    )
    assert world.store.claim(fresh, "another-run") is not None
    before = record_of(world)
    with pytest.raises(StepFailedError) as failed:
        run_window(pipeline, world.store, KEY)
    assert isinstance(failed.value.error, WindowHeldError)
    assert failed.value.check is None  # the run that holds the window gives the verdict
    assert record_of(world) == before
    assert world.store.look_up(WINDOW).runs == ()


def test_a_window_that_is_not_ready(world: World) -> None:
    pipeline = world.pipeline(query_window={"x_time_back": "2h"})
    today = datetime.now(timezone.utc).date().isoformat()
    with pytest.raises(StepFailedError) as failed:
        run_window(pipeline, world.store, today)
    assert isinstance(failed.value.error, WindowNotReadyError)
    assert not failed.value.error.retryable
    assert failed.value.check is not None
    assert (failed.value.check.name, failed.value.check.passed) == ("ready", False)
    [row] = world.store.latest_runs("orders", 5)
    assert (row.pipeline_status, row.phase_failed) == ("FAILED", "pre_validation")
    record = world.store.latest_record("orders")
    assert record is not None
    assert (record.pipeline_status, record.owner) == ("PENDING", None)
    assert not (world.folder / "stage" / "orders").exists()


@pytest.mark.fault_row(7)
def test_an_interrupt_is_recorded_and_frees_the_window(world: World) -> None:
    with (
        fails_at("stage.after_batch", KeyboardInterrupt()),
        pytest.raises(StepFailedError) as failed,
    ):
        run_window(world.pipeline(), world.store, KEY)
    assert isinstance(failed.value.interrupted, KeyboardInterrupt)
    [row] = world.store.look_up(WINDOW).runs
    assert (row.pipeline_status, row.phase_failed) == ("FAILED", "source_to_stage_transfer")
    assert row.error_category == "transient"
    record = record_of(world)
    assert (record.owner, record.retry_attempt) == (None, 1)
    assert run_window(world.pipeline(), world.store, KEY).pipeline_status == "SUCCESS"


def test_a_subset_before_the_audit_leaves_phases_pending(world: World) -> None:
    first = run_window(world.pipeline(), world.store, KEY, steps=["source", "stage"])
    assert first.pipeline_status == "SUCCESS"
    assert first.phases_pending == list(PHASES[5:])
    assert first.pipeline_end_timestamp is not None
    record = record_of(world)
    assert (record.pipeline_status, record.phase_completed, record.owner) == (
        "PENDING", "SOURCE_TO_STAGE", None,
    )  # fmt: skip
    rest = run_window(world.pipeline(), world.store, KEY, steps=["target", "audit", "cleaning"])
    assert (rest.pipeline_status, rest.pipeline_retry_number) == ("SUCCESS", 0)
    assert rest.phases_pending == []
    assert rest.phases["source_to_stage_transfer"].status == "SKIPPED"
    assert rest.phases["stage_to_target_transfer"].status == "COMPLETED"
    assert record_of(world).pipeline_status == "COMPLETED"
    assert len(world.rows()) == ROWS


@pytest.mark.parametrize(
    ("done", "steps", "missing"),
    [
        ([], ["target"], "orders/stage"),
        (["source", "stage"], ["audit", "cleaning"], "orders/target"),
        (["source", "stage", "target"], ["cleaning"], "orders/audit"),
    ],
)
def test_a_subset_says_which_asset_is_missing(
    world: World, done: list[str], steps: list[str], missing: str
) -> None:
    if done:
        run_window(world.pipeline(), world.store, KEY, steps=done)
    with pytest.raises(StepFailedError, match=f"Materialize {missing} for this") as failed:
        run_window(world.pipeline(), world.store, KEY, steps=steps)
    assert isinstance(failed.value.error, PermanentError)
    assert world.store.look_up(WINDOW).runs[0].pipeline_status == "FAILED"
    assert record_of(world).owner is None
    assert run_window(world.pipeline(), world.store, KEY).pipeline_status == "SUCCESS"

"""What later assets may go on from: only what pre-validation of the same run decided on."""

from datetime import datetime, timedelta, timezone

import pytest

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import PermanentError, ToleranceError, TransientError
from pipeline_platform.flow.claim import claim_window
from pipeline_platform.flow.pending import store_new_and_pass_valid_record
from pipeline_platform.flow.plan import decide
from pipeline_platform.flow.run import RunRequest
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform.movement import AttemptPath
from pipeline_platform.record import RecordKey
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS, World
from pipeline_platform_tests.pipelines import LOG, run_window

RECORD = RecordKey("orders", DAY, DAY + timedelta(days=1))
LATE = "INSERT INTO orders VALUES (9999, '2024-03-10 12:00:00+00', 1.5, 'late', NULL)"


@pytest.mark.parametrize(
    "steps", [["source", "target", "audit", "cleaning"], ["source", "stage", "audit", "cleaning"]]
)
def test_a_run_with_a_gap_goes_on_from_nothing_stale(world: World, steps: list[str]) -> None:
    run_window(world.pipeline(), world.store, KEY)
    before = world.rows()
    world.at_source(LATE)
    with pytest.raises(StepFailedError, match="Materialize orders/") as failed:
        run_window(world.pipeline(), world.store, KEY, steps=steps)
    assert isinstance(failed.value.error, PermanentError)
    assert world.rows() == before
    record = world.store.record(RECORD)
    assert record is not None
    assert record.pipeline_status == "PENDING"
    assert run_window(world.pipeline(), world.store, KEY).pipeline_status == "SUCCESS"
    assert len(world.rows()) == ROWS + 1


def test_a_window_forced_before_it_is_ready_is_looked_at_again(world: World) -> None:
    settling = world.pipeline(query_window={"x_time_back": "36500d"})
    row = run_window(settling, world.store, KEY, force=True)
    assert row.pipeline_status == "SUCCESS"
    record = world.store.record(RECORD)
    assert record is not None
    assert (record.pipeline_status, record.audit_result) == ("PENDING", "PASS")
    world.at_source(LATE)
    assert run_window(world.pipeline(), world.store, KEY).pipeline_status == "SUCCESS"
    assert len(world.rows()) == ROWS + 1
    record = world.store.record(RECORD)
    assert record is not None
    assert record.pipeline_status == "COMPLETED"


def test_rows_corrected_at_the_source_are_read_again(world: World) -> None:
    world.at_source("UPDATE orders SET note = 'n' WHERE note IS NULL")
    world.at_source("UPDATE orders SET note = NULL WHERE id = 150")
    strict = world.pipeline(source_system={"required_fields": ["note"]})
    with pytest.raises(StepFailedError) as failed:
        run_window(strict, world.store, KEY)
    assert isinstance(failed.value.error, ToleranceError)
    world.at_source("UPDATE orders SET note = 'mended' WHERE id = 150")
    assert run_window(strict, world.store, KEY).pipeline_status == "SUCCESS"
    assert "mended" in {row[3] for row in world.rows()}


def test_a_changed_target_setting_loads_once_and_then_skips(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    moved = world.pipeline(target_system={"table": "orders_2"})
    first = run_window(moved, world.store, KEY)
    assert first.pipeline_status == "SUCCESS"
    assert "source_to_stage_transfer" in first.phases_skipped
    assert run_window(moved, world.store, KEY).pipeline_status == "SKIPPED"


def test_an_epoch_that_is_too_low_decides_nothing(world: World) -> None:
    pipeline = world.pipeline()
    run_window(pipeline, world.store, KEY)
    window = pipeline.windows.window_of_key(KEY)
    run = claim_window(pipeline, window, world.store, RunRequest("run-2", True, True), LOG)
    source = pipeline.stage.open_manifest(AttemptPath(run.slice, 1))
    assert source is not None
    with pipeline.source.read(run.slice) as snapshot:
        pipeline.stage.write(
            AttemptPath(run.slice, 7),
            snapshot,
            pipeline_id="orders_run7",
            query_field=source.query_field,
            config_hashes=source.config_hashes,
            still_ours=lambda: None,
        )
    with pytest.raises(TransientError, match="has seen epoch 7, this run has 2"):
        decide(run)


def passed_on(world: World, now: datetime) -> tuple[list[datetime], str]:
    schedule = {"start_date": "2024-03-09", "end_date": "2024-03-12"}
    plan = world.pipeline(schedule=schedule).record_plan()
    result = store_new_and_pass_valid_record(plan, world.store, now, limit=10)
    refused = " ".join(result.refused.values())
    return [record.window_start_time for record in result.records], refused


def test_the_sensor_leaves_a_window_alone_that_failed_for_good(world: World) -> None:
    store: DriveStore = world.store
    run_window(world.pipeline(), store, KEY)
    world.at_source("DELETE FROM orders WHERE id BETWEEN 100 AND 150")
    with pytest.raises(StepFailedError):
        run_window(world.pipeline(), store, KEY)
    now = datetime.now(timezone.utc)
    starts, refused = passed_on(world, now)
    assert DAY not in starts
    assert "data error; run it by hand" in refused


def test_the_sensor_waits_for_the_retry_of_a_transient_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = world.pipeline()

    def away(*_: object) -> None:
        raise TransientError("The source is away.")

    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline.source), "read", away)
        with pytest.raises(StepFailedError):
            run_window(pipeline, world.store, KEY)
    now = world.store.now()
    starts, refused = passed_on(world, now)
    assert DAY not in starts
    assert "its retry is due" in refused
    assert DAY in passed_on(world, now + timedelta(minutes=11))[0]


def test_windows_cut_differently_are_restated(world: World) -> None:
    """From days to six hours: refused before anything is read, then replaced part by part."""
    run_window(world.pipeline(), world.store, KEY)
    before = [row[:5] for row in world.rows()]
    six_hours = world.pipeline(query_window={"duration": "6h"})
    keys = [f"{KEY}-{hour:02d}:00" for hour in (0, 6, 12, 18)]
    with pytest.raises(StepFailedError, match=r"overlaps 1 committed with other bounds.*--restate"):
        run_window(six_hours, world.store, keys[0])
    assert not list((world.folder / "stage").rglob("*T000000Z/run2/*.parquet"))
    for key in keys:
        row = run_window(six_hours, world.store, key, restate=True)
        assert row.pipeline_status == "SUCCESS"
        assert [found[:5] for found in world.rows()] == before
    row = run_window(six_hours, world.store, keys[0])
    assert row.pipeline_status == "SKIPPED"
    # The day again: what it staged then is not what the hours replaced it with. Run numbers go on.
    row = run_window(world.pipeline(), world.store, KEY, restate=True)
    assert row.phases["pre_validation"].phase_specific_details["action"] == "start_over"
    assert row.epoch > max(run.epoch for run in world.store.latest_runs("orders", 50)[1:])
    assert [found[:5] for found in world.rows()] == before

"""One window from source to target: moved, skipped, moved again when the source changed."""

from datetime import timedelta

import pytest

from pipeline_platform.errors import ToleranceError
from pipeline_platform.execution import PHASES
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS, World
from pipeline_platform_tests.pipelines import run_window


def test_fresh_window_arrives_whole_and_only_it(world: World) -> None:
    row = run_window(world.pipeline(), world.store, KEY)
    assert row.pipeline_status == "SUCCESS"
    day = [r for r in world.source_rows() if DAY <= r[1] < DAY + timedelta(days=1)]
    assert [r[:5] for r in world.rows()] == day
    assert {r[5:] for r in world.rows()} == {("orders", DAY)}
    assert row.phases_completed == [p for p in PHASES if not p.endswith("_cleaning")]
    assert row.phases_skipped == ["stage_cleaning", "target_cleaning"]
    assert row.phases_pending == []
    assert row.phase_failed is None
    counts = row.counts()
    assert [counts[p]["value"] for p in ("source_count", "stage_count", "target_count")] == [
        ROWS, ROWS, ROWS,
    ]  # fmt: skip


def test_unchanged_window_is_skipped_without_reading_a_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = world.pipeline()
    run_window(pipeline, world.store, KEY)
    before = world.rows()

    def refuse(*_: object) -> None:
        raise AssertionError("a row was read")

    monkeypatch.setattr(type(pipeline.source), "read", refuse)
    row = run_window(pipeline, world.store, KEY)
    assert row.pipeline_status == "SKIPPED"
    assert "already right" in row.phases["pre_validation"].phase_specific_details["reason"]
    assert row.phases_completed == ["stale_pipeline_handling", "pre_validation"]
    assert set(row.phases_skipped) == set(PHASES[2:])
    assert world.rows() == before
    assert len(world.store.look_up(row_key(world)).runs) == 2


def test_more_rows_at_the_source_load_the_window_again_whole(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_source("INSERT INTO orders VALUES (9999, '2024-03-10 12:00:00+00', 1.5, 'late', NULL)")
    row = run_window(world.pipeline(), world.store, KEY)
    assert row.pipeline_status == "SUCCESS"
    assert len(world.rows()) == ROWS + 1
    assert 9999 in {r[0] for r in world.rows()}


def test_three_percent_fewer_rows_load_the_window_again(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_source("DELETE FROM orders WHERE id BETWEEN 100 AND 102")
    assert run_window(world.pipeline(), world.store, KEY).pipeline_status == "SUCCESS"
    assert len(world.rows()) == ROWS - 3


def test_thirty_percent_fewer_rows_are_refused_and_the_old_rows_stay(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    before = world.rows()
    world.at_source("DELETE FROM orders WHERE id BETWEEN 100 AND 129")
    with pytest.raises(StepFailedError, match="shrank by more than 5") as failed:
        run_window(world.pipeline(), world.store, KEY)
    assert isinstance(failed.value.error, ToleranceError)
    assert failed.value.check is not None
    assert not failed.value.check.passed
    assert world.rows() == before
    row = world.store.look_up(row_key(world)).runs[0]
    assert (row.pipeline_status, row.phase_failed) == ("FAILED", "pre_validation")
    assert row.error_category == "data"
    forced = run_window(world.pipeline(), world.store, KEY, force=True)
    assert forced.pipeline_status == "SUCCESS"
    assert len(world.rows()) == ROWS - 30


def test_changed_values_are_seen_with_a_change_field_only(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_source(
        "UPDATE orders SET note = 'changed', updated_at = '2024-03-12 00:00:00+00' WHERE id = 150"
    )
    assert run_window(world.pipeline(), world.store, KEY).pipeline_status == "SKIPPED"
    noticing = world.pipeline(source_system={"change_field": "updated_at"})
    assert run_window(noticing, world.store, KEY).pipeline_status == "SUCCESS"
    assert "changed" in {r[3] for r in world.rows()}
    assert run_window(noticing, world.store, KEY).pipeline_status == "SKIPPED"
    world.at_source("UPDATE orders SET updated_at = '2024-03-13 00:00:00+00' WHERE id = 151")
    assert run_window(noticing, world.store, KEY).pipeline_status == "SUCCESS"


def test_record_follows_the_run(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    record = world.store.record(row_key(world))
    assert record is not None
    assert (record.pipeline_status, record.audit_result) == ("COMPLETED", "PASS")
    assert (record.source_count, record.target_count, record.count_difference) == (ROWS, ROWS, 0)
    assert record.phase_completed == "AUDIT"
    assert record.retry_attempt == 0
    assert record.owner is None
    assert record.source_to_stage_ingestion_status == "COMPLETED"
    assert record.stage_to_target_ingestion_status == "COMPLETED"
    assert record.pipeline_start_time is not None
    assert record.pipeline_end_time is not None
    assert record.pipeline_start_time <= record.pipeline_end_time


def row_key(world: World):  # type: ignore[no-untyped-def]
    from pipeline_platform.record import RecordKey

    return RecordKey("orders", DAY, DAY + timedelta(days=1))

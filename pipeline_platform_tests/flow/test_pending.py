"""Registering new windows and passing on pending ones, on real stores (seeds 002 and 004)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.flow import pending
from pipeline_platform.flow.pending import (
    Coverage,
    PassedRecords,
    RecordPlan,
    begin_coverage,
    build_complete_pipeline_record,
    latest_timestamp_available,
    new_windows,
    store_new_and_pass_valid_record,
    validate_record_timing,
)
from pipeline_platform.record import PipelineRecord, check_fields
from pipeline_platform.window import WindowPlan
from pipeline_platform_tests import pipelines

Look = Callable[..., PassedRecords]


def at(hour: int, minute: int = 0, *, day: int = 1) -> datetime:
    return datetime(2025, 1, day, hour, minute, tzinfo=timezone.utc)


def record_plan(duration: str = "1h", **changes: Any) -> RecordPlan:
    plan = RecordPlan(
        pipeline_name="orders",
        plan=WindowPlan(duration, "UTC", date(2025, 1, 1)),
        x_time_back_seconds=0,
        source_name="duckdb orders",
        target_name="duckdb analytics.orders",
        stage_root="data/stage",
        config_hash="abc",
        max_retries=2,
    )
    return replace(plan, **changes)


@pytest.fixture(params=["duckdb", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DriveStore:
    if request.param == "duckdb":
        return pipelines.duckdb_store(tmp_path)
    return pipelines.postgres_store(request.getfixturevalue("postgres"), tmp_path)


@pytest.fixture
def look(store: DriveStore) -> Look:
    """One call after the other, each with the coverage of the one before."""
    coverage: Coverage | None = None

    def once(plan: RecordPlan, now: datetime, **arguments: Any) -> PassedRecords:
        nonlocal coverage
        passed = store_new_and_pass_valid_record(
            plan, store, now, **{"coverage": coverage, **arguments}
        )
        coverage = Coverage.parse(str(passed.coverage))
        assert coverage == passed.coverage
        return passed

    return once


def starts(passed: PassedRecords) -> list[str]:
    return [f"{record.window_start_time:%d %H:%M}" for record in passed.records]


def finish(store: DriveStore, record: PipelineRecord, **changes: Any) -> None:
    """What a run leaves behind: the record changed, the window free again."""
    claim = store.claim(record, "run")
    assert claim is not None
    store.save(claim, replace(record, **changes), None, release=True)


def test_complete_record_while_work_remains() -> None:
    """Seed 002, scenario 11: the window's fields, the template and what depends on them."""
    plan = record_plan(default_record={"SOURCE_NAME": "the shop", "retry_attempt": 0})
    window = plan.plan.window_of_key("2025-01-01-10:00")
    record = build_complete_pipeline_record(plan, window)
    assert check_fields(record) == []
    assert (record.window_start_time, record.window_end_time) == (at(10), at(11))
    assert (record.target_day, record.time_interval) == (date(2025, 1, 1), "1h")
    assert (record.source_name, record.target_name) == ("the shop", "duckdb analytics.orders")
    assert record.pipeline_id == "orders_20250101T1000Z_run1"
    assert record.stage_path == "data/stage/orders/20250101T100000Z/run1"
    assert (record.pipeline_status, record.epoch, record.config_hash) == ("PENDING", 0, "abc")


def test_complete_record_is_none_when_processing_is_done(look: Look, store: DriveStore) -> None:
    """Seed 002, scenario 12: nothing left to do is no error, it is no record and a reason."""
    plan = record_plan(plan=WindowPlan("12h", "UTC", date(2025, 1, 1), date(2025, 1, 2)))
    for record in look(plan, at(0, day=9), limit=9).records:
        finish(store, record, pipeline_status="COMPLETED")
    passed = look(plan, at(1, day=9))
    assert passed.record is None
    assert (passed.registered, passed.records, passed.refused) == (0, (), {})
    assert passed.reason == "no window is pending, registered up to 2025-01-02T00:00:00+00:00"


def test_the_next_run_has_its_own_id_and_stage_path() -> None:
    plan = record_plan(stage_root="data/stage/")
    window = plan.plan.window_of_key("2025-01-01-10:00")
    record = build_complete_pipeline_record(plan, window, epoch=7)
    assert record.pipeline_id == "orders_20250101T1000Z_run7"
    assert record.stage_path == "data/stage/orders/20250101T100000Z/run7"


def test_the_template_cannot_move_the_window() -> None:
    plan = record_plan(default_record={"window_start_time": at(0), "PIPELINE_NAME": "other"})
    record = build_complete_pipeline_record(plan, plan.plan.window_of_key("2025-01-01-10:00"))
    assert (record.window_start_time, record.pipeline_name) == (at(10), "orders")


@pytest.mark.parametrize("name", ["colour", "epoch", "OWNER", "lease_until", "id"])
def test_the_template_has_columns_of_the_record_only(name: str) -> None:
    plan = record_plan(default_record={name: 1})
    with pytest.raises(ConfigurationError, match=name.lower()):
        build_complete_pipeline_record(plan, plan.plan.window_of_key("2025-01-01-10:00"))


@pytest.mark.parametrize(
    ("now", "back", "valid"),
    [(at(11), 0, True), (at(10, 59), 0, False), (at(12), 3600, True), (at(11, 59), 3600, False)],
)
def test_a_record_is_stable_some_time_after_its_end(now: datetime, back: int, valid: bool) -> None:
    plan = record_plan()
    record = build_complete_pipeline_record(plan, plan.plan.window_of_key("2025-01-01-10:00"))
    verdict = validate_record_timing(record, now, back)
    assert verdict.valid is valid
    assert valid or verdict.reason.startswith("not stable: ready at 2025-01-01T1")


def test_an_incomplete_record_says_what_is_missing() -> None:
    plan = record_plan(source_name="", config_hash="")
    record = build_complete_pipeline_record(plan, plan.plan.window_of_key("2025-01-01-10:00"))
    verdict = validate_record_timing(record, at(23), 0)
    assert not verdict.valid
    assert verdict.reason == "incomplete: source_name, config_hash missing"


def test_ready_windows_are_registered_and_the_oldest_is_passed_on(
    look: Look, store: DriveStore
) -> None:
    assert latest_timestamp_available(store, "orders") is None
    passed = look(record_plan(), at(3, 30))
    assert passed.registered == 3
    assert passed.record is not None
    assert passed.record.key == passed.records[0].key
    assert starts(passed) == ["01 00:00"]
    assert passed.reason == "orders_20250101T0000Z_run1 is the oldest of 1 to run"
    assert latest_timestamp_available(store, "orders") == at(3)


def test_repeating_a_look_changes_nothing(look: Look) -> None:
    first = look(record_plan(), at(3), limit=5)
    again = look(record_plan(), at(3), limit=5)
    forgotten = look(record_plan(), at(3), limit=5, coverage=None)
    assert (first.registered, again.registered, forgotten.registered) == (3, 0, 0)
    assert first.records == again.records == forgotten.records


def test_a_sensor_gets_the_oldest_up_to_its_limit(look: Look) -> None:
    assert starts(look(record_plan(), at(5), limit=2)) == ["01 00:00", "01 01:00"]


def test_windows_that_are_not_ready_are_not_registered(look: Look) -> None:
    plan = record_plan(x_time_back_seconds=7200)
    assert look(plan, at(2, 59)).reason == "no window is pending, none was ready yet"
    assert look(plan, at(3)).registered == 1


def test_registering_is_bounded_per_call_and_goes_on(look: Look) -> None:
    counts = [look(record_plan(), at(5), max_registered=2).registered for _ in range(4)]
    assert counts == [2, 2, 1, 0]


def test_a_window_run_by_hand_leaves_no_gap(look: Look, store: DriveStore) -> None:
    plan = record_plan()
    by_hand = build_complete_pipeline_record(plan, plan.plan.window_of_key("2025-01-01-04:00"))
    finish(store, by_hand, pipeline_status="COMPLETED")
    assert latest_timestamp_available(store, "orders") == at(5)
    passed = look(plan, at(7), limit=9)
    assert passed.registered == 6
    assert starts(passed) == [f"01 0{hour}:00" for hour in (0, 1, 2, 3, 5, 6)]


def test_completed_and_held_windows_are_not_passed_on(look: Look, store: DriveStore) -> None:
    first, second, _ = look(record_plan(), at(3), limit=3).records
    finish(store, first, pipeline_status="COMPLETED")
    assert store.claim(second, "somebody") is not None
    assert starts(look(record_plan(), at(3), limit=3)) == ["01 02:00"]


def test_without_catchup_nothing_older_than_the_first_look_is_registered(look: Look) -> None:
    plan = record_plan(catchup=False)
    first = look(plan, at(10, 20))
    assert (first.record, first.registered) == (None, 0)
    second = look(plan, at(12, 5), limit=9)
    assert starts(second) == ["01 10:00", "01 11:00"]


def test_without_catchup_a_pipeline_of_the_future_begins_at_its_start(look: Look) -> None:
    plan = record_plan(catchup=False, plan=WindowPlan("1h", "UTC", date(2025, 1, 2)))
    assert look(plan, at(10)).registered == 0
    assert starts(look(plan, at(1, day=2))) == ["02 00:00"]


def test_turning_catchup_on_registers_the_past(look: Look) -> None:
    assert look(record_plan(catchup=False), at(10, 20)).registered == 0
    assert look(record_plan(), at(11)).registered == 11


def test_an_earlier_start_date_registers_the_past(look: Look) -> None:
    assert look(
        record_plan(plan=WindowPlan("1h", "UTC", date(2025, 1, 2))), at(2, day=2)
    ).registered
    passed = look(record_plan(), at(2, day=2))
    assert passed.registered == 24
    assert starts(passed) == ["01 00:00"]


def test_a_window_out_of_retries_is_skipped_with_the_reason(look: Look, store: DriveStore) -> None:
    plan = record_plan()
    first, second = look(plan, at(2), limit=2).records
    finish(store, first, retry_attempt=3)
    finish(store, second, retry_attempt=2)
    passed = look(plan, at(2))
    assert starts(passed) == ["01 01:00"]
    assert "out of retries: failed 3 times, max_retries is 2" in passed.refused[first.key]


def test_many_windows_out_of_retries_do_not_hide_a_valid_one(look: Look, store: DriveStore) -> None:
    records = look(record_plan(), at(8), limit=8).records
    for record in records[:-1]:
        finish(store, record, retry_attempt=9)
    passed = look(record_plan(), at(8))
    assert starts(passed) == ["01 07:00"]
    assert len(passed.refused) == 7
    finish(store, records[-1], retry_attempt=9)
    none = look(record_plan(), at(8))
    assert none.record is None
    assert none.reason.startswith(
        "the window from 2025-01-01T00:00:00+00:00 (and 7 more) may not run: out of retries"
    )


def test_the_look_ends_when_too_many_may_not_run(
    look: Look, store: DriveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MOST_LOOKED_AT", 3)
    for record in look(record_plan(), at(5), limit=5).records[:-1]:
        finish(store, record, retry_attempt=9)
    passed = look(record_plan(), at(5))
    assert passed.record is None
    assert len(passed.refused) == 3


def test_a_pending_record_of_another_config_is_rebuilt(look: Look, store: DriveStore) -> None:
    [old] = look(record_plan(), at(1)).records
    finish(store, old, retry_attempt=1, source_to_stage_ingestion_status="COMPLETED")
    created = store.record(old.key)
    new_plan = record_plan(config_hash="new", source_name="postgres orders")
    [rebuilt] = look(new_plan, at(1)).records
    stored = store.record(old.key)
    assert created is not None
    assert stored is not None
    for record in (rebuilt, stored):
        assert (record.config_hash, record.source_name) == ("new", "postgres orders")
        assert record.source_to_stage_ingestion_status == "PENDING"
        assert (record.id, record.epoch, record.retry_attempt) == (created.id, 1, 1)
        assert record.record_first_created_time == created.record_first_created_time
        assert record.pipeline_id == "orders_20250101T0000Z_run2"


def test_a_completed_record_of_another_config_stays(look: Look, store: DriveStore) -> None:
    [old] = look(record_plan(), at(1)).records
    finish(store, old, pipeline_status="COMPLETED")
    assert look(record_plan(config_hash="new"), at(1)).record is None
    stored = store.record(old.key)
    assert stored is not None
    assert stored.config_hash == "abc"


def test_shorter_windows_take_the_place_of_a_pending_longer_one(
    look: Look, store: DriveStore
) -> None:
    done, waiting = look(record_plan("2h"), at(4), limit=2).records
    finish(store, done, pipeline_status="COMPLETED")
    passed = look(record_plan("1h", config_hash="new"), at(5), limit=9)
    assert starts(passed) == ["01 02:00", "01 03:00", "01 04:00"]
    assert passed.registered == 3
    assert passed.refused[waiting.key] == "the config has no such window any more"


def test_longer_windows_leave_nothing_out(look: Look, store: DriveStore) -> None:
    for record in look(record_plan("1h"), at(3), limit=3).records:
        finish(store, record, pipeline_status="COMPLETED")
    passed = look(record_plan("2h", config_hash="new"), at(6), limit=9)
    assert starts(passed) == ["01 02:00", "01 04:00"]


def test_windows_outside_the_plan_are_not_passed_on(look: Look) -> None:
    assert look(record_plan(), at(2)).registered == 2
    later = record_plan(plan=WindowPlan("1h", "UTC", date(2025, 1, 2)))
    passed = look(later, at(1, day=2), limit=9)
    assert starts(passed) == ["02 00:00"]
    assert len(passed.refused) == 2


def test_another_pipelines_windows_are_not_ours(look: Look) -> None:
    assert look(record_plan(pipeline_name="others"), at(2)).registered == 2
    passed = look(record_plan(), at(1), coverage=None)
    assert {record.pipeline_name for record in passed.records} == {"orders"}


@pytest.mark.parametrize(
    "text", [None, "", "x", "2025-01-01/2025-01-02", "2025-01-01T00:00:00+00:00", "a/b/c"]
)
def test_an_unreadable_cursor_begins_anew(text: str | None) -> None:
    assert Coverage.parse(text) is None


def test_what_became_due_is_known_without_a_database() -> None:
    plan = record_plan(x_time_back_seconds=60)
    coverage = begin_coverage(plan, at(0))
    assert [w.start for w in new_windows(plan, at(2, 1), coverage)] == [at(0), at(1)]
    covered = replace(coverage, until=at(2))
    assert list(new_windows(plan, at(3), covered)) == []
    assert next(new_windows(plan, at(3) + timedelta(minutes=1), covered)).start == at(2)


def test_more_of_the_past_is_noticed_without_a_database() -> None:
    covered = Coverage(at(10), at(12))
    assert list(new_windows(record_plan(catchup=False), at(12), covered)) == []
    assert next(new_windows(record_plan(), at(12), covered)).start == at(0)


def test_a_lost_drive_table_is_registered_anew(store: DriveStore) -> None:
    """The sensor's cursor outlives the drive table; what is right already is skipped when run."""
    plan = record_plan()
    cursor = Coverage(at(0), at(4))
    passed = store_new_and_pass_valid_record(plan, store, at(5, 30), coverage=cursor, limit=9)
    assert starts(passed) == ["01 00:00", "01 01:00", "01 02:00", "01 03:00", "01 04:00"]
    assert passed.coverage == Coverage(at(0), at(5))


@pytest.mark.parametrize(
    ("now", "back", "last"),
    [
        (at(3), 0, at(2)),
        (at(3) - timedelta(seconds=1), 0, at(1)),
        (at(3), 1, at(1)),
        (at(3), 7_200, at(0)),
        (at(1) - timedelta(seconds=1), 0, None),
        (at(0) - timedelta(days=400), 0, None),
    ],
)
def test_a_window_is_due_when_it_ended_long_enough_ago(
    now: datetime, back: int, last: datetime | None
) -> None:
    plan = record_plan(x_time_back_seconds=back)
    due = list(new_windows(plan, now, begin_coverage(plan, now)))
    assert (due[-1].start if due else None) == last
    assert not due or due[0].start == at(0)


@pytest.mark.fault_row(6)
def test_both_hours_of_a_clock_change_become_due() -> None:
    windows = WindowPlan("1h", "America/New_York", date(2024, 11, 1))
    until = windows.window_of_key("2024-11-03-01:00-0400").end
    plan = record_plan(plan=windows)
    now = datetime(2024, 11, 3, 8, tzinfo=timezone.utc)
    due = new_windows(plan, now, Coverage(windows.start, until))
    assert [one.key for one in due] == ["2024-11-03-01:00-0500", "2024-11-03-02:00-0500"]

"""Cleaning: superseded attempts after a grace, old windows by age, and only with a good audit."""

from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline_platform.flow.step import StepFailedError
from pipeline_platform.record import RecordKey
from pipeline_platform_tests.flow.conftest import KEY, ROWS, World
from pipeline_platform_tests.pipelines import run_window

NEXT_KEY = "2024-03-11"
LAST_KEY = "2024-03-09"


def cleaning(**settings: Any) -> dict[str, Any]:
    return {"stage_cleaning": {"enabled": True, "superseded_grace_hours": 0, **settings}}


def attempts(world: World, key: str) -> list[str]:
    window = world.folder / "stage" / "orders" / f"{key.replace('-', '')}T000000Z"
    return sorted(path.name for path in window.glob("run*"))


def test_superseded_attempts_go_after_the_grace(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    patient = world.pipeline(phases=cleaning(superseded_grace_hours=1))
    run_window(patient, world.store, KEY, force=True)
    assert attempts(world, KEY) == ["run1", "run2"]
    row = run_window(world.pipeline(phases=cleaning()), world.store, KEY, force=True)
    assert attempts(world, KEY) == ["run3"]
    assert row.phases["stage_cleaning"].status == "COMPLETED"
    begun = row.phases["stale_pipeline_handling"].phase_specific_details
    assert begun["stale_attempts_removed"] == 1  # run1, before run3 staged anything
    details = row.phases["stage_cleaning"].phase_specific_details
    assert details["attempts_superseded"] == 1
    assert (details["records_archived"], details["records_deleted"], details["vacuumed"]) == (
        0, 0, False,
    )  # fmt: skip


def test_old_windows_with_a_good_audit_are_archived(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    run_window(world.pipeline(), world.store, LAST_KEY, steps=["source", "stage", "target"])
    [file] = (world.folder / "stage" / "orders" / "20240310T000000Z").rglob("*.parquet")
    staged = file.read_bytes()
    phases = cleaning(delete_after_days=0, archive_before_delete=True, archive_location="archive")
    row = run_window(world.pipeline(phases=phases), world.store, NEXT_KEY)
    details = row.phases["stage_cleaning"].phase_specific_details
    assert (details["records_archived"], details["records_deleted"]) == (ROWS, ROWS)
    assert details["archive_location"].endswith("archive/orders/20240310T000000Z/run1")
    assert attempts(world, KEY) == []
    assert attempts(world, LAST_KEY) == ["run1"]  # not audited yet
    [archived] = (world.folder / "archive").rglob("*.parquet")
    assert archived.read_bytes() == staged
    assert pq.read_metadata(archived).num_rows == ROWS
    # The window is right without its files, and its target rows are untouched.
    assert run_window(world.pipeline(), world.store, KEY).pipeline_status == "SKIPPED"
    assert len(world.rows()) == 3 * ROWS


@pytest.mark.parametrize("fail_run", [False, True])
def test_cleaning_that_fails_does_not_unmake_the_window(world: World, fail_run: bool) -> None:
    run_window(world.pipeline(), world.store, KEY)
    (world.folder / "archive").write_text("a file where the folder belongs")
    phases = cleaning(delete_after_days=0, archive_before_delete=True, archive_location="archive",
                      fail_run=fail_run)  # fmt: skip
    pipeline = world.pipeline(phases=phases)
    if fail_run:
        with pytest.raises(StepFailedError):
            run_window(pipeline, world.store, NEXT_KEY)
    else:
        run_window(pipeline, world.store, NEXT_KEY)
    row = world.store.latest_runs("orders", 1)[0]
    assert row.pipeline_status == ("FAILED" if fail_run else "SUCCESS")
    assert row.phase_failed == "stage_cleaning"
    assert row.phases["audit"].status == "COMPLETED"
    assert len(world.rows()) == 2 * ROWS
    assert attempts(world, KEY) == ["run1"]
    window = pipeline.windows.window_of_key(NEXT_KEY)
    record = world.store.record(RecordKey("orders", window.start, window.end))
    assert record is not None
    assert (record.pipeline_status, record.audit_result) == ("COMPLETED", "PASS")
    if fail_run:
        with pytest.raises(StepFailedError):
            run_window(pipeline, world.store, NEXT_KEY)
    (world.folder / "archive").unlink()
    # The window passes through, and what was left uncleaned is cleaned.
    assert run_window(pipeline, world.store, NEXT_KEY).pipeline_status == "SKIPPED"
    assert attempts(world, KEY) == []
    assert len(world.rows()) == 2 * ROWS

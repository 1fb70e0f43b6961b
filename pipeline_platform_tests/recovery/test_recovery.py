"""What dies is closed and tried again by itself, under a real daemon and code server.

Leases last five minutes. `end_lease` moves their end into the past by SQL, together with the time
at which Dagster last heard of the run, instead of waiting. The stories share one project and its
daemon, and their runs start together; so the order of the tests matters.
"""

import os
import signal
import time
from itertools import pairwise

import pytest

from pipeline_platform.automation.lease_sweep import LEASE_SWEEP
from pipeline_platform.execution import ExecutionRow, Phase
from pipeline_platform.flow.stale import DIED
from pipeline_platform_tests.recovery.place import (
    CANCELLED,
    DAY,
    FROZEN,
    HEALING,
    HOPELESS,
    KILLED,
    ORPHANED,
    TERMINATED,
    UNSEEN,
    UNTOLD,
    Place,
    end_process,
    is_alive,
    processes_of,
    wait_until_gone,
)
from pipeline_platform_tests.servers import dagster_graphql
from pipeline_platform_tests.servers.toxiproxy import Relay

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.waits,
    pytest.mark.fault_row(4, 7, 8, 22, on="postgres"),
]
# From a lease's end to the row that says so.
CLOSED_SECONDS = 120.0


@pytest.fixture(scope="module")
def zombie(place: Place) -> int:
    """A worker on a host that fell asleep; meanwhile its lease ended."""
    worker = place.wait_at_gate(FROZEN)
    os.kill(worker, signal.SIGSTOP)
    place.open_gate(FROZEN)
    place.end_lease(FROZEN)
    return worker


@pytest.mark.usefixtures("zombie")
def test_a_worker_killed_in_a_load(place: Place) -> None:
    end_process(place.wait_at_gate(KILLED))
    place.project.wait_until(
        "Dagster notices", lambda: place.runs(KILLED)[0].status == "FAILURE", 60
    )
    place.end_lease(KILLED)
    place.open_gate(KILLED)
    place.wait_until_right(KILLED)
    died, healed = place.drive_rows(KILLED)
    assert (died.pipeline_status, died.phase_failed) == ("FAILED", "stage_to_target_transfer")
    assert died.phases["stage_to_target_transfer"].error_message == DIED
    assert (died.pipeline_retry_number, healed.pipeline_retry_number) == (0, 1)
    assert "source_to_stage_transfer" in healed.phases_skipped


def test_a_host_that_sleeps_past_its_lease(place: Place, zombie: int) -> None:
    died = place.wait_for_row(FROZEN, "FAILED")
    place.wait_until_right(FROZEN)
    rows, loaded = place.drive_rows(FROZEN), place.rows("SELECT * FROM analytics.frozen")
    assert is_alive(zombie)
    os.kill(zombie, signal.SIGCONT)
    wait_until_gone(zombie)
    told = place.messages(died.dagster_run_id)
    assert any("at epoch 1 is gone; nothing was written" in text for text in told), told
    assert place.drive_rows(FROZEN) == rows
    assert place.rows("SELECT * FROM analytics.frozen") == loaded
    place.wait_until_right(FROZEN)
    assert [run.status for run in place.runs(FROZEN)] == ["FAILURE", "SUCCESS"]


def test_a_run_that_is_cancelled_in_the_ui(place: Place) -> None:
    """It is not tried again by itself; whoever runs the window again need not wait for a lease."""
    place.wait_at_gate(CANCELLED)
    place.cancel(CANCELLED)
    place.open_gate(CANCELLED)
    stopped = place.wait_for_row(CANCELLED, "FAILED")
    _require_interrupted(place, stopped, "stage_to_target_transfer")
    place.project.wait_until(
        "Dagster says so", lambda: place.runs(CANCELLED)[-1].status == "CANCELED", 60
    )
    place.launch(CANCELLED)
    place.wait_until_right(CANCELLED)
    assert [row.pipeline_retry_number for row in place.drive_rows(CANCELLED)] == [0, 1]
    assert [run.status for run in place.runs(CANCELLED)] == ["CANCELED", "SUCCESS"]


def test_a_worker_that_is_told_to_end(place: Place) -> None:
    """SIGTERM, as a host sends it that goes down."""
    os.kill(place.wait_at_gate(TERMINATED), signal.SIGTERM)
    place.open_gate(TERMINATED)
    stopped = place.wait_for_row(TERMINATED, "FAILED")
    _require_interrupted(place, stopped, "source_to_stage_transfer")
    place.wait_until_right(TERMINATED)


def _require_interrupted(place: Place, row: ExecutionRow, phase: Phase) -> None:
    assert (row.pipeline_status, row.phase_failed, row.error_category) == (
        "FAILED", phase, "transient",
    )  # fmt: skip
    assert str(row.phases[phase].error_message).startswith("Interrupted (")
    assert place.record(row.pipeline_name, "owner") == (None,)


def test_a_window_that_fails_three_times_and_then_heals(place: Place) -> None:
    project, backfill = place.project, place.backfills[HEALING]
    project.wait_until("the backfill ends", lambda: _has_ended(place, backfill), 180)
    place.wait_until_right(HEALING)
    counts = dagster_graphql.partition_counts(project, place.assets(HEALING))
    assert set(counts.values()) == {(1, 0)}
    rows = place.drive_rows(HEALING)
    assert [row.pipeline_status for row in rows] == ["FAILED", "FAILED", "FAILED", "SUCCESS"]
    assert [row.pipeline_retry_number for row in rows] == [0, 1, 2, 3]
    assert [row.error_category for row in rows] == ["transient"] * 3 + [None]
    assert [row.phase_failed for row in rows] == ["stage_to_target_transfer"] * 3 + [None]
    # What the first run staged is loaded by the last.
    assert "source_to_stage_transfer" in rows[0].phases_completed
    assert all("source_to_stage_transfer" in row.phases_skipped for row in rows[1:])
    for wanted, (failed, retry) in zip((1, 2, 4), pairwise(rows), strict=True):
        assert failed.pipeline_end_timestamp is not None
        waited = (retry.pipeline_start_timestamp - failed.pipeline_end_timestamp).total_seconds()
        assert waited >= wanted
    assert place.record(HEALING, "epoch, retry_attempt, phase_completed, owner") == (
        4, 0, "AUDIT", None,
    )  # fmt: skip
    runs = place.runs(HEALING)
    assert [run.status for run in runs] == ["FAILURE"] * 3 + ["SUCCESS"]
    assert [run.tags.get("dagster/retry_number") for run in runs] == [None, "1", "2", "3"]
    assert [run.run_id for run in runs] == [row.dagster_run_id for row in rows]


def test_a_window_out_of_attempts_stays_failed_and_visible(place: Place) -> None:
    project, backfill = place.project, place.backfills[HOPELESS]
    project.wait_until("the backfill ends", lambda: _has_ended(place, backfill), 180)
    assert dagster_graphql.backfill_status(project, backfill) == "COMPLETED_FAILED"
    counts = dagster_graphql.partition_counts(project, place.assets(HOPELESS))
    assert counts == {
        "source": (1, 0), "stage": (1, 0), "target": (0, 1), "audit": (0, 1), "cleaning": (0, 1),
    }  # fmt: skip
    rows = place.drive_rows(HOPELESS)
    assert [(row.pipeline_status, row.pipeline_retry_number) for row in rows] == [
        ("FAILED", 0), ("FAILED", 1),
    ]  # fmt: skip
    assert [run.status for run in place.runs(HOPELESS)] == ["FAILURE", "FAILURE"]
    [told] = [row for row in rows[1].phases.values() if row.status == "FAILED"]
    assert "not now" in str(told.error_message)
    checks = dagster_graphql.check_results(project, (HOPELESS, "target"), "target_count")
    assert [(one["partition"], one["success"]) for one in checks] == [(DAY, False)] * 2
    assert place.rows(
        f"SELECT count(*) FROM analytics.hopeless WHERE placed_at >= '{DAY}Z'"
    ) == [(0,)]  # fmt: skip


def test_the_drive_table_is_away_for_a_moment(place: Place, drive_relay: Relay | None) -> None:
    """A minute or a moment makes no difference to a step that reads: it asks the drive table once
    a minute, and its lease lasts five. What meets the outage here is the hand-over after the read,
    which is tried for some fifteen seconds."""
    if drive_relay is None:
        pytest.skip("needs toxiproxy")
    place.wait_at_gate(UNTOLD)
    staged = place.project.folder / "data/stage" / UNTOLD
    with drive_relay.down():
        place.open_gate(UNTOLD)
        place.project.wait_until("the rows are staged", lambda: any(staged.rglob("manifest*")), 60)
        time.sleep(4.0)
        assert place.record(UNTOLD, "pipeline_status, owner IS NULL") == ("PENDING", False)
    place.wait_until_right(UNTOLD)
    assert len(place.drive_rows(UNTOLD)) == 1


def test_dagsters_own_storage_is_away(place: Place) -> None:
    """The worker cannot say what it did, and ends; nobody can note that either. What it staged is
    there for the run after it."""
    worker = place.wait_at_gate(UNSEEN)
    with place.dagster_storage_away():
        place.open_gate(UNSEEN)
        wait_until_gone(worker, 60)
    assert [run.status for run in place.runs(UNSEEN)] == ["STARTED"]
    place.end_lease(UNSEEN)
    place.wait_until_right(UNSEEN)
    died, healed = place.drive_rows(UNSEEN)
    assert (died.pipeline_status, healed.pipeline_retry_number) == ("FAILED", 1)
    assert "source_to_stage_transfer" in healed.phases_skipped
    assert [run.status for run in place.runs(UNSEEN)] == ["FAILURE", "SUCCESS"]


def test_the_code_server_is_killed_in_a_run(place: Place) -> None:
    """With it die the workers that it started, as when a host dies."""
    folder = place.project.folder
    worker = place.wait_at_gate(ORPHANED)
    servers = [
        *processes_of(folder, "dagster code-server start"),
        *processes_of(folder, "dagster api grpc"),
    ]
    assert len(servers) == 2
    for process in (*servers, worker):
        end_process(process)
    place.open_gate(ORPHANED)
    assert place.runs(ORPHANED)[0].status == "STARTED"
    place.end_lease(ORPHANED)
    began = time.monotonic()
    died = place.wait_for_row(ORPHANED, "FAILED")
    assert time.monotonic() - began < CLOSED_SECONDS
    [told] = [phase for phase in died.phases.values() if phase.status == "FAILED"]
    assert told.error_message == DIED
    place.wait_until_right(ORPHANED)
    assert [row.pipeline_retry_number for row in place.drive_rows(ORPHANED)] == [0, 1]
    assert [run.status for run in place.runs(ORPHANED)] == ["FAILURE", "SUCCESS"]
    ticks = dagster_graphql.ticks_of(place.project, LEASE_SWEEP)
    assert any(
        f"{died.pipeline_id} is FAILED: its lease had expired; "
        f"run {died.dagster_run_id} reported as failed" in (tick.skip_reason or "")
        for tick in ticks
    )


def _has_ended(place: Place, backfill: str) -> bool:
    return dagster_graphql.backfill_status(place.project, backfill).startswith("COMPLETED")

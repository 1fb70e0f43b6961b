"""The sensor that closes what died, tick by tick, on a drive table in PostgreSQL."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.automation.lease_sweep import LEASE, Cursor, Sweep, lease_sweep_sensor
from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.drive_table.store import Claim, DriveStore
from pipeline_platform.errors import ClaimLostError, TransientError
from pipeline_platform.flow.assets import PIPELINE_TAG
from pipeline_platform.flow.pending import build_complete_pipeline_record
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.run import RunRequest
from pipeline_platform.flow.step import STEPS, StepFailedError, perform
from pipeline_platform_tests.pipelines import (
    LOG,
    create_postgres_orders,
    make_pipeline,
    postgres_config,
    postgres_store,
    run_window,
)
from pipeline_platform_tests.servers.postgres import Database

DAYS = [datetime(2024, 1, day, tzinfo=timezone.utc) for day in (1, 2)]
KEY = "2024-01-01"
NAMES = ("orders",)
SECOND = timedelta(seconds=1)
STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
CANCELED, CANCELING = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.CANCELING


class Closed:
    """A drive store that nobody may open."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("the warehouse was opened")


class Away:
    """A drive store that does not answer."""

    def migrate(self) -> None:
        raise TransientError("The drive table does not answer.")


class Place:
    """One pipeline, its drive table, and a Dagster instance with the runs that tests make up."""

    def __init__(self, folder: Path, database: Database, instance: dg.DagsterInstance) -> None:
        self.database = database
        self.instance = instance
        self.store: DriveStore = postgres_store(database, folder)
        self.orders: Pipeline = make_pipeline(postgres_config(database), folder)

    def run(
        self, status: dg.DagsterRunStatus, *, tags: Mapping[str, str] | None = None, **more: Any
    ) -> str:
        """A run of Dagster in this status."""
        own = {PIPELINE_TAG: "orders", **(tags or {})}
        made = dg.DagsterRun(job_name="orders_windows", status=status, tags=own, **more)
        return self.instance.add_run(made).run_id

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def step(self, name: str, owner: str, key: str = KEY, *, last: bool = False) -> None:
        """What one asset of a run does, its hand-over stored."""
        request = RunRequest(owner, first=name == "source", last=last, held_wait_seconds=0.0)
        window = self.orders.windows.window_of_key(key)
        given = perform(name, self.orders, window, self.store, request, LOG).handover
        self.store.save(given.claim, given.record, given.row, release=given.release)

    def claim_of(self, owner: str, key: str = KEY) -> Claim:
        window = self.orders.windows.window_of_key(key)
        record = build_complete_pipeline_record(self.orders.record_plan(), window)
        claim = self.store.look_up(record.key).claim_of(owner)
        assert claim is not None
        return claim

    def end_leases(self) -> None:
        """Time passes: leases that were given end now."""
        with self.database.connect() as connection:
            connection.execute(
                "UPDATE pipeline_platform.pipeline_records "
                "SET lease_until = lease_until - interval '1 hour'"
            )

    def tick(
        self, cursor: Cursor | None, *, later: timedelta = timedelta(0), store: Any = None
    ) -> tuple[Cursor, str]:
        """One tick, `later` than now; its cursor and what it told."""
        now = datetime.now(timezone.utc) + later
        result = Sweep(self.instance, store or self.store, NAMES, now).tick(cursor)
        assert not result.run_requests
        assert isinstance(result.skip_reason, dg.SkipReason)
        assert result.skip_reason.skip_message is not None
        parsed = Cursor.parse(result.cursor)
        assert parsed is not None
        return parsed, result.skip_reason.skip_message

    def row_of(self, owner: str) -> tuple[str, str | None]:
        row = self.store.run_of("orders", owner)
        assert row is not None
        failed = [one.error_message for one in row.phases.values() if one.status == "FAILED"]
        return row.pipeline_status, failed[0] if failed else None


@pytest.fixture
def place(tmp_path: Path, postgres: Database) -> Iterator[Place]:
    create_postgres_orders(postgres, DAYS, 10)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Place(tmp_path, postgres, instance)


def test_without_a_reason_the_warehouse_stays_closed(place: Place) -> None:
    cursor, told = place.tick(None, store=Closed())
    assert told == "no run may have died"
    place.run(STARTED)  # heard of just now
    place.run(dg.DagsterRunStatus.SUCCESS)
    place.run(FAILURE, tags={PIPELINE_TAG: "somebody_elses"})
    _, told = place.tick(cursor, later=LEASE - 5 * SECOND, store=Closed())
    assert told == "no run may have died"


def test_a_dead_run_is_closed_and_dagsters_run_is_failed(place: Place) -> None:
    owner = place.run(STARTED)
    place.step("source", owner)
    place.end_leases()
    _, told = place.tick(Cursor(datetime.now(timezone.utc)), later=LEASE + SECOND)
    assert told == (
        f"orders_20240101T0000Z_run1 is FAILED: its lease had expired; "
        f"run {owner} reported as failed"
    )
    assert place.row_of(owner) == (
        "FAILED",
        "The run died: its lease expired or another run took the window over.",
    )
    assert place.status(owner) == FAILURE
    with pytest.raises(StepFailedError) as caught:  # the process lives after all
        place.step("stage", owner)
    assert isinstance(caught.value.error, ClaimLostError)
    run_window(place.orders, place.store, KEY)
    assert place.store.latest_runs("orders", 1)[0].pipeline_retry_number == 1


def test_a_live_run_is_left_alone_and_looked_at_when_its_lease_ends(place: Place) -> None:
    owner = place.run(STARTED)
    place.step("source", owner)
    late = LEASE + SECOND
    cursor, told = place.tick(Cursor(datetime.now(timezone.utc)), later=late)
    assert told == "runs looked at: 1, none is dead"
    _, told = place.tick(cursor, later=late + LEASE - 20 * SECOND, store=Closed())
    assert told == "no run may have died"
    claim = place.store.heartbeat(place.claim_of(owner))
    assert claim.owner == owner
    cursor, told = place.tick(cursor, later=late + LEASE + SECOND)
    assert told == "runs looked at: 1, none is dead"
    assert place.status(owner) == STARTED
    place.end_leases()
    _, told = place.tick(cursor, later=late + 2 * LEASE + 2 * SECOND)
    assert f"run {owner} reported as failed" in told
    assert place.status(owner) == FAILURE


@pytest.mark.parametrize("status", [FAILURE, CANCELED])
def test_a_run_that_dagster_ended_is_closed_when_its_lease_ends(
    place: Place, status: dg.DagsterRunStatus
) -> None:
    cursor, _ = place.tick(None)
    owner = place.run(status)
    place.step("source", owner)  # its worker was killed with the lease in hand
    cursor, told = place.tick(cursor, later=SECOND)
    assert told == "runs looked at: 1, none is dead"
    assert place.row_of(owner) == ("RUNNING", None)
    cursor, told = place.tick(cursor, later=LEASE - 5 * SECOND, store=Closed())
    assert told == "no run may have died"
    place.end_leases()
    cursor, told = place.tick(cursor, later=LEASE + 2 * SECOND)
    assert told == "orders_20240101T0000Z_run1 is FAILED: its lease had expired"
    assert place.status(owner) == status
    _, told = place.tick(cursor, later=LEASE + 3 * SECOND, store=Closed())
    assert told == "no run may have died"


def test_a_run_that_ended_by_itself_is_looked_at_once(place: Place) -> None:
    cursor, _ = place.tick(None)
    owner = place.run(FAILURE)
    for name in STEPS:
        place.step(name, owner, last=name == "cleaning")
    cursor, told = place.tick(cursor, later=SECOND)
    assert told == "runs looked at: 1, none is dead"
    for seconds in (2, 30, 90, 600):
        cursor, told = place.tick(cursor, later=seconds * SECOND, store=Closed())
        assert told == "no run may have died"
    assert cursor.look_at == {}


def test_a_row_that_another_run_closed_still_ends_dagsters_run(place: Place) -> None:
    owner = place.run(STARTED)
    place.step("source", owner)
    place.end_leases()
    run_window(place.orders, place.store, "2024-01-02")  # its first phase closes dead rows
    assert place.row_of(owner)[0] == "FAILED"
    assert place.status(owner) == STARTED
    _, told = place.tick(Cursor(datetime.now(timezone.utc)), later=LEASE + SECOND)
    assert told == f"run {owner} reported as failed"


def test_a_run_that_died_in_its_cleaning_is_failed_and_its_row_kept(place: Place) -> None:
    owner = place.run(STARTED)
    for name in ("source", "stage", "target", "audit"):
        place.step(name, owner)
    assert place.row_of(owner)[0] == "SUCCESS"
    place.end_leases()
    _, told = place.tick(Cursor(datetime.now(timezone.utc)), later=LEASE + SECOND)
    assert told == f"run {owner} reported as failed"
    assert place.row_of(owner)[0] == "SUCCESS"


def test_a_run_with_other_assets_to_make_is_left_alone(place: Place) -> None:
    others = frozenset({dg.AssetKey(["orders", "source"]), dg.AssetKey("a_report")})
    busy = place.run(STARTED, asset_selection=others)
    place.step("source", busy, last=True)
    over = place.run(STARTED)
    place.step("source", over, "2024-01-02", last=True)
    with place.database.connect() as connection:
        connection.execute(
            "UPDATE pipeline_platform.pipeline_execution_log "
            "SET pipeline_end_timestamp = pipeline_end_timestamp - interval '6 minutes' "
            "WHERE pipeline_end_timestamp IS NOT NULL"
        )
    _, told = place.tick(Cursor(datetime.now(timezone.utc)), later=LEASE + SECOND)
    assert told == f"run {over} reported as failed"
    assert place.status(busy) == STARTED


def test_a_run_that_never_claimed_is_failed_after_the_longest_wait(place: Place) -> None:
    first, retry = place.run(STARTED), place.run(STARTED, tags={"dagster/retry_number": "1"})
    cursor = Cursor(datetime.now(timezone.utc))
    for minutes, expected in ((6, (STARTED, STARTED)), (16, (FAILURE, STARTED)),
                              (74, (FAILURE, STARTED)), (80, (FAILURE, FAILURE))):  # fmt: skip
        cursor, _ = place.tick(cursor, later=timedelta(minutes=minutes))
        assert (place.status(first), place.status(retry)) == expected, minutes


@pytest.mark.parametrize(
    "work",
    [
        {"asset_selection": frozenset({dg.AssetKey(["orders", "source"]), dg.AssetKey("report")})},
        {"asset_selection": frozenset({dg.AssetKey(["orders", "target"])})},
        {"step_keys_to_execute": ["orders__target", "orders__audit", "orders__cleaning"]},
    ],
    ids=["others too", "the target's asset", "from its failure on"],
)
def test_a_run_again_that_may_claim_late_is_left_alone(
    place: Place, work: Mapping[str, Any]
) -> None:
    """It inherits the tag of the run before it, and makes a report, or waits for a pool, first."""
    again = place.run(STARTED, **work)
    cursor = Cursor(datetime.now(timezone.utc))
    for hours in (1, 2, 24):
        cursor, _ = place.tick(cursor, later=timedelta(hours=hours))
        assert place.status(again) == STARTED


def test_two_sweeps_close_a_run_once(place: Place) -> None:
    owner = place.run(STARTED)
    place.step("source", owner)
    place.end_leases()
    cursor = Cursor(datetime.now(timezone.utc))
    told = [place.tick(cursor, later=LEASE + SECOND)[1] for _ in range(2)]
    assert told[1] == "no run may have died" or told[1].startswith("runs looked at")
    events = place.instance.all_logs(owner, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert len(list(events)) == 1
    row = place.store.run_of("orders", owner)
    assert row is not None
    with place.database.connect() as connection:
        revisions = connection.execute(
            "SELECT count(*) FROM pipeline_platform.pipeline_execution_log "
            "WHERE pipeline_id = %s AND pipeline_status = 'FAILED'", [row.pipeline_id],
        ).fetchall()  # fmt: skip
    assert revisions == [(1,)]


def test_a_cancellation_under_way_is_dagsters_own(place: Place) -> None:
    owner = place.run(CANCELING)
    place.step("source", owner)
    place.end_leases()
    place.run(FAILURE)  # the reason to look
    place.tick(Cursor(datetime.now(timezone.utc)), later=SECOND)
    assert place.row_of(owner)[0] == "FAILED"
    assert place.status(owner) == CANCELING


def test_a_drive_table_that_is_away_is_asked_again(place: Place) -> None:
    owner = place.run(STARTED)
    place.step("source", owner)
    place.end_leases()
    late = LEASE + SECOND
    cursor, told = place.tick(Cursor(datetime.now(timezone.utc)), later=late, store=Away())
    assert told == "asks again soon: The drive table does not answer."
    _, told = place.tick(cursor, later=late + 30 * SECOND)
    assert f"run {owner} reported as failed" in told


def test_the_file_of_a_run_at_work_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "state.duckdb"
    manager = DriveTableIOManager(
        state={"type": "duckdb", "path": str(file)},
        base_dir=str(tmp_path),
        held_wait_seconds=0.0,
    )
    manager.store.migrate()
    sensor = lease_sweep_sensor(lambda: NAMES)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def tick(instance: dg.DagsterInstance) -> Any:
        resources = {DRIVE_TABLE: manager}
        with dg.build_sensor_context(instance, resources=resources) as context:
            return sensor.evaluate_tick(context)

    with dg.DagsterInstance.ephemeral() as instance, holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"1\n"
        tags = {PIPELINE_TAG: "orders"}
        instance.add_run(dg.DagsterRun(job_name="orders_windows", status=FAILURE, tags=tags))
        began = time.monotonic()
        ticked = tick(instance)
        assert time.monotonic() - began < 30.0  # a tick may take a minute
        assert "asks again soon" in ticked.skip_message
        assert ticked.cursor is None  # the first look is still to come
        holder.communicate(b"\n", timeout=30)
        ticked = tick(instance)
        assert ticked.skip_message == "runs looked at: 1, none is dead"
        assert Cursor.parse(ticked.cursor) is not None


def test_a_cursor_of_something_else_is_no_cursor() -> None:
    now = datetime.now(timezone.utc)
    for text in (None, "", "7", "[]", "{}", '{"ticked_at": 5, "look_at": {}}'):
        assert Cursor.parse(text) is None
    cursor = Cursor(now, {"a": now, "b": None})
    assert Cursor.parse(str(cursor)) == cursor

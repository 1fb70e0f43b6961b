"""The recheck sensor: a bounded tick, one request and one observation per finding."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from pipeline_platform.automation.due_windows import RequestedRuns
from pipeline_platform.automation.recheck import RECHECK_TAG, Cursor, look, recheck_sensor
from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import PermanentError
from pipeline_platform.flow.assets import build_assets
from pipeline_platform.flow.catalog import NO_FILE
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.partitions import partitions_definition
from pipeline_platform_tests.pipelines import (
    create_duckdb_orders,
    create_postgres_orders,
    duckdb_config,
    duckdb_store,
    make_pipeline,
    postgres_config,
    run_window,
)
from pipeline_platform_tests.servers.postgres import Database, PostgresServer
from pipeline_platform_tests.servers.toxiproxy import Toxiproxy

pytestmark = pytest.mark.filterwarnings(
    "ignore:Specifying a partitions_def on an AssetCheckSpec:dagster.PreviewWarning"
)

DAYS = [datetime(2024, 1, day, tzinfo=timezone.utc) for day in (1, 2, 3)]
KEYS = ["2024-01-03", "2024-01-02", "2024-01-01"]
NOON = datetime(2024, 1, 4, 12, tzinfo=timezone.utc)
ROWS = 10
MINUTE = timedelta(minutes=1)


class Orders:
    """Three audited windows between DuckDB files, and ticks over them."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder = folder
        self.instance = instance
        create_duckdb_orders(folder / "source.duckdb", DAYS, ROWS)
        self.store: DriveStore = duckdb_store(folder)
        for key in KEYS:
            run_window(self.pipeline(), self.store, key)

    def pipeline(self, **changes: Any) -> Pipeline:
        recheck = {"enabled": True, **changes.pop("recheck", {})}
        return make_pipeline(duckdb_config(recheck=recheck, **changes), self.folder)

    def late(self, day: int, rows: int = 1) -> None:
        with duckdb.connect(str(self.folder / "source.duckdb")) as connection:
            connection.execute(
                "INSERT INTO orders SELECT 9000 + i, ?, 1, 'late', NULL FROM range(?) AS t(i)",
                [DAYS[day - 1] + MINUTE, rows],
            )

    def remove(self, day: int) -> None:
        with duckdb.connect(str(self.folder / "source.duckdb")) as connection:
            connection.execute(
                "DELETE FROM orders WHERE placed_at = ?::TIMESTAMPTZ", [DAYS[day - 1]]
            )

    def tick(
        self, cursor: str | None, now: datetime = NOON, *, store: Any = None, seconds: float = 20,
        **changes: Any,
    ) -> dg.SensorResult:  # fmt: skip
        return look(
            self.pipeline(**changes), store or self.store, now, Cursor.parse(cursor),
            RequestedRuns(self.instance), seconds=seconds,
        )  # fmt: skip


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def orders(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Orders]:
    """The warehouse stays open meanwhile: opening it is most of what a small window takes."""
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")):
        yield Orders(tmp_path, instance)


def keys(result: dg.SensorResult) -> list[str | None]:
    return [request.partition_key for request in result.run_requests or []]


def told(result: dg.SensorResult) -> list[tuple[str | None, Any, Any, Any]]:
    """Partition, class, rows then and rows now of each observation."""
    found = []
    for event in result.asset_events:
        assert isinstance(event, dg.AssetObservation)
        assert event.asset_key == dg.AssetKey(["orders", "audit"])
        values = {name: value.value for name, value in event.metadata.items()}
        found.append(
            (event.partition, values["class"], values.get("rows_then"), values["rows_now"])
        )
    return found


def skipped(result: dg.SensorResult) -> str:
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def test_a_quiet_round_then_nothing_is_opened_until_the_next(orders: Orders) -> None:
    class Closed:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("the warehouse was opened")

    first = orders.tick(None)
    assert (keys(first), told(first)) == ([], [])
    assert skipped(first) == "counted 3 windows again, 0 are not as committed"
    second = orders.tick(first.cursor, NOON + 59 * MINUTE, store=Closed())
    assert skipped(second) == "the next round begins at 2024-01-04T13:00:00+00:00"
    third = orders.tick(second.cursor, NOON + 60 * MINUTE)
    assert skipped(third).startswith("counted 3 windows")


def test_growth_is_requested_and_told_once(orders: Orders) -> None:
    orders.late(2)
    first = orders.tick(None)
    assert told(first) == [("2024-01-02", "late", ROWS, ROWS + 1)]
    [request] = first.run_requests or []
    assert request.run_key == "orders:2024-01-02:recheck:1:11:10:10"
    assert request.tags[RECHECK_TAG] == "late"
    # The run is on its way for longer than a round: nothing is told or requested again.
    run = orders.instance.create_run_for_job(
        dg.job(name="orders_windows")(lambda: None), tags={"dagster/run_key": request.run_key}
    )  # fmt: skip
    second = orders.tick(first.cursor, NOON + 61 * MINUTE)
    assert (keys(second), told(second)) == ([], [])
    assert "1 are not as committed" in skipped(second)
    # It ended without ever having had the window: requested anew, under another key.
    orders.instance.report_run_failed(run)
    third = orders.tick(second.cursor, NOON + 122 * MINUTE)
    assert [one.run_key for one in third.run_requests or []] == [f"{request.run_key}:1"]
    assert told(third) == []
    # Still more rows are another finding.
    orders.late(2, 4)
    fourth = orders.tick(third.cursor, NOON + 183 * MINUTE)
    assert told(fourth) == [("2024-01-02", "late", ROWS, ROWS + 5)]
    assert [one.run_key for one in fourth.run_requests or []] == [
        "orders:2024-01-02:recheck:1:15:10:10"
    ]
    run_window(orders.pipeline(), orders.store, "2024-01-02")
    fifth = orders.tick(fourth.cursor, NOON + 244 * MINUTE)
    assert told(fifth) == [("2024-01-02", "as committed", None, ROWS + 5)]
    sixth = orders.tick(fifth.cursor, NOON + 305 * MINUTE)
    assert (keys(sixth), told(sixth)) == ([], [])


def test_shrinkage_is_marked_and_not_requested(orders: Orders) -> None:
    orders.remove(3)
    first = orders.tick(None)
    assert keys(first) == []
    assert told(first) == [("2024-01-03", "deleted", ROWS, ROWS - 1)]
    [event] = first.asset_events
    assert event.metadata["difference"].value == -1
    assert event.metadata["run"].value == "orders_20240103T0000Z_run1"
    assert "only shown" in str(event.metadata["action"].value)
    second = orders.tick(first.cursor, NOON + 61 * MINUTE)
    assert (keys(second), told(second)) == ([], [])


def test_a_tick_is_bounded_and_the_next_goes_on_where_it_was(orders: Orders) -> None:
    for day in (1, 2, 3):
        orders.late(day)
    cursor, found = None, []
    for _ in KEYS:
        result = orders.tick(cursor, seconds=0)
        assert len(result.asset_events) == 1
        found += keys(result)
        cursor = result.cursor
    assert found == KEYS
    assert "next round" in skipped(orders.tick(cursor, seconds=0))
    few = orders.tick(None, schedule={"max_windows_per_tick": 2})
    assert keys(few) == KEYS[:2]
    assert keys(orders.tick(few.cursor, schedule={"max_windows_per_tick": 2})) == KEYS[2:]


def test_only_the_last_windows_are_counted(orders: Orders) -> None:
    for day in (1, 2, 3):
        orders.late(day)
    assert keys(orders.tick(None, recheck={"windows": 2})) == KEYS[:2]


def test_a_source_that_is_down_concludes_nothing(
    tmp_path: Path, postgres: Database, toxiproxy: Toxiproxy, instance: dg.DagsterInstance
) -> None:
    create_postgres_orders(postgres, DAYS, ROWS)
    relay = toxiproxy.relay(f"127.0.0.1:{postgres.port}")
    host, _, port = relay.address.partition(":")
    source = {**postgres_config(postgres)["source_system"], "host": host, "port": int(port)}
    orders = make_pipeline({**duckdb_config(), "source_system": source}, tmp_path)
    store = duckdb_store(tmp_path)
    run_window(orders, store, KEYS[0])
    with postgres.connect() as connection:
        connection.execute("DELETE FROM orders")
    known = RequestedRuns(instance)
    with relay.down():
        result = look(orders, store, NOON, None, known)
    assert (keys(result), told(result)) == ([], [])
    assert "counted 0 windows again" in skipped(result)
    assert "cannot count now, nothing is concluded" in skipped(result)
    again = look(orders, store, NOON + MINUTE, Cursor.parse(result.cursor), known)
    assert told(again) == [(KEYS[0], "deleted", ROWS, 0)]
    relay.remove()


def test_what_a_person_has_to_mend_fails_the_tick(orders: Orders) -> None:
    with duckdb.connect(str(orders.folder / "source.duckdb")) as connection:
        connection.execute("DROP TABLE orders")
    with pytest.raises(PermanentError):
        orders.tick(None)


@pytest.mark.parametrize("text", [None, "", "no", "[]", '{"began": 5}', '{"below": null}'])
def test_any_other_cursor_begins_anew(text: str | None) -> None:
    assert Cursor.parse(text) is None


def test_the_cursor_is_what_was_written() -> None:
    for cursor in (Cursor(NOON), Cursor(NOON, None, {"a": "1:2"}), Cursor(NOON, DAYS[0])):
        assert Cursor.parse(str(cursor)) == cursor


def test_the_requested_run_loads_the_rows_and_then_it_is_quiet(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The sensor and the job as Dagster has them, between PostgreSQL tables."""
    database = postgres_server.new_database()
    create_postgres_orders(database, DAYS, ROWS)
    orders = make_pipeline(postgres_config(database, recheck={"enabled": True}), tmp_path)
    manager = DriveTableIOManager(
        state={"type": "postgres", **database.as_config()}, base_dir=str(tmp_path),
        held_wait_seconds=0,
    )  # fmt: skip
    assets = build_assets(orders, partitions_definition(orders.windows), NO_FILE)
    job = dg.define_asset_job("orders_windows", selection=dg.AssetSelection.groups("orders"))
    sensor = recheck_sensor(orders, "orders_windows")
    assert (sensor.name, sensor.default_status) == (
        "orders_recheck", dg.DefaultSensorStatus.RUNNING,
    )  # fmt: skip
    defs = dg.Definitions(
        assets=assets, jobs=[job], sensors=[sensor], resources={DRIVE_TABLE: manager}
    )

    def tick(instance: dg.DagsterInstance) -> Any:
        """Each begins a round of its own."""
        with dg.build_sensor_context(
            instance, definitions=defs, resources={DRIVE_TABLE: manager}
        ) as context:
            return sensor.evaluate_tick(context)

    with dg.DagsterInstance.ephemeral() as instance:
        resolved = defs.resolve_job_def("orders_windows")

        def execute(key: str, tags: dict[str, str]) -> None:
            done = resolved.execute_in_process(instance=instance, partition_key=key, tags=tags)
            assert done.success

        manager.store.migrate()
        execute(KEYS[0], {})
        with database.connect() as connection:
            connection.execute(
                "INSERT INTO orders VALUES (9999, '2024-01-03 12:00:00+00', 1, 'late', NULL)"
            )
        found = tick(instance)
        [request] = found.run_requests
        for event in found.asset_events:
            instance.report_runless_asset_event(event)
        execute(request.partition_key, request.tags)
        after = tick(instance)
        assert (after.run_requests, after.asset_events) == ([], [])
        shown = instance.fetch_observations(
            dg.AssetRecordsFilter(dg.AssetKey(["orders", "audit"]), asset_partitions=[KEYS[0]]), 5
        ).records
        assert [record.asset_observation.metadata["class"].value for record in shown] == ["late"]  # type: ignore[union-attr]
    with database.connect() as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM analytics.orders").fetchall()
    assert rows == ROWS + 1
    record = manager.store.latest_record("orders")
    assert record is not None
    assert (record.pipeline_status, record.source_count, record.epoch) == ("COMPLETED", 11, 2)
    postgres_server.drop(database)

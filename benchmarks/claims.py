"""L3: what a claim and the search for the next window cost when the drive table has a long past."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg

from benchmarks.bench import Bench
from benchmarks.data import key_of_day
from benchmarks.measure import Measure, Take, interleaved, medians, seconds
from benchmarks.world import POSTGRES, World
from pipeline_platform.drive_table.schema import EXECUTION_LOG, LOG_TYPES, RECORD_TYPES, RECORDS
from pipeline_platform.drive_table.sql_store import SqlStore
from pipeline_platform.drive_table.statements import CLAIM, Statements
from pipeline_platform.flow.pending import build_complete_pipeline_record
from pipeline_platform.record import PipelineRecord

MOST = 1.3
SHORT, LONG = 100, 100_000
_SCHEMA = "pipeline_platform"

# A past of completed windows, an hour apart, before the one that a real run left behind.
_MOVED_BACK = {
    name: f"{name} - number * INTERVAL '1 hour'"
    for name in ("window_start_time", "window_end_time", "query_window_start_timestamp",
                 "query_window_end_timestamp", "created_at", "updated_at")
} | dict.fromkeys(("pipeline_id", "dagster_run_id"), "'past_' || number")  # fmt: skip
_NEXT = (
    "SELECT * FROM {records} WHERE pipeline_name = :pipeline_name AND pipeline_status = 'PENDING' "
    "AND {free} ORDER BY window_start_time LIMIT 10"
)


def claim_cost(bench: Bench, kind: str) -> Measure:
    """Next window, claim, look and release, with 100 and with 100,000 windows done before."""
    long = LONG // 20 if bench.quick else LONG
    with ExitStack() as stack:
        sides: dict[str, Take] = {}
        for past in (SHORT, long):
            world = stack.enter_context(bench.world(kind, [1, 0]))
            record = _with_past(world, past)
            sides[f"{past} rows"] = partial(seconds, partial(_next_and_claim, world, record))
            if kind == POSTGRES and past == long:
                _require_indexes(world, record)
        samples = interleaved(bench.repeats * 2, sides)
    short_cost, long_cost = medians(samples).values()
    indexed = "; EXPLAIN shows index scans only" if kind == POSTGRES else ""
    return Measure(
        f"L3.{kind}", long_cost / short_cost, "x", MOST, "at most", samples,
        f"Seconds to find the next pending window, claim it, look it up and free it, with "
        f"{long:,} completed windows and runs in the drive table against {SHORT}{indexed}.",
    )  # fmt: skip


def _with_past(world: World, windows: int) -> PipelineRecord:
    """Fill the drive table; returns the record of the window that is to be claimed."""
    pipeline = world.pipeline()
    world.move(pipeline, key_of_day(0))
    numbers = f"range(1, {windows + 1})"
    if world.kind == POSTGRES:
        numbers = f"generate_series(1, {windows})"
    log = f"{_SCHEMA}.{EXECUTION_LOG}"
    for table, columns, chosen in (
        (f"{_SCHEMA}.{RECORDS}", RECORD_TYPES, "true"),
        (log, LOG_TYPES, f"revision = (SELECT max(revision) FROM {log})"),
    ):
        names = [name for name in columns if name != "id"]
        world.at_target(
            f"INSERT INTO {table} ({', '.join(names)}) "
            f"SELECT {', '.join(_MOVED_BACK.get(name, name) for name in names)} "
            f"FROM {table}, {numbers} AS past(number) WHERE {chosen}"
        )
    world.at_target("ANALYZE")
    world.settle()
    window = pipeline.windows.window_of_key(key_of_day(1))
    record = build_complete_pipeline_record(pipeline.record_plan(), window)
    world.store.register([record])
    return record


def _next_and_claim(world: World, record: PipelineRecord) -> None:
    [found] = world.store.pending("orders", 10)
    assert found.key == record.key
    claim = world.store.claim(record, "a run")
    assert claim is not None
    state = world.store.look_up(record.key)
    assert state.claim_of("a run") is not None
    world.store.save(claim, None, None, release=True)


class _Explaining:
    """A session that answers with plans; nothing is run."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self._connection.execute(f"EXPLAIN (FORMAT JSON) {sql}".encode(), values)
        return [{"plan": json.dumps(answer.fetchone())}]

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        raise NotImplementedError


def _require_indexes(world: World, record: PipelineRecord) -> None:
    assert world.database is not None
    assert isinstance(world.store, SqlStore)
    values = {
        **vars(record.key), "owner": "a run", "seen": 0, "at_least": 0, "lease": timedelta(1),
    }  # fmt: skip
    with world.database.connect() as connection:
        store = world.store
        explaining = Statements(_Explaining(connection), store.dialect, store._table)
        for statement, index in (
            (CLAIM, f"{RECORDS}_pkey"),
            (_NEXT, f"{RECORDS}_pending"),
        ):
            [answer] = explaining.rows(statement, values)
            assert index in answer["plan"], answer["plan"]
            assert "Seq Scan" not in answer["plan"], answer["plan"]

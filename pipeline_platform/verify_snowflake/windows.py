"""Whole windows through the platform itself: into a table, over it, and past it."""

import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import duckdb

from pipeline_platform.config.load import parse_config
from pipeline_platform.errors import ClaimLostError
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.run import RunRequest
from pipeline_platform.flow.step import STEPS, perform
from pipeline_platform.movement import WindowSlice
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets.base import Target
from pipeline_platform.verify_snowflake.points import DisprovedError, Point, expect
from pipeline_platform.verify_snowflake.scratch import Scratch, together

_LOG = logging.getLogger(__name__)
_DAY = datetime(2024, 3, 10, tzinfo=timezone.utc)
_KEY = "2024-03-10"
_WINDOW = WindowSlice("orders", _DAY, _DAY + timedelta(days=1))
_ROWS = 1_000
_GREATEST = 10**38 - 1
_NANOSECOND = "2024-03-10 10:00:00.123456789"
# Columns beside the usual ones, in DuckDB's SQL.
_EXACT = {
    "greatest": f"{_GREATEST}::DECIMAL(38, 0)",
    "finest": f"0.{'1' * 37}::DECIMAL(38, 37)",
    "unsigned": f"{2**64 - 1}::UBIGINT",
    "moment": f"TIMESTAMP_NS '{_NANOSECOND}'",
    "long_ago": "TIMESTAMP '0001-01-01 00:00:00.000001'",
    "first_day": "DATE '0001-01-01'",
    "clock": "TIME '23:59:59.999999'",
    "fraction": "CASE WHEN i % 3 = 0 THEN 'nan'::DOUBLE WHEN i % 3 = 1 THEN 'inf'::DOUBLE "
    "ELSE 0.1::DOUBLE END",
    "bytes": "'\\x00\\xFF\\x10'::BLOB",
}


def _pipeline(scratch: Scratch, name: str, columns: str = "", **target: str) -> Pipeline:
    """A daily pipeline from a table of that name in a DuckDB file, with `columns` besides.

    `target` changes the target's settings; its table has the same name.
    """
    file = scratch.folder / f"{name}.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute(
            f"CREATE OR REPLACE TABLE {name} AS SELECT i AS id, "  # noqa: S608
            f"TIMESTAMPTZ '{_DAY}' + i * INTERVAL 1 MINUTE AS placed_at, "
            "(i / 7)::DECIMAL(12, 2) AS amount, "
            f"CASE WHEN i % 5 = 0 THEN NULL ELSE 'it''s ✓ ' || i END AS note {columns} "
            f"FROM range({_ROWS}) AS t(i)"
        )
    config = {
        "pipeline_metadata": {"pipeline_name": name},
        "schedule": {"timezone": "UTC", "start_date": "2024-01-01"},
        "query_window": {"duration": "1d"},
        "source_system": {
            "type": "duckdb", "path": str(file), "table": name, "query_field": "placed_at",
        },
        "stage_system": {"type": "local", "path": str(scratch.folder / "stage")},
        "target_system": {**scratch.target_system(name), **target},
    }  # fmt: skip
    return Pipeline(parse_config(config, base_dir=scratch.base_dir).config, scratch.base_dir)


def _run(scratch: Scratch, pipeline: Pipeline, *, force: bool = False) -> ExecutionRow:
    owner = uuid.uuid4().hex
    names = list(STEPS)
    for name in names:
        request = RunRequest(owner, name == names[0], name == names[-1], force, held_wait_seconds=0)
        window = pipeline.windows.window_of_key(_KEY)
        given = perform(name, pipeline, window, scratch.store, request, _LOG).handover
        scratch.store.save(given.claim, given.record, given.row, release=given.release)
    row = scratch.store.run_of(pipeline.name, owner)
    assert row is not None
    return row


def _rows(scratch: Scratch, table: str, what: str) -> tuple[Any, ...]:
    with scratch.session() as session:
        [row] = session.rows(f"SELECT {what} FROM {scratch.name(table)}")  # noqa: S608
    return row


def _a_window(scratch: Scratch) -> str:
    pipeline = _pipeline(scratch, "orders")
    runs = [_run(scratch, pipeline), _run(scratch, pipeline), _run(scratch, pipeline, force=True)]
    statuses = [run.pipeline_status for run in runs]
    expect(statuses == ["SUCCESS", "SKIPPED", "SUCCESS"], f"three runs ended {statuses}")
    found = _rows(scratch, "orders", "count(*), count(DISTINCT id), count(note)")
    expect(found == (_ROWS, _ROWS, _ROWS * 4 // 5), f"the table has {found}")
    with scratch.session() as session:
        left = session.records(f"SHOW TABLES LIKE '%LOAD%' IN SCHEMA {scratch.name()}")
    expect(not left, f"load tables are left: {[row['name'] for row in left]}")
    return f"{_ROWS} rows moved, then skipped, then replaced by {_ROWS}"


def _exact_values(scratch: Scratch) -> str:
    columns = "".join(f", {value} AS {name}" for name, value in _EXACT.items())
    row = _run(scratch, _pipeline(scratch, "exact", columns))
    details = row.phases["stage_to_target_transfer"].phase_specific_details
    found = _rows(
        scratch, "exact",
        "MAX(greatest)::VARCHAR, MIN(finest)::VARCHAR, MAX(unsigned)::VARCHAR, "
        "MAX(TO_VARCHAR(moment, 'YYYY-MM-DD HH24:MI:SS.FF9')), MAX(HEX_ENCODE(bytes))",
    )  # fmt: skip
    expected = (str(_GREATEST), f"0.{'1' * 37}", str(2**64 - 1), _NANOSECOND, "00FF10")
    expect(found == expected, f"stored were {found}")
    return f"{details.get('columns_verified')} columns came through the load, exact to every digit"


def _hostile_names(scratch: Scratch) -> str:
    """A schema, a table and columns that are nothing but trouble, through PUT and COPY."""
    schema, table = f'{scratch.schema} it\'s "quoted"', "t{0};--'"
    columns = "".join(f', i AS "{name}"' for name in ('a""b', "größe", "A b''c", "$1", "x.y"))
    try:
        _run(scratch, _pipeline(scratch, "hostile", columns, schema=schema, table=table))
        with scratch.session() as session:
            name = scratch.name(table, schema)
            found = session.rows(f"SELECT count(*) FROM {name}")  # noqa: S608
    finally:
        with scratch.session() as session:
            session.run(f"DROP SCHEMA IF EXISTS {scratch.name(schema=schema)} CASCADE")
    expect(found == [(_ROWS,)], f"the table has {found}")
    return f"{_ROWS} rows went into the table {table} of the schema {schema}"


def _loaded_orders(scratch: Scratch) -> Target:
    """The target of `orders`, with its window in it."""
    target = scratch.target("orders", QueryField("placed_at"))
    if target.commit_row(_WINDOW) is None:
        _run(scratch, _pipeline(scratch, "orders"))
    return target


def _older_run(scratch: Scratch) -> str:
    target = _loaded_orders(scratch)
    target.resolve(_WINDOW, 70)
    try:
        target.delete_window(_WINDOW, 69)
    except ClaimLostError as error:
        [rows] = _rows(scratch, "orders", "count(*)")
        expect(rows == _ROWS, f"of {_ROWS} rows {rows} are left")
        return error.message
    raise DisprovedError("run 69 deleted rows of a window that run 70 had fenced")


def _commit_rows(scratch: Scratch) -> str:
    """Several runs reach a new window at once; none may add a second row for it."""
    _loaded_orders(scratch)
    commits = scratch.name("orders_window_commits")
    for number in range(scratch.rounds):
        window = replace(_WINDOW, pipeline_name=f"meeting_{number}")
        targets = [scratch.target("orders", QueryField("placed_at")) for _ in range(4)]
        together(
            [partial(one.delete_window, window, epoch) for epoch, one in enumerate(targets, 1)]
        )
        with scratch.session() as session:
            [(rows,)] = session.rows(
                f"SELECT count(*) FROM {commits} WHERE pipeline_name = $1",  # noqa: S608
                [window.pipeline_name],
            )
        expect(rows == 1, f"{len(targets)} runs at once left {rows} commit rows of one window")
    return f"{scratch.rounds} times four runs that met at a new window left one commit row"


def _commit_in_doubt(scratch: Scratch) -> str:
    """What a run does after a COMMIT that was not answered: fence, and so wait for it."""
    target = _loaded_orders(scratch)
    commits = scratch.name("orders_window_commits")
    with scratch.session() as unanswered, ThreadPoolExecutor(1) as pool:
        unanswered.run("BEGIN")
        unanswered.changed(f"UPDATE {commits} SET audit_result = 'LATE'")  # noqa: S608
        resolving = pool.submit(target.resolve, _WINDOW, 80)
        time.sleep(3)
        waited = not resolving.done()
        unanswered.run("COMMIT")
        row = resolving.result(120)
    expect(waited, "the fence did not wait for the transaction in doubt")
    expect(row.audit_result == "LATE", "the fence did not see what the transaction committed")
    return "the fence waited for the transaction in doubt and saw its outcome"


POINTS = (
    Point("a window moves, is skipped, is replaced", _a_window),
    Point("values exact to the last digit", _exact_values, "numbers of more than 18 digits"),
    Point("names that need quotes everywhere", _hostile_names, "quotes in names"),
    Point("an older run changes nothing", _older_run),
    Point("runs that meet at a new window", _commit_rows),
    Point("a commit in doubt is waited for", _commit_in_doubt, "locks that wait"),
)

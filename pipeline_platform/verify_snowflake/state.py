"""The drive table: claims, registration, values, queries."""

# ruff: noqa: S608  (every name is quoted by Scratch.name)

import time
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

from pipeline_platform.drive_table.store import Claim
from pipeline_platform.errors import ClaimLostError
from pipeline_platform.execution import PHASES, ExecutionRow, PhaseRecord, pipeline_id
from pipeline_platform.record import PipelineRecord
from pipeline_platform.verify_snowflake.points import (
    DisprovedError,
    NotApplicableError,
    Point,
    expect,
)
from pipeline_platform.verify_snowflake.scratch import Scratch, together

_START = datetime(2025, 11, 15, 10, tzinfo=timezone.utc)
_HOUR = timedelta(hours=1)


def _record(pipeline: str, hour: int = 0) -> PipelineRecord:
    start = _START + hour * _HOUR
    return PipelineRecord(pipeline, start, start + _HOUR, date(2025, 11, 15), "1h")


def _row(record: PipelineRecord, claim: Claim) -> ExecutionRow:
    details: dict[str, Any] = {"rows": 10**12, "nested": {"list": [1, 2.5, None, True, "it's ✓"]}}
    return ExecutionRow(
        pipeline_id=pipeline_id(record.pipeline_name, record.window_start_time, claim.epoch),
        pipeline_name=record.pipeline_name,
        pipeline_status="RUNNING",
        pipeline_retry_number=0,
        pipeline_start_timestamp=_START + timedelta(microseconds=1),
        query_window_start_timestamp=record.window_start_time,
        query_window_end_timestamp=record.window_end_time,
        target_date=record.target_day,
        query_window_duration="1h",
        epoch=claim.epoch,
        dagster_run_id=claim.owner,
        config_hash="c0ffee",
        phases={
            phase: PhaseRecord("COMPLETED", phase_specific_details=dict(details))
            for phase in PHASES
        },
    )


def _migrations_at_once(scratch: Scratch) -> str:
    schema = f"{scratch.schema}_together"
    stores = [scratch.new_store(schema) for _ in range(3)]
    try:
        results = together([store.migrate for store in stores])
        failed = [str(result) for result in results if result is not None]
        expect(not failed, "; ".join(failed))
        with scratch.session() as session:
            migrations = scratch.name("schema_migrations", schema)
            versions = session.rows(f"SELECT version FROM {migrations}")
    finally:
        with scratch.session() as session:
            session.run(f"DROP SCHEMA IF EXISTS {scratch.name(schema=schema)} CASCADE")
    expect(len(versions) == len(set(versions)), f"the table of migrations has {versions}")
    return "three processes that started together left one migrated schema"


def _register_at_once(scratch: Scratch) -> str:
    windows = 40
    _ = scratch.store  # migrated
    for number in range(scratch.rounds):
        records = [_record(f"register_{number}", hour) for hour in range(windows)]
        results = together(
            [partial(scratch.new_store().register, records) for _ in range(scratch.at_once)]
        )
        failed = [str(result) for result in results if isinstance(result, Exception)]
        expect(not failed, "; ".join(failed))
        with scratch.session() as session:
            [(rows,)] = session.rows(
                f"SELECT count(*) FROM {scratch.name('pipeline_records')} WHERE pipeline_name = $1",
                [f"register_{number}"],
            )
        expect(rows == windows, f"{windows} windows became {rows} records")
        inserted = sum(result for result in results if isinstance(result, int))
        expect(inserted == windows, f"{windows} new windows were told as {inserted}")
    return (
        f"{scratch.rounds} times {scratch.at_once} connections registered the same {windows} "
        "windows: once each"
    )


def _claim_at_once(scratch: Scratch) -> str:
    for number in range(scratch.rounds):
        record = _record("claim", number)
        store = scratch.store
        stores = [scratch.new_store() for _ in range(scratch.at_once)]
        results = together(
            [partial(one.claim, record, f"run-{owner}") for owner, one in enumerate(stores)]
        )
        failed = [str(result) for result in results if isinstance(result, Exception)]
        expect(not failed, "; ".join(failed))
        winners = [result for result in results if isinstance(result, Claim)]
        expect(len(winners) == 1, f"{len(winners)} of {scratch.at_once} claimed one window")
        stored = store.look_up(record.key).claim_of(winners[0].owner)
        expect(stored == winners[0], "the stored claim is not the winner's")
    return f"{scratch.rounds} times one of {scratch.at_once} connections got the window"


def _late_writer(scratch: Scratch) -> str:
    store, record = scratch.store, _record("late")
    late = store.claim(record, "late", lease_seconds=0.001)
    assert late is not None
    time.sleep(0.1)
    winner = store.claim(record, "winner")
    expect(winner is not None and winner.epoch == late.epoch + 1, "an expired lease was not taken")
    for act in (lambda: store.heartbeat(late), lambda: store.save(late, record, None)):
        try:
            act()
        except ClaimLostError:
            continue
        raise DisprovedError("a run that lost its claim wrote to the drive table")
    return "a lease that ran out was taken over, and its late owner refused"


def _values(scratch: Scratch) -> str:
    store = scratch.store
    record = replace(
        _record("values"),
        source_count=9_000_000_000_000_000_001,
        percentage_difference=Decimal("-9999999.99"),
        audit_start_time=_START + timedelta(microseconds=123_457),
        stage_path="100 % 'quoted' \"ü\" ✓ \U0001f600 $1 ? :name",
    )
    claim = store.claim(record, "values")
    assert claim is not None
    row = _row(record, claim)
    saved = store.save(claim, record, row)
    stored = store.record(record.key)
    assert stored is not None
    expect(
        replace(stored, id=None, epoch=0, owner=None, lease_until=None) == record,
        f"a record came back as {stored}",
    )
    expect(store.run_of("values", "values") == saved, "a run's row came back changed")
    assert saved is not None
    expect(replace(saved, revision=0, created_at=None, updated_at=None) == row, "the row changed")
    return "VARIANT, ARRAY, NUMBER, DATE and TIMESTAMP_TZ come back as they were stored"


def _clock(scratch: Scratch) -> str:
    away = abs(scratch.store.now() - datetime.now(timezone.utc))
    expect(away < timedelta(minutes=1), f"the account's clock is {away} away from this machine's")
    return f"the account's clock is {away.total_seconds():.1f} s away from this machine's"


def _queries(scratch: Scratch) -> str:
    store = scratch.store
    given = {
        "pipeline_name": "values",
        "pipeline_id": "values_20251115T1000Z_run1",
        "from_time": _START,
        "to_time": _START + 24 * _HOUR,
    }
    for name, query in store.queries.items():  # type: ignore[attr-defined]
        store.query(name, **{key: given[key] for key in query.parameters if key in given})
    store.dead_runs()
    expect(len(store.pending("register_0", 5)) == 5, "pending records were not found")
    return f"{len(store.queries)} named queries ran"  # type: ignore[attr-defined]


def _read_consistency(scratch: Scratch) -> str:
    with scratch.session() as session:
        found = session.records("SHOW PARAMETERS LIKE 'READ_CONSISTENCY_MODE' IN ACCOUNT")
    if not found:
        raise NotApplicableError("the role may not see the account's READ_CONSISTENCY_MODE")
    return f"READ_CONSISTENCY_MODE is {found[0]['value']}; see docs/snowflake.md"


def _session_settings(scratch: Scratch) -> str:
    wanted = {"TIMEZONE": "UTC", "LOCK_TIMEOUT": "7", "STATEMENT_TIMEOUT_IN_SECONDS": "77"}
    with scratch.session(lock_timeout_seconds=7, statement_timeout_seconds=77) as session:
        found = {
            str(row["key"]): str(row["value"])
            for row in session.records("SHOW PARAMETERS IN SESSION")
        }
    for name, value in wanted.items():
        expect(found.get(name) == value, f"{name} is {found.get(name)} in a session, not {value}")
    return f"{', '.join(wanted)} are what the config says"


POINTS = (
    Point("processes that start together migrate once", _migrations_at_once),
    Point("windows registered at once become one record each", _register_at_once),
    Point("a window claimed at once has one owner", _claim_at_once),
    Point("a run that lost its claim writes nothing", _late_writer),
    Point("values of the drive table come back", _values),
    Point("the account's clock", _clock),
    Point("the named queries", _queries),
    Point("time limits and zone of a session", _session_settings, "SHOW PARAMETERS"),
    Point("reading across sessions", _read_consistency, "SHOW PARAMETERS"),
)

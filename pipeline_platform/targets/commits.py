"""The commit table: one row per window beside the target table, the place where epochs are fenced.

The statements are templates; names in braces are filled by the target's dialect, values are
bound as $1, $2 ... The first three are always pipeline, window start and window end.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from pipeline_platform.movement import RESTATED, CommitRow, Manifest, WindowSlice

# A window never crosses midnight of its zone, so its neighbours in time are found by an index.
LONGEST_WINDOW = timedelta(days=2)

KEY = "pipeline_name = $1 AND window_start = $2 AND window_end = $3"

CREATE = (
    "CREATE TABLE IF NOT EXISTS {commits} ("
    "pipeline_name TEXT NOT NULL, window_start TIMESTAMPTZ NOT NULL, "
    "window_end TIMESTAMPTZ NOT NULL, epoch BIGINT NOT NULL, manifest_hash TEXT, "
    "config_hashes TEXT, change_value TEXT, source_rows BIGINT, stage_rows BIGINT, "
    "target_rows BIGINT, audit_result TEXT, committed_at TIMESTAMPTZ, audited_at TIMESTAMPTZ, "
    "updated_at TIMESTAMPTZ NOT NULL, "
    "PRIMARY KEY (pipeline_name, window_start, window_end))"
)

# Before the transaction: a row to fence on. Epoch 0 is below every claim.
ENSURE = (
    "INSERT INTO {commits} (pipeline_name, window_start, window_end, epoch, updated_at) "
    "VALUES ($1, $2, $3, 0, {clock}) ON CONFLICT DO NOTHING"
)

# A load moves the epoch strictly up: at most one load ever commits at one epoch, so the epoch in
# the row says whose rows lie in the target, and an unknown outcome can be told.
FENCE_LOAD = "UPDATE {commits} SET epoch = $4, updated_at = {clock} WHERE {key} AND epoch < $4"

# A run's audit or delete comes after its own load at the same epoch. That is safe: an epoch
# belongs to one run, whose steps follow each other, and any newer run has a greater one.
FENCE = "UPDATE {commits} SET epoch = $4, updated_at = {clock} WHERE {key} AND epoch <= $4"

# Takes the row's lock and changes nothing; waits for the transaction that holds it.
LOCK = "UPDATE {commits} SET updated_at = updated_at WHERE {key}"

# Values: $4 a time before which no window can begin that reaches into this one.
OVERLAPPING = (
    "pipeline_name = $1 AND window_start > $4 AND window_start < $3 AND window_end > $2 "
    "AND NOT (window_start = $2 AND window_end = $3)"
)

# All overlapping rows, committed or not: a first load of one of them may be under way, and its
# verdict is known only once its lock is free. No RETURNING here: DuckDB would delete and insert
# the row, and see no conflict of that with another transaction's fence.
LOCK_OVERLAPPING = "UPDATE {commits} SET updated_at = updated_at WHERE {overlapping}"
READ_OVERLAPPING = (
    "SELECT window_start{in_utc}, window_end{in_utc} FROM {commits} "
    "WHERE {overlapping} AND manifest_hash IS NOT NULL ORDER BY window_start, window_end"
)

STORE_LOAD = (
    "UPDATE {commits} SET manifest_hash = $4, config_hashes = $5, change_value = $6, "
    "source_rows = $7, stage_rows = $8, target_rows = $9, audit_result = NULL, "
    "audited_at = NULL, committed_at = {clock}, updated_at = {clock} WHERE {key}"
)

STORE_AUDIT = (
    "UPDATE {commits} SET audit_result = $4, audited_at = {clock}, updated_at = {clock} WHERE {key}"
)

_WITHOUT_LOAD = (
    "UPDATE {commits} SET manifest_hash = NULL, config_hashes = NULL, change_value = NULL, "
    "source_rows = NULL, stage_rows = NULL, target_rows = NULL, audited_at = NULL, "
    "committed_at = NULL, updated_at = {clock}, "
)
STORE_DELETE = _WITHOUT_LOAD + "audit_result = NULL WHERE {key}"

# Their rows go as the windows that replace them are loaded.
GIVE_UP_OVERLAPPING = (
    _WITHOUT_LOAD
    + f"audit_result = '{RESTATED}' "
    + "WHERE {overlapping} AND manifest_hash IS NOT NULL"
)

READ = (
    "SELECT epoch, manifest_hash, config_hashes, change_value, source_rows, stage_rows, "
    "target_rows, audit_result, committed_at{in_utc}, audited_at{in_utc}, updated_at{in_utc} "
    "FROM {commits} WHERE {key}"
)


def key_values(window: WindowSlice) -> list[Any]:
    """Values of $1 to $3."""
    return [window.pipeline_name, window.start, window.end]


def around_values(window: WindowSlice) -> list[Any]:
    """Values of OVERLAPPING."""
    return [*key_values(window), window.start - LONGEST_WINDOW]


def load_values(manifest: Manifest, config_hashes: dict[str, str], target_rows: int) -> list[Any]:
    """Values of STORE_LOAD from $4 on."""
    return [
        manifest.hash,
        json.dumps(config_hashes, sort_keys=True),
        manifest.change_value,
        manifest.snapshot_count,
        manifest.rows,
        target_rows,
    ]


def commit_from(window: WindowSlice, values: Sequence[Any]) -> CommitRow:
    """The row that READ gave."""
    epoch, manifest_hash, hashes, change_value, source, stage, target, audit, *times = values
    committed_at, audited_at, updated_at = (utc(value) for value in times)
    return CommitRow(
        pipeline_name=window.pipeline_name,
        window_start=window.start,
        window_end=window.end,
        epoch=epoch,
        manifest_hash=manifest_hash,
        config_hashes=json.loads(hashes) if hashes else {},
        change_value=change_value,
        source_rows=source,
        stage_rows=stage,
        target_rows=target,
        audit_result=audit,
        committed_at=committed_at,
        audited_at=audited_at,
        updated_at=updated_at,
    )


def utc(value: datetime | None) -> datetime | None:
    """The instant in UTC; a value without zone is a UTC wall clock's."""
    if value is None:
        return None
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value.astimezone(timezone.utc)

"""One window of rows of every type, for the stage contract."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipeline_platform.movement import (
    AttemptPath,
    RejectedRecord,
    Snapshot,
    SourceBatch,
    WindowSlice,
)

START = datetime(2025, 11, 15, 10, tzinfo=timezone.utc)
WINDOW = WindowSlice("orders", START, START + timedelta(hours=1))
ATTEMPT = AttemptPath(WINDOW, 3)
NOBODY: Callable[[], None] = lambda: None  # noqa: E731

ROWS: list[dict[str, Any]] = [
    {
        "id": 2**62 - n,
        "amount": None if n % 5 == 0 else Decimal(10**27 + n) / 100,
        "at": START + timedelta(microseconds=n),
        "wall": datetime(1969, 12, 31, 23, 59, 59, 999_999) - timedelta(days=n),
        "day": date(2025, 1, 1) + timedelta(days=n),
        "clock": time(23, 59, 59, n),
        "name": None if n % 7 == 0 else f"größe {n}",
        "raw": bytes([n]) * n,
        "ratio": n / 3 if n % 2 else float("nan"),
        "good": n % 3 == 0,
    }
    for n in range(1, 24)
]
SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "amount": pa.decimal128(38, 2),
        "at": pa.timestamp("us", "UTC"),
        "wall": pa.timestamp("us"),
        "day": pa.date32(),
        "clock": pa.time64("us"),
        "name": pa.string(),
        "raw": pa.binary(),
        "ratio": pa.float64(),
        "good": pa.bool_(),
    }
)


def batch_of(rows: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema)


def snapshot_of(
    *batches: Sequence[dict[str, Any]],
    rejected: Sequence[RejectedRecord] = (),
    count: int | None = None,
    **fields: Any,
) -> Snapshot:
    rows = sum(len(batch) for batch in batches)
    parts = [SourceBatch(batch_of(batch)) for batch in batches]
    if rejected:
        parts.append(SourceBatch(batch_of([]), tuple(rejected)))
    total = rows + len(rejected) if count is None else count
    settings: dict[str, Any] = {"kind": "exact", "schema": SCHEMA, **fields}
    return Snapshot(count=total, batches=iter(parts), **settings)

"""Rows that may not be staged, split off with their reason."""

import base64
import functools
import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.movement import RejectedRecord, SourceBatch


def split_required(batch: pa.RecordBatch, required: Sequence[str]) -> SourceBatch:
    """Refuse rows with NULL in one of the columns; the reason names the first of them."""
    with_nulls = [name for name in required if batch.column(name).null_count]
    if not with_nulls:
        return SourceBatch(batch)
    nulls = {name: batch.column(name).is_null() for name in with_nulls}
    refused = functools.reduce(pc.or_, nulls.values())
    records = records_as_json(batch.filter(refused))
    reasons = [
        next(name for name in with_nulls if flags[name])
        for flags in pa.RecordBatch.from_pydict(nulls).filter(refused).to_pylist()
    ]
    rejected = tuple(
        RejectedRecord(f"{name} is NULL", record)
        for name, record in zip(reasons, records, strict=True)
    )
    return SourceBatch(batch.filter(pc.invert(refused)), rejected)


def records_as_json(batch: pa.RecordBatch) -> list[str]:
    """Each row as a JSON object: exact numbers and times as text, binary as base64."""
    columns = {
        name: _plain(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return [
        json.dumps({name: values[row] for name, values in columns.items()})
        for row in range(batch.num_rows)
    ]


def _plain(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        # The instant in UTC, without asking for a time zone database.
        texts = column.cast(pa.timestamp(kind.unit)).cast(pa.string()).to_pylist()
        return [None if text is None else f"{text}Z" for text in texts]
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return list(column.cast(pa.string()).to_pylist())
    return [_json_value(value) for value in column.to_pylist()]


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value

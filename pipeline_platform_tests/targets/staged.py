"""Windows staged for real, for the tests of targets."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_platform.config import systems
from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.movement import (
    AttemptPath,
    LoadRequest,
    Manifest,
    Snapshot,
    SourceBatch,
    WindowSlice,
)
from pipeline_platform.stages import build_stage
from pipeline_platform.stages.base import Stage

START = datetime(2025, 11, 15, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
WINDOW = WindowSlice("orders", START, START + HOUR)
FILES: dict[str, Any] = {"rows_per_file": 7, "rows_per_group": 5}
HASHES = {"source": "s", "stage": "t", "query_window": "q", "target": "g"}

SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "created_at": pa.timestamp("us", "UTC"),
        "amount": pa.decimal128(18, 2),
        "price": pa.float64(),
        "name": pa.string(),
    }
)


def rows_of(count: int, window: WindowSlice = WINDOW, first: int = 0) -> list[dict[str, Any]]:
    """Rows spread over the window, some with NULLs."""
    step = (window.end - window.start) / max(count, 1)
    return [
        {
            "id": first + n,
            "created_at": window.start + n * step,
            "amount": None if n % 5 == 4 else Decimal(n * 101 - 700) / 100,
            "price": float("nan") if n % 7 == 6 else n / 3 - 5,
            "name": None if n % 3 == 2 else f"größe {n}" if n % 3 else "",
        }
        for n in range(count)
    ]


class Staging:
    """Stages rows and makes load requests of them."""

    def __init__(self, folder: Path, bucket: dict[str, Any] | None = None) -> None:
        """`bucket` is the connection of an S3 stage; without one it is a local stage."""
        self.stage: Stage
        if bucket is None:
            local = systems.LocalStage(type="local", path="stage", **FILES)
            self.stage = build_stage(local, base_dir=folder)
        else:
            s3 = S3Stage(type="s3", prefix="stage", **FILES, **bucket)
            self.stage = build_stage(s3, base_dir=folder)

    def manifest(
        self,
        rows: Sequence[dict[str, Any]] | pa.Table,
        epoch: int = 1,
        window: WindowSlice = WINDOW,
        schema: pa.Schema = SCHEMA,
        query_field: str = "created_at",
    ) -> Manifest:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema)
        batches = (SourceBatch(batch) for batch in table.to_batches(max_chunksize=4))
        self.stage.delete(AttemptPath(window, epoch))
        return self.stage.write(
            AttemptPath(window, epoch),
            Snapshot("exact", table.num_rows, table.schema, batches, change_value="v1"),
            pipeline_id=f"{window.pipeline_name}_run{epoch}",
            query_field=query_field,
            config_hashes=HASHES,
            still_ours=lambda: None,
        )

    def request(
        self,
        rows: Sequence[dict[str, Any]] | pa.Table,
        epoch: int = 1,
        window: WindowSlice = WINDOW,
        tolerance: str = "0",
        change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
        **more: Any,
    ) -> LoadRequest:
        """`change` alters the manifest behind the files' back; `more` goes to LoadRequest."""
        staging = {name: more.pop(name) for name in ("schema", "query_field") if name in more}
        manifest = self.manifest(rows, epoch, window, **staging)
        files = self.stage.locations(manifest)
        more = {"open": self.stage.open, **more}
        return LoadRequest(change(manifest), epoch, files, Decimal(tolerance), **more)


def at_epoch(request: LoadRequest, epoch: int) -> LoadRequest:
    """The same manifest, loaded by another run."""
    return replace(request, epoch=epoch)


EVERY_TYPE = pa.schema(
    {
        "created_at": pa.timestamp("us", "UTC"),
        "i8": pa.int8(),
        "i16": pa.int16(),
        "i32": pa.int32(),
        "i64": pa.int64(),
        "u8": pa.uint8(),
        "u16": pa.uint16(),
        "u32": pa.uint32(),
        "u64": pa.uint64(),
        "f32": pa.float32(),
        "f64": pa.float64(),
        "d1": pa.decimal128(1, 0),
        "d5_5": pa.decimal128(5, 5),
        "d18_3": pa.decimal128(18, 3),
        "d20_1": pa.decimal128(20, 1),
        "d38_10": pa.decimal128(38, 10),
        "d38_0": pa.decimal128(38, 0),
        "flag": pa.bool_(),
        "text": pa.string(),
        "large": pa.large_string(),
        "raw": pa.binary(),
        "fixed": pa.binary(3),
        "day": pa.date32(),
        "day64": pa.date64(),
        "clock": pa.time64("us"),
        "clock_s": pa.time32("s"),
        "wall": pa.timestamp("us"),
        "wall_s": pa.timestamp("s"),
        "wall_ns": pa.timestamp("ns"),
        "tz_ms": pa.timestamp("ms", "America/New_York"),
        "tz_ns": pa.timestamp("ns", "UTC"),
        "nothing": pa.null(),
    }
)

_FULL: dict[str, Any] = {
    "i8": -(2**7), "i16": 2**15 - 1, "i32": -(2**31), "i64": 2**63 - 1,
    "u8": 255, "u16": 65_535, "u32": 2**32 - 1, "u64": 2**64 - 1,
    "f32": 0.1, "f64": 1e-300, "d1": Decimal(-9), "d5_5": Decimal("0.00001"),
    "d18_3": Decimal("-999999999999999.999"), "d20_1": Decimal("1234567890123456789.5"),
    "d38_10": Decimal("-9999999999999999999999999999.9999999999"),
    "d38_0": Decimal("9" * 38), "flag": True,
    "text": "a \"quoted\", text\nwith\r\n\\. lines\t\\N größe 🎈 '$1' {x} %s",
    "large": "\\.", "raw": bytes(range(256)), "fixed": b"\x00\xff\n",
    "day": date(9999, 12, 31), "day64": date(1969, 12, 31), "clock": time(23, 59, 59, 999_999),
    "clock_s": time(1, 2, 3), "wall": datetime(1, 1, 1, 0, 0, 0, 1),
    "wall_s": datetime(2024, 2, 29, 12), "wall_ns": datetime(1969, 12, 31, 23, 59, 59, 999_999),
    "tz_ms": datetime(2024, 3, 10, 7, 0, 0, 1000, tzinfo=timezone.utc),
    "tz_ns": datetime(2024, 11, 3, 5, 30, 0, 123_456, tzinfo=timezone.utc),
}  # fmt: skip
_ZERO: dict[str, Any] = {
    "i8": 0, "i16": 0, "i32": 0, "i64": 0, "u8": 0, "u16": 0, "u32": 0, "u64": 0,
    "f32": float("inf"), "f64": float("-inf"), "d1": Decimal(0), "d5_5": Decimal(0),
    "d18_3": Decimal("10000.000"), "d20_1": Decimal("-0.1"), "d38_10": Decimal("0.0000000001"),
    "d38_0": Decimal("9" * 38), "flag": False, "text": "", "large": "", "raw": b"",
    "fixed": b"\0\0\0", "day": date(1, 1, 1), "day64": date(2000, 1, 1), "clock": time(0),
    "clock_s": time(0), "wall": datetime(9999, 12, 31, 23, 59, 59, 999_999),
    "wall_s": datetime(1970, 1, 1), "wall_ns": datetime(2000, 1, 1),
    "tz_ms": START, "tz_ns": START,
}  # fmt: skip


def every_type() -> pa.Table:
    """All staged types: extremes, zeros and empties, NaN, NULLs."""
    nan = {"f32": float("nan"), "f64": float("nan"), "d38_0": Decimal("-" + "9" * 38)}
    rows = [_FULL, _ZERO, nan, {}]
    return pa.Table.from_pylist(
        [{"created_at": START + timedelta(minutes=n), **row} for n, row in enumerate(rows)],
        EVERY_TYPE,
    )

"""Do the rows in the target equal what was staged? Null counts and exact sums, column by column.

The aggregates run in the database over the window's rows; the expected values come from the
manifest (`ColumnSummary` says what is summed). Differences are named without values, which could
be a row's own.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipeline_platform.movement import ColumnSummary, Manifest
from pipeline_platform.targets.columns import TargetColumn, TargetTable, staged_kind

# The SQL of a column's exact sum; the column comes quoted.
TotalOf = Callable[[str, pa.DataType, TargetColumn], str]

_FLOATS = ("float32", "float64")


@dataclass(frozen=True)
class Aggregate:
    """One value to ask the database for, and what it must be."""

    column: str
    what: str
    sql: str
    agrees: Callable[[Any], bool]


def aggregates(
    manifest: Manifest, table: TargetTable, quote: Callable[[str], str], total_of: TotalOf
) -> list[Aggregate]:
    """All checks of the manifest's columns, in the schema's order."""
    checks: list[Aggregate] = []
    for field in manifest.schema:
        summary = manifest.columns.get(field.name)
        if summary is not None:
            column = table.column(field.name)
            quoted = quote(column.name)
            # Without a sum although there are values: the type has none.
            unsummed = summary.total is None and summary.nulls != manifest.rows
            checks += _checks(field, summary, column, quoted, None if unsummed else total_of)
    return checks


def differences(checks: Sequence[Aggregate], values: Sequence[Any]) -> list[str]:
    """`amount: sum` for each aggregate that is not what the manifest says."""
    return [
        f"{check.column}: {check.what}"
        for check, value in zip(checks, values, strict=True)
        if not check.agrees(value)
    ]


def _checks(
    field: pa.Field,
    summary: ColumnSummary,
    column: TargetColumn,
    quoted: str,
    total_of: TotalOf | None,
) -> list[Aggregate]:
    name, kind = field.name, staged_kind(field.type)
    nulls = Aggregate(
        name, "nulls", f"count(*) - count({quoted})", lambda value: value == summary.nulls
    )
    if column.kind == "normalized" or kind == "null":
        return [nulls]
    if kind in _FLOATS:
        numbers = f"NULLIF({quoted}, 'NaN')"
        single = kind == "float32"
        return [
            nulls,
            Aggregate(name, "minimum", f"min({numbers})",
                      lambda value: _same_float(value, summary.minimum, single)),
            Aggregate(name, "maximum", f"max({numbers})",
                      lambda value: _same_float(value, summary.maximum, single)),
        ]  # fmt: skip
    if total_of is None:
        return [nulls]
    return [
        nulls,
        Aggregate(
            name,
            "sum",
            total_of(quoted, field.type, column),
            lambda value: _same_total(value, summary.total),
        ),
    ]


def _same_total(value: Any, expected: str | None) -> bool:
    if isinstance(value, str) and "/" in value:
        value = [int(part) for part in value.split("/")]
    if isinstance(value, list):
        value = _joined(*value)
    if value is None or expected is None:
        return value is None and expected is None
    return bool(Decimal(value) == Decimal(expected))


def _joined(high: int | None, low: int | None, scale: int) -> Decimal | None:
    """A sum from its halves, of 19 digits each, and its scale; exact, whatever the context's
    precision."""
    if high is None or low is None:
        return None
    digits = Decimal(high * 10**19 + low).as_tuple()
    return Decimal((digits.sign, digits.digits, -scale))


def _same_float(value: Any, expected: str | None, single: bool) -> bool:
    if value is None or expected is None:
        return value is None and expected is None
    observed, wanted = float(value), float(expected)
    if single:
        return _single(observed) == _single(wanted)
    return observed == wanted


def _single(value: float) -> float:
    """The nearest 32-bit float."""
    return float(struct.unpack("f", struct.pack("f", value))[0])

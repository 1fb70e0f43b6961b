"""Snowflake's types: for staged columns, of existing ones, and the exact sums of both (pure)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipeline_platform.errors import PermanentError
from pipeline_platform.quoting import fold_snowflake
from pipeline_platform.targets.columns import (
    Kind,
    TargetColumn,
    TargetTable,
    plain_type,
    staged_kind,
)
from pipeline_platform.targets.staged_files import in_nanoseconds

MOST_DIGITS = 38

_TYPES: dict[Kind, str] = {
    "float32": "FLOAT",
    "float64": "FLOAT",
    "boolean": "BOOLEAN",
    "text": "VARCHAR",
    "null": "VARCHAR",
    "binary": "BINARY",
    "date": "DATE",
    "time": "TIME(9)",
    "timestamp": "TIMESTAMP_NTZ(9)",
    "timestamptz": "TIMESTAMP_TZ(9)",
}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(["NUMBER", "DECIMAL", "NUMERIC"], "decimal"),
    "FLOAT": "float64",
    "BOOLEAN": "boolean",
    **dict.fromkeys(["VARCHAR", "TEXT", "STRING", "CHAR"], "text"),
    **dict.fromkeys(["VARIANT", "ARRAY", "OBJECT"], "normalized"),
    "BINARY": "binary",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP_NTZ": "timestamp",
    **dict.fromkeys(["TIMESTAMP_TZ", "TIMESTAMP_LTZ"], "timestamptz"),
}
_DESCRIBED = re.compile(r"([A-Z_ ]+?)(?:\((\d+)(?:,\s*(\d+))?\))?")

# How a text becomes a semi-structured value. One that is of another form becomes NULL, which the
# null counts of the verification see.
_FROM_JSON = {
    "VARIANT": "PARSE_JSON({column})",
    "ARRAY": "IFF(IS_ARRAY(PARSE_JSON({column})), PARSE_JSON({column})::ARRAY, NULL)",
    "OBJECT": "IFF(IS_OBJECT(PARSE_JSON({column})), PARSE_JSON({column})::OBJECT, NULL)",
}

# What one row adds to the sum of its column.
_ADDENDS: dict[Kind, str] = {
    "boolean": "{column}::NUMBER(38,0)",
    "text": "(BIT_LENGTH({column}) / 8)::NUMBER(38,0)",
    "binary": "LENGTH({column})::NUMBER(38,0)",
    "date": "DATEDIFF(day, '1970-01-01'::DATE, {column})::NUMBER(38,0)",
    "time": "DATEDIFF(microsecond, '00:00:00'::TIME, {column})::NUMBER(38,0)",
    "timestamp": "DATE_PART(EPOCH_MICROSECOND, {column})::NUMBER(38,0)",
    "timestamptz": "DATE_PART(EPOCH_MICROSECOND, {column})::NUMBER(38,0)",
}
_NANOSECONDS: dict[Kind, str] = {
    "time": "DATEDIFF(nanosecond, '00:00:00'::TIME, {column})::NUMBER(38,0)",
    "timestamp": "DATE_PART(EPOCH_NANOSECOND, {column})::NUMBER(38,0)",
    "timestamptz": "DATE_PART(EPOCH_NANOSECOND, {column})::NUMBER(38,0)",
}
_SAFE_DIGITS = 27

# A sum of wide decimals can exceed 38 digits, so the halves of their digits are summed, and put
# together by the reader: `high/low/scale`.
_DIGITS = (
    "LPAD(SPLIT_PART(ABS({column})::VARCHAR, '.', 1) || "
    "RPAD(SPLIT_PART(ABS({column})::VARCHAR, '.', 2), {scale}, '0'), 38, '0')"
)
_HALF = (
    "TO_VARCHAR(SUM((IFF({column} < 0, -1, 1) * {side}({digits}, 19)::NUMBER(19,0))::NUMBER(20,0)))"
)


def sql_type(staged: pa.DataType) -> str:
    """The column type for a staged type; PermanentError if there is none."""
    kind = staged_kind(staged)
    staged = plain_type(staged)
    if kind == "integer":
        return "NUMBER(20,0)" if pa.types.is_uint64(staged) else "NUMBER(38,0)"
    if kind == "decimal":
        scale = max(staged.scale, 0)
        precision = max(staged.precision - min(staged.scale, 0), scale)
        if precision > MOST_DIGITS or scale > MOST_DIGITS - 1:
            raise PermanentError(
                f"Snowflake has no type for {staged}: its numbers end at 38 digits, 37 of them "
                "after the point.",
                hint="Leave the column out, or cast it to text in a view of the source.",
            )
        return f"NUMBER({precision},{scale})"
    return _TYPES[kind]


def total(quoted: str, staged: pa.DataType) -> str:
    """The expression of a column's exact sum, as text; NULL without a value."""
    kind = staged_kind(staged)
    staged = plain_type(staged)
    if kind == "integer":
        return f"TO_VARCHAR(SUM({quoted}::NUMBER(20,0)))"
    if kind == "decimal":
        if staged.precision - min(staged.scale, 0) <= _SAFE_DIGITS:
            return f"TO_VARCHAR(SUM({quoted}::{sql_type(staged)}))"
        return _wide_total(quoted, max(staged.scale, 0))
    if in_nanoseconds(staged):
        summed = f"TO_VARCHAR(SUM({_NANOSECONDS[kind].format(column=quoted)}))"
        return f"'0/' || {summed} || '/3'"
    return f"TO_VARCHAR(SUM({_ADDENDS[kind].format(column=quoted)}))"


def _wide_total(quoted: str, scale: int) -> str:
    digits = _DIGITS.format(column=quoted, scale=scale)
    high, low = (
        _HALF.format(column=quoted, side=side, digits=digits) for side in ("LEFT", "RIGHT")
    )
    return f"{high} || '/' || {low} || '/{scale}'"


def from_staged(quoted: str, column: TargetColumn) -> str:
    """The expression that a staged column, `quoted`, goes into the target's column with."""
    return _FROM_JSON.get(column.wire_type, "{column}").format(column=quoted)


def table_from(described: Iterable[Mapping[str, Any]]) -> TargetTable:
    """The table that DESCRIBE TABLE showed."""
    return TargetTable(tuple(_column(row) for row in described), fold_snowflake)


def _column(row: Mapping[str, Any]) -> TargetColumn:
    name, text = str(row["name"]), str(row["type"])
    match = _DESCRIBED.fullmatch(text)
    wire = match.group(1) if match else text
    numbers = [int(number) for number in match.groups()[1:] if number] if match else []
    kind = _KINDS.get(wire, "other")
    times = kind in ("time", "timestamp", "timestamptz")
    return TargetColumn(
        # Where our names are folded, a column in lower case cannot be named; nothing finds it so.
        name=name if fold_snowflake(name) == name else f'"{name}"',
        sql_type=text,
        wire_type=wire,
        kind=kind,
        scale=numbers[1] if len(numbers) > 1 else 0,
        required=row["null?"] == "N" and row["default"] is None,
        fraction_digits=(numbers[0] if numbers else 9) if times else None,
    )

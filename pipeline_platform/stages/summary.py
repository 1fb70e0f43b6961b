"""Exact content checks of staged columns, computed while the rows pass (pure).

`ColumnSummary` says what the numbers mean. Sums never overflow: a batch is added up in integers
wide enough for it, batches in Python's.
"""

from decimal import Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.movement import ColumnSummary

# The widest Arrow decimal has 76 digits.
_DIGITS = Context(prec=100)
_LOW_32 = 0xFFFFFFFF
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


class SummaryOfColumns:
    """Add every batch once; `result` may be read at any time. Batches have less than 2^31 rows."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = {field.name: _Summary(field.type) for field in schema}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the rows of one batch into account."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._columns[name].add(column)

    def result(self) -> dict[str, ColumnSummary]:
        """Summary per column name, in the schema's order."""
        return {name: column.result() for name, column in self._columns.items()}


class _Summary:
    def __init__(self, kind: pa.DataType) -> None:
        self._type = kind.value_type if pa.types.is_dictionary(kind) else kind
        self._nulls = 0
        self._values = 0
        self._sum = 0
        self._minimum: float | None = None
        self._maximum: float | None = None

    def add(self, column: pa.Array) -> None:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        self._nulls += column.null_count
        if column.null_count == len(column):
            return
        self._values += len(column) - column.null_count
        if pa.types.is_floating(self._type):
            self._add_range(column)
        else:
            self._sum += unscaled_sum(column) or 0

    def _add_range(self, column: pa.Array) -> None:
        if pa.types.is_float16(column.type):
            column = column.cast(pa.float32())
        numbers = column.filter(pc.invert(pc.is_nan(column)))
        found = pc.min_max(numbers).as_py()
        if found["min"] is None:
            return
        # Adding zero turns -0.0 into 0.0, which compares as equal to it.
        low, high = found["min"] + 0.0, found["max"] + 0.0
        self._minimum = low if self._minimum is None else min(low, self._minimum)
        self._maximum = high if self._maximum is None else max(high, self._maximum)

    def result(self) -> ColumnSummary:
        if pa.types.is_floating(self._type):
            return ColumnSummary(
                self._nulls,
                minimum=None if self._minimum is None else repr(self._minimum),
                maximum=None if self._maximum is None else repr(self._maximum),
            )
        if not self._values or not _has_total(self._type):
            return ColumnSummary(self._nulls)
        return ColumnSummary(self._nulls, total=_text(self._sum, self._type))


def unscaled_sum(column: pa.Array) -> int | None:
    """Sum of a column's integers: unscaled decimals, ticks, bytes; None for types without a sum."""
    kind = column.type
    if not _has_total(kind):
        return None
    if pa.types.is_decimal(kind):
        return _decimal_sum(column)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return _integer_sum(column)
    if _is_bytes(kind):
        return _integer_sum(pc.binary_length(column))
    if pa.types.is_date64(kind):
        return _integer_sum(column.cast(pa.date32()).cast(pa.int32()))
    bits = pa.int32() if pa.types.is_date(kind) or pa.types.is_time32(kind) else pa.int64()
    ticks = _integer_sum(column.cast(bits))
    unit = getattr(kind, "unit", "us")
    return ticks if pa.types.is_date(kind) else ticks * _MICROSECONDS.get(unit, 1)


def _integer_sum(column: pa.Array) -> int:
    if column.type.bit_width < 64:
        return pc.sum(column).as_py() or 0
    low = pc.bit_wise_and(column, pa.scalar(_LOW_32, column.type))
    high = pc.shift_right(column, pa.scalar(32, column.type))
    return ((pc.sum(high).as_py() or 0) << 32) + (pc.sum(low).as_py() or 0)


def _decimal_sum(column: pa.Array) -> int:
    scale = column.type.scale
    if column.type.precision > 66:
        values = [value for value in column.to_pylist() if value is not None]
        return sum(_unscaled(value, scale) for value in values)
    total = pc.sum(column.cast(pa.decimal256(76, scale))).as_py()
    return _unscaled(total, scale)


def _unscaled(value: Decimal, scale: int) -> int:
    return int(_DIGITS.scaleb(value, scale))


def _text(total: int, kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return format(_DIGITS.scaleb(Decimal(total), -kind.scale), "f")
    if getattr(kind, "unit", "us") == "ns":
        # Microseconds, with decimals only where there are nanoseconds below them.
        whole, rest = divmod(total, 1000)
        return str(whole) if rest == 0 else format(_DIGITS.scaleb(Decimal(total), -3), "f")
    return str(total)


def _has_total(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_time(kind)
        or _is_bytes(kind)
    )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )

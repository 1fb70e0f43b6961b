"""From a driver's Arrow columns to the staged types: exactly, or not at all."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.errors import DataError
from pipeline_platform.movement import SourceBatch
from pipeline_platform.sources.columns import StagedColumn
from pipeline_platform.sources.rejection import split_required

_SAFE_DIGITS = 38
# PostgreSQL's numeric has at most 131072 digits before the point and 16383 after it.
_EXACT = Context(prec=150_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_DAY_MICROSECONDS = 86_400_000_000
_HINT = (
    "Correct the rows, read a view that casts or clears them, or leave the column out with "
    "source_system.exclude_columns."
)


@dataclass(frozen=True)
class FiniteRange:
    """Least and greatest ticks of finite values; what a driver makes of infinity lies outside."""

    lowest_timestamp: int
    highest_timestamp: int
    lowest_day: int
    highest_day: int


class Conversion:
    """Batches of a driver to batches of `schema`. DataError names a column that does not fit."""

    def __init__(self, columns: Sequence[StagedColumn], finite: FiniteRange) -> None:
        self._columns = columns
        self._finite = finite
        self.schema = pa.schema([pa.field(c.staged_name, c.type) for c in columns])

    def batches(
        self, raw: Iterable[pa.RecordBatch], required: Sequence[str], batch_rows: int
    ) -> Iterator[SourceBatch]:
        """Converted batches of at most `batch_rows` rows; rows with NULL in `required` refused.

        `required` are names at the source.
        """
        staged = {column.name: column.staged_name for column in self._columns}
        names = [staged[name] for name in required]
        for batch in raw:
            for start in range(0, batch.num_rows, batch_rows):
                yield split_required(self.convert(batch.slice(start, batch_rows)), names)

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One batch, by position: names of the driver do not matter."""
        arrays = [
            self._exact(array, column)
            for array, column in zip(batch.columns, self._columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _exact(self, array: pa.Array, column: StagedColumn) -> pa.Array:
        if array.type != column.type:
            try:
                array = _cast(array, column.type)
            except (pa.ArrowInvalid, ArithmeticError, ValueError):
                raise _misfit(column, f"values that are not exactly a {column.type}") from None
        if pa.types.is_temporal(column.type):
            self._require_finite(array, column)
        return array

    def _require_finite(self, array: pa.Array, column: StagedColumn) -> None:
        kind = column.type
        if pa.types.is_timestamp(kind):
            lowest, highest = self._finite.lowest_timestamp, self._finite.highest_timestamp
        elif pa.types.is_date32(kind):
            lowest, highest = self._finite.lowest_day, self._finite.highest_day
        elif pa.types.is_time64(kind):
            lowest, highest = 0, _DAY_MICROSECONDS * (1000 if kind.unit == "ns" else 1) - 1
        else:
            return
        ticks = array.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
        found = pc.min_max(ticks).as_py()
        if found["min"] is not None and not lowest <= found["min"] <= found["max"] <= highest:
            raise _misfit(column, f"infinity or another value that no {kind} holds")


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if not (pa.types.is_decimal(kind) and pa.types.is_string(array.type)):
        return array.cast(kind)
    if _is_safe_for_arrow(array, kind):
        return array.cast(kind)
    return pa.array(
        [None if text is None else _exact_decimal(text, kind) for text in array.to_pylist()], kind
    )


def _is_safe_for_arrow(array: pa.Array, kind: pa.Decimal128Type) -> bool:
    """Whether Arrow's cast cannot overflow, which it does without an error.

    Neither the digits of a text nor its digits before the point plus the scale may pass 38.
    """
    longest = pc.max(pc.binary_length(array)).as_py() or 0
    if longest + kind.scale <= _SAFE_DIGITS:
        return True
    point = pc.find_substring(array, ".")
    whole = pc.if_else(pc.less(point, 0), pc.binary_length(array), point)
    return bool(longest <= _SAFE_DIGITS and pc.max(whole).as_py() + kind.scale <= _SAFE_DIGITS)


def _exact_decimal(text: str, kind: pa.Decimal128Type) -> Decimal:
    """The number with the type's scale; ValueError or ArithmeticError if that is another number."""
    number = Decimal(text)
    scaled = _EXACT.quantize(number, Decimal((0, (1,), -kind.scale)))
    if scaled != number or len(scaled.as_tuple().digits) > kind.precision:
        raise ValueError("more digits than the type has")
    return scaled


def _misfit(column: StagedColumn, what: str) -> DataError:
    return DataError(f"The column {column.name!r} holds {what}; nothing is rounded.", hint=_HINT)

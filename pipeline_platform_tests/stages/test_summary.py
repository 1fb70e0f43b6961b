"""Summaries against plain Python arithmetic."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.movement import ColumnSummary
from pipeline_platform.stages.summary import SummaryOfColumns

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
WIDE = Context(prec=100)


def summary(kind: pa.DataType, *batches: list[Any]) -> ColumnSummary:
    schema = pa.schema({"v": kind})
    columns = SummaryOfColumns(schema)
    for values in batches:
        columns.add(pa.RecordBatch.from_arrays([pa.array(values, kind)], schema=schema))
    return columns.result()["v"]


def batches_of(values: "st.SearchStrategy[Any]") -> "st.SearchStrategy[list[list[Any]]]":
    return st.lists(st.lists(st.none() | values, max_size=12), max_size=4)


def expected(batches: list[list[Any]], value_of: Any) -> tuple[int, int | None]:
    values = [value for batch in batches for value in batch]
    present = [value_of(value) for value in values if value is not None]
    return len(values) - len(present), sum(present) if present else None


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()],
)
@given(data=st.data())
def test_integers(kind: pa.DataType, data: st.DataObject) -> None:
    bits = kind.bit_width
    low, high = (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if pa.types.is_signed_integer(kind)
        else (0, 2**bits - 1)
    )
    extremes = st.sampled_from([low, high]) | st.integers(low, high)
    batches = data.draw(batches_of(extremes))
    nulls, total = expected(batches, int)
    assert summary(kind, *batches) == ColumnSummary(nulls, None if total is None else str(total))


@pytest.mark.parametrize(("digits", "scale"), [(5, 2), (28, 9), (38, 0), (38, 38), (38, 9)])
@given(data=st.data())
def test_decimals(digits: int, scale: int, data: st.DataObject) -> None:
    limit = 10**digits - 1
    whole = st.sampled_from([-limit, limit]) | st.integers(-limit, limit)
    batches = [
        [None if n is None else WIDE.scaleb(Decimal(n), -scale) for n in batch]
        for batch in data.draw(batches_of(whole))
    ]
    nulls, total = expected(batches, lambda value: int(WIDE.scaleb(value, scale)))
    found = summary(pa.decimal128(digits, scale), *batches)
    assert found.nulls == nulls
    if total is None:
        assert found.total is None
    else:
        assert found.total is not None
        assert "E" not in found.total
        assert WIDE.scaleb(WIDE.create_decimal(found.total), scale) == total


def test_decimals_wider_than_arrow_can_add() -> None:
    value = Decimal("9" * 76)
    found = summary(pa.decimal256(76, 0), [value, value, None])
    assert found == ColumnSummary(1, str(2 * int("9" * 76)))


@given(batches_of(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))))
def test_timestamps(batches: list[list[Any]]) -> None:
    nulls, total = expected(batches, lambda at: (at - EPOCH) // MICROSECOND)
    wanted = ColumnSummary(nulls, None if total is None else str(total))
    assert summary(pa.timestamp("us"), *batches) == wanted
    aware = [[at and at.replace(tzinfo=timezone.utc) for at in batch] for batch in batches]
    assert summary(pa.timestamp("us", "UTC"), *aware) == wanted


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_ticks_of_any_size_and_unit(ticks: list[int]) -> None:
    total = sum(ticks)
    for unit, factor in (("s", 10**6), ("ms", 10**3), ("us", 1)):
        assert summary(pa.timestamp(unit), ticks).total == str(total * factor)
    found = summary(pa.timestamp("ns"), ticks).total
    assert found is not None
    assert Decimal(found) * 1000 == total
    assert ("." in found) == (total % 1000 != 0)


@given(batches_of(st.dates()))
def test_dates(batches: list[list[Any]]) -> None:
    nulls, total = expected(batches, lambda day: (day - date(1970, 1, 1)).days)
    wanted = ColumnSummary(nulls, None if total is None else str(total))
    assert summary(pa.date32(), *batches) == wanted
    assert summary(pa.date64(), *batches) == wanted


@given(batches_of(st.times()))
def test_times(batches: list[list[Any]]) -> None:
    def ticks(value: time) -> int:
        elapsed = datetime.combine(EPOCH.date(), value) - EPOCH
        return elapsed // MICROSECOND

    nulls, total = expected(batches, ticks)
    wanted = ColumnSummary(nulls, None if total is None else str(total))
    assert summary(pa.time64("us"), *batches) == wanted


@given(batches_of(st.text()))
def test_text_is_its_utf8_bytes(batches: list[list[Any]]) -> None:
    nulls, total = expected(batches, lambda text: len(text.encode()))
    wanted = ColumnSummary(nulls, None if total is None else str(total))
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        assert summary(kind, *batches) == wanted


@given(batches_of(st.binary()))
def test_binary_is_its_bytes(batches: list[list[Any]]) -> None:
    nulls, total = expected(batches, len)
    wanted = ColumnSummary(nulls, None if total is None else str(total))
    assert summary(pa.binary(), *batches) == wanted


@given(batches_of(st.booleans()))
def test_booleans(batches: list[list[Any]]) -> None:
    nulls, total = expected(batches, int)
    assert summary(pa.bool_(), *batches) == ColumnSummary(
        nulls, None if total is None else str(total)
    )


@given(batches_of(st.floats()))
def test_floats_have_a_range_instead_of_a_sum(batches: list[list[Any]]) -> None:
    values = [value for batch in batches for value in batch]
    numbers = [value + 0.0 for value in values if value is not None and value == value]
    assert summary(pa.float64(), *batches) == ColumnSummary(
        values.count(None),
        minimum=repr(min(numbers)) if numbers else None,
        maximum=repr(max(numbers)) if numbers else None,
    )


def test_negative_zero_is_zero() -> None:
    for values in ([-0.0], [0.0, -0.0], [-0.0, 0.0]):
        found = summary(pa.float32(), values)
        assert (found.minimum, found.maximum) == ("0.0", "0.0")


def test_nested_columns_have_nulls_only() -> None:
    kind = pa.list_(pa.int64())
    assert summary(kind, [[1], None]) == ColumnSummary(1)

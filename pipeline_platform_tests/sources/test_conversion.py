"""Text to decimal is exact or refused, and rejected rows are readable."""

import json
from datetime import datetime, timezone
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_platform.errors import DataError
from pipeline_platform.sources.columns import StagedColumn
from pipeline_platform.sources.conversion import Conversion, FiniteRange
from pipeline_platform.sources.rejection import records_as_json, split_required

EXACT = Context(prec=400, Emax=MAX_EMAX, Emin=MIN_EMIN)
ANY = FiniteRange(-(2**63), 2**63 - 1, -(2**31), 2**31 - 1)


def converted(texts: list[str | None], kind: pa.DataType) -> list[Decimal | None]:
    conversion = Conversion([StagedColumn("Price", "price", kind)], ANY)
    batch = pa.RecordBatch.from_pydict({"0": pa.array(texts, pa.string())})
    return list(conversion.convert(batch).column("price").to_pylist())


@settings(max_examples=300)
@given(
    whole=st.integers(-(10**60), 10**60) | st.integers(-(10**12), 10**12),
    places=st.integers(0, 45),
    kind=st.sampled_from(
        [pa.decimal128(38, 9), pa.decimal128(38, 0), pa.decimal128(38, 38), pa.decimal128(12, 2)]
    ),
)
def test_numbers_are_exact_or_refused(whole: int, places: int, kind: pa.Decimal128Type) -> None:
    number = EXACT.scaleb(Decimal(whole), -places)
    text = format(number, "f")
    unscaled = EXACT.scaleb(number, kind.scale)
    fits = (
        EXACT.to_integral_exact(unscaled) == unscaled and EXACT.abs(unscaled) < 10**kind.precision
    )
    if fits:
        assert converted([None, text], kind) == [None, number]
    else:
        with pytest.raises(DataError, match="'Price'"):
            converted([None, text], kind)


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1" + "0" * 200, "9" * 39, "secret"]
)
def test_what_is_no_number_of_38_digits_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="'Price'") as raised:
        converted(["1", text], pa.decimal128(38, 0))
    assert text not in str(raised.value)


def test_trailing_zeros_do_not_count_as_digits() -> None:
    text = "11102230246251565404236316680.9082031250000000"
    assert converted([text], pa.decimal128(38, 9)) == [Decimal(text)]
    assert converted(["0." + "0" * 60], pa.decimal128(38, 38)) == [0]


def test_rows_of_a_column_without_values_are_kept() -> None:
    assert converted([None, None], pa.decimal128(38, 9)) == [None, None]
    assert converted([], pa.decimal128(38, 9)) == []


def test_required_columns_split_a_batch() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, None, 3, None], "b": ["x", "y", None, None]})
    split = split_required(batch, ["b", "a"])
    assert split.rows.to_pylist() == [{"a": 1, "b": "x"}]
    assert split.rows.schema == batch.schema
    assert [(r.reason, json.loads(r.record)) for r in split.rejected] == [
        ("a is NULL", {"a": None, "b": "y"}),
        ("b is NULL", {"a": 3, "b": None}),
        ("b is NULL", {"a": None, "b": None}),
    ]
    assert split_required(batch, []).rows is batch


def test_rejected_rows_of_every_type_are_json() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "far": pa.array([2**62], pa.int64()).cast(pa.timestamp("us")),
            "at": pa.array([datetime(2025, 1, 1, tzinfo=timezone.utc)], pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.10")]),
            "raw": pa.array([b"\x00\xff"]),
            "bad": pa.array([float("inf")]),
            "day": pa.array([10**6], pa.int32()).cast(pa.date32()),
            "big": pa.array([2**63 - 1]),
            "none": pa.array([None], pa.time64("us")),
        }
    )
    (text,) = records_as_json(batch)
    record = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert record["at"] == "2025-01-01 00:00:00.000000000Z"
    assert (record["price"], record["raw"], record["bad"]) == ("1.10", "AP8=", "inf")
    assert (record["big"], record["none"]) == (2**63 - 1, None)
    assert "\n" not in text

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from pipeline_platform.sources.elasticsearch.response import Hit
from pipeline_platform_tests.sources.elasticsearch.generated_documents import (
    AT,
    decoder,
    hits,
    told,
)

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = datetime(2025, 11, 15, 10, tzinfo=UTC)
MILLIS = 1763200800000

SEVERAL = "holds several values; source_system.json_fields would keep them"
NO_NUMBER, NOT_WHOLE, TOO_BIG = "not a number", "not a whole number", "a number beyond 64 bits"
NO_DATE = "not a date in a format of the mapping"
NO_UNICODE = "text that is not valid Unicode"
LOST_DIGITS = "an integer that 64-bit floating point does not hold exactly"
TOO_FAR = "a date outside the years 1 to 9999"


class Refused(str):
    """A reason."""


def refused(reason: str) -> Refused:
    return Refused(f"v: {reason}")


VALUES: list[tuple[str, str, Any]] = [
    ("keyword", '"a"', "a"),
    ("keyword", '""', ""),
    ("keyword", '"null"', "null"),
    ("keyword", '"NULL "', "NULL "),
    ("keyword", '"2025-11-15T10:00:00Z"', "2025-11-15T10:00:00Z"),
    ("keyword", '"x\\u0000y"', "x\0y"),
    ("keyword", '"\\ud83d\\ude00 \\u00e9 \\/ \\" \\\\ \\n"', '😀 é / " \\ \n'),
    ("keyword", '"日本 🎈"', "日本 🎈"),
    ("keyword", '"\\ud800"', refused(NO_UNICODE)),
    ("keyword", '"x\\udc00y"', refused(NO_UNICODE)),
    ("keyword", "1", "1"),
    ("keyword", "1.0", "1.0"),
    ("keyword", "-0", "-0"),
    ("keyword", "1e3", "1e3"),
    ("keyword", "123456789012345678901234567890.10", "123456789012345678901234567890.10"),
    ("keyword", "true", "true"),
    ("keyword", "null", None),
    ("keyword", "[]", None),
    ("keyword", "[null, [ ]]", None),
    ("keyword", '["a"]', "a"),
    ("keyword", '[ "a" ]', "a"),
    ("keyword", '["a", "b"]', refused(SEVERAL)),
    ("keyword", '["a", null]', refused(SEVERAL)),
    ("keyword", '[["a"]]', refused(SEVERAL)),
    ("keyword", '["\\ud800"]', refused(NO_UNICODE)),
    ("keyword", '{"a": 1}', refused("holds an object")),
    ("text", "12", "12"),
    ("ip", '"::1"', "::1"),
    ("binary", '"AAE="', "AAE="),
    ("long", "12", 12),
    ("long", "-0", 0),
    ("long", "9223372036854775807", 2**63 - 1),
    ("long", "-9223372036854775808", -(2**63)),
    ("long", "9223372036854775808", refused(TOO_BIG)),
    ("long", "1" + "0" * 400, refused(TOO_BIG)),
    ("long", "1e999999999", refused(TOO_BIG)),
    ("long", "1e-999999999", refused(NOT_WHOLE)),
    ("long", "1.0", 1),
    ("long", "9223372036854775807.0", 2**63 - 1),
    ("long", "12e2", 1200),
    ("long", "0e5", 0),
    ("long", "1.5", refused(NOT_WHOLE)),
    ("long", '"12"', 12),
    ("long", '"007"', 7),
    ("long", '"1.0"', 1),
    ("long", '"1.5"', refused(NOT_WHOLE)),
    ("long", '""', refused(NO_NUMBER)),
    ("long", '" 12"', refused(NO_NUMBER)),
    ("long", '"abc"', refused(NO_NUMBER)),
    ("long", '"٣"', refused(NO_NUMBER)),
    ("long", "true", refused(NO_NUMBER)),
    ("long", "[12]", 12),
    ("long", "[1, 2]", refused(SEVERAL)),
    ("byte", "12", 12),
    ("unsigned_long", "18446744073709551615", Decimal(2**64 - 1)),
    ("unsigned_long", "18446744073709551616", refused(TOO_BIG)),
    ("unsigned_long", "5.0", Decimal(5)),
    ("unsigned_long", '"5"', Decimal(5)),
    ("double", "1.5", 1.5),
    ("double", "-0.0", -0.0),
    ("double", "1", 1.0),
    ("double", "0.1", 0.1),
    ("double", "0.1000000000000000055511151231257827", 0.1),
    ("double", "9007199254740992", 2.0**53),
    ("double", "9007199254740993", refused(LOST_DIGITS)),
    ("double", "-9007199254740993", refused(LOST_DIGITS)),
    ("double", "9007199254740993.5", 9007199254740994.0),
    ("double", "1e300", 1e300),
    ("double", "1e400", refused("a number too big for 64-bit floating point")),
    ("double", "9" * 400, refused("a number too big for 64-bit floating point")),
    ("double", "1e-400", 0.0),
    ("double", '"1.5"', 1.5),
    ("double", '"NaN"', refused(NO_NUMBER)),
    ("double", '"1_0"', refused(NO_NUMBER)),
    ("double", "false", refused(NO_NUMBER)),
    ("scaled_float", "1.23", 1.23),
    ("half_float", "0.1", 0.1),
    ("boolean", "true", True),
    ("boolean", '"true"', True),
    ("boolean", '"false"', False),
    ("boolean", '""', False),
    ("boolean", '"True"', refused("neither true nor false")),
    ("boolean", "1", refused("neither true nor false")),
    ("date", '"2025-11-15T10:00:00Z"', MOMENT),
    ("date", '"2025-11-15T10:00:00"', MOMENT),
    ("date", '"2025-11-15T12:00:00.000+02:00"', MOMENT),
    ("date", '"2025-11-15T12:00:00,5+0200"', MOMENT + timedelta(milliseconds=500)),
    ("date", '"2025-11-15T10"', MOMENT),
    ("date", '"2025-11-15"', MOMENT.replace(hour=0)),
    ("date", '"2025-11"', MOMENT.replace(day=1, hour=0)),
    ("date", '"2025"', datetime(2025, 1, 1, tzinfo=UTC)),
    ("date", "2025", datetime(2025, 1, 1, tzinfo=UTC)),
    ("date", '"2025-11-15T10:00:00.000001Z"', MOMENT + timedelta(microseconds=1)),
    ("date", '"2025-11-15T10:00:00.000001000Z"', MOMENT + timedelta(microseconds=1)),
    ("date", '"2025-11-15T10:00:00.0000010Z"', MOMENT + timedelta(microseconds=1)),
    (
        "date",
        '"2025-11-15T10:00:00.000000001Z"',
        refused("digits below the microsecond; source_system.nanosecond_fields would keep them"),
    ),
    ("date", str(MILLIS), MOMENT),
    ("date", f'"{MILLIS}"', MOMENT),
    ("date", f"{MILLIS}.5", MOMENT + timedelta(microseconds=500)),
    ("date", "-1", EPOCH - timedelta(milliseconds=1)),
    ("date", "0", EPOCH),
    ("date", "-2025", refused(TOO_FAR)),
    ("date", "253402300799999", datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ("date", "253402300800000", refused(TOO_FAR)),
    ("date", "9223372036854775807", refused(TOO_FAR)),
    ("date", '"9999-12-31T23:59:59.999Z"', datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ("date", '"9999-12-31T23:59:59.999-01:00"', refused(TOO_FAR)),
    ("date", '"0001-01-01T00:00:00Z"', datetime(1, 1, 1, tzinfo=UTC)),
    ("date", '"0001-01-01T00:00:00+01:00"', refused(TOO_FAR)),
    ("date", '"0000-01-01T00:00:00Z"', refused(NO_DATE)),
    ("date", '"2025-02-30"', refused(NO_DATE)),
    ("date", '"2025-11-15T24:00:00Z"', refused(NO_DATE)),
    ("date", '"2025-11-15T10:00:60Z"', refused(NO_DATE)),
    ("date", '"tomorrow"', refused(NO_DATE)),
    ("date", '""', refused(NO_DATE)),
    ("date", "true", refused(NO_DATE)),
    ("date", '["2025-11-15T10:00:00Z"]', MOMENT),
    ("date", '["2025-11-15", "2025-11-16"]', refused(SEVERAL)),
    (
        "object",
        '{"b" : 1.10, "a": [1e2, "\\u00e9", null]}',
        '{"b" : 1.10, "a": [1e2, "\\u00e9", null]}',
    ),
    ("object", '{"s": "\\ud800"}', '{"s": "\\ud800"}'),
    ("object", "{}", "{}"),
    ("object", "null", None),
    ("nested", '[{"a":1}, {"a":2}]', '[{"a":1}, {"a":2}]'),
    ("geo_point", "[1.50, 2]", "[1.50, 2]"),
    ("flattened", "[]", "[]"),
    ("long_range", '{"gte":12345678901234567890}', '{"gte":12345678901234567890}'),
]


@pytest.mark.parametrize("way", ["decode", "decode_closely"])
@pytest.mark.parametrize(("kind", "raw", "expected"), VALUES)
def test_value(kind: str, raw: str, expected: Any, way: str) -> None:
    """One odd value among ordinary documents, in both readings."""
    page = decoder({"v": {"type": kind}, "n": {"type": "long"}})
    odd = f'{{"at": "{AT}", "n": 1, "v": {raw}}}'
    batch = getattr(page, way)(hits([{"at": AT, "n": 0}, odd, {"at": AT, "n": 2}]))
    rows, reasons = told(batch)
    if isinstance(expected, Refused):
        assert [row["n"] for row in rows] == [0, 2]
        assert reasons == [("1", expected)]
    else:
        assert reasons == []
        assert [row["v"] for row in rows] == [None, expected, None]
        assert repr(rows[1]["v"]) == repr(expected) or isinstance(expected, datetime)


def test_pages_of_one_kind_of_odd_values() -> None:
    """Columns that are never as the mapping says: the ways that are learned give the same rows."""
    page = decoder({"n": {"type": "long"}, "d": {"type": "date"}, "k": {"type": "keyword"}})
    for first in range(4):
        batch = page.decode(
            hits({"at": AT, "n": str(n), "d": MILLIS + n, "k": n} for n in range(first, first + 9))
        )
        rows, reasons = told(batch)
        assert reasons == []
        assert [row["n"] for row in rows] == list(range(first, first + 9))
        assert rows[0]["d"] == MOMENT + timedelta(milliseconds=first)
        assert rows[0]["k"] == str(first)
    again, _ = told(page.decode(hits([{"at": AT, "n": 1, "d": AT, "k": "x"}])))
    assert again == [{"at": MOMENT, "n": 1, "d": MOMENT, "k": "x"}]


def test_order_is_kept_and_all_documents_are_told() -> None:
    page = decoder({"n": {"type": "long"}}, id_column="_id")
    odd = {3: [1, 2], 50: "x", 51: [7], 99: 1.5}
    batch = page.decode(hits({"at": AT, "n": odd.get(n, n)} for n in range(100)))
    rows, reasons = told(batch)
    assert [row["_id"] for row in rows] == [str(n) for n in range(100) if n not in (3, 50, 99)]
    assert rows[50 - 1]["n"] == 7
    assert [name for name, _ in reasons] == ["3", "50", "99"]


def test_nothing() -> None:
    page = decoder({"n": {"type": "long"}})
    batch = page.decode([])
    assert batch.rows.schema == page.schema
    assert (batch.rows.num_rows, batch.rejected) == (0, ())


def test_record_of_a_refused_document_has_its_source() -> None:
    page = decoder({"n": {"type": "long"}})
    batch = page.decode([Hit(id='"1"', index="a\n", source=msgspec.Raw(b'{"n": 1.50}'))])
    assert [record.record for record in batch.rejected] == [
        '{"_id": "\\"1\\"", "_index": "a\\n", "_source": {"n": 1.50}}'
    ]


@pytest.mark.parametrize(
    "source", [b"", b"null", b"[1]", b"1", b'{"at": 1', b'{"k": 1 /* x */}', b'{"k": "\xff"}']
)
def test_what_is_no_document_is_refused(source: bytes) -> None:
    page = decoder({"k": {"type": "keyword"}})
    good = json.dumps({"at": AT, "k": "x"}).encode()
    sources = [good, source, good]
    batch = page.decode([Hit(id=str(n), source=msgspec.Raw(s)) for n, s in enumerate(sources)])
    rows, reasons = told(batch)
    assert len(rows) == 2
    assert [name for name, _ in reasons] == ["1"]
    assert json.loads(batch.rejected[0].record)["_id"] == "1"


def test_documents_may_have_lines() -> None:
    page = decoder({"k": {"type": "keyword"}, "o": {"type": "object"}})
    pretty = json.dumps({"at": AT, "k": "x", "o": {"a": [1, 2]}}, indent=2)
    rows, _ = told(page.decode(hits([pretty, pretty])))
    assert [row["k"] for row in rows] == ["x", "x"]
    assert json.loads(rows[0]["o"]) == {"a": [1, 2]}


@pytest.mark.parametrize("objects", ["json", "flatten"])
def test_a_key_that_is_there_twice(objects: str) -> None:
    page = decoder({"k": {"type": "keyword"}}, objects=objects)
    twice = f'{{"at": "{AT}", "k": "x", "k": "y"}}'
    for way in (page.decode, page.decode_closely):
        _, reasons = told(way(hits([twice] * 9)))
        assert {reason for _, reason in reasons} == {"a field is there twice"}
        assert len(reasons) == 9


def test_required_and_query_field() -> None:
    page = decoder({"Order Id": {"type": "long"}}, required_fields=["Order Id"])
    sources: list[dict[str, Any]] = [
        {"at": AT, "Order Id": 1},
        {"at": AT},
        {"Order Id": 3},
        {"at": [], "Order Id": 4},
    ]
    rows, reasons = told(page.decode(hits(sources)))
    assert rows == [{"at": MOMENT, "order_id": 1}]
    assert reasons == [("1", "order_id is NULL"), ("2", "at is NULL"), ("3", "at is NULL")]


@pytest.mark.parametrize("at", [f'["{AT}", "{AT}"]', f'["{AT}", null]'])
def test_query_field_of_several_values_is_refused(at: str) -> None:
    page = decoder({})
    _, reasons = told(page.decode(hits([f'{{"at": {at}}}'])))
    assert reasons == [("0", f"at: {SEVERAL}")]


def test_names_and_selection() -> None:
    kinds = {name: {"type": "keyword"} for name in ("Name", "größe.x", '"; DROP TABLE x; --', "z")}
    page = decoder(kinds, exclude_columns=["z"], id_column="Id")
    names = {"id": "Id", "at": "at", "name": "Name", "gr_e_x": "größe.x"}
    names["drop_table_x"] = '"; DROP TABLE x; --'
    assert page.original_names == names
    assert page.schema.names == list(names)
    source = {"at": AT, "Name": "a", "größe.x": "b", '"; DROP TABLE x; --': "c", "z": 4}
    expected = {"id": "0", "at": MOMENT, "name": "a", "gr_e_x": "b", "drop_table_x": "c"}
    for way in (page.decode, page.decode_closely):
        assert told(way(hits([source]))) == ([expected], [])
    few = decoder(kinds, include_columns=["at", "Name"], id_column="Id")
    assert told(few.decode(hits([source, source])))[0][1] == {
        "id": "1", "at": MOMENT, "name": "a",
    }  # fmt: skip


def test_schema() -> None:
    page = decoder(
        {"d": {"type": "date"}, "n": {"type": "date_nanos"}, "u": {"type": "unsigned_long"}},
        nanosecond_fields=["d"],
    )
    nanoseconds = pa.timestamp("ns", "UTC")
    assert page.schema == pa.schema(
        {"at": pa.timestamp("us", "UTC"), "d": nanoseconds, "n": nanoseconds,
         "u": pa.decimal128(20, 0)}
    )  # fmt: skip


@pytest.mark.parametrize("way", ["decode", "decode_closely"])
def test_nanoseconds(way: str) -> None:
    page = decoder({"n": {"type": "date_nanos"}})
    texts = {
        "2025-11-15T10:00:00.123456789Z": MILLIS * 10**6 + 123456789,
        "2262-04-11T23:47:16.854775807Z": 2**63 - 1,
        "2262-04-11T23:47:16.854775808Z": None,
        "1677-09-21T00:12:43Z": None,
        "2300-01-01": None,
    }
    batch = getattr(page, way)(hits({"at": AT, "n": text} for text in texts))
    ticks = batch.rows.column("n").cast(pa.int64()).to_pylist()
    assert ticks == [value for value in texts.values() if value is not None]
    assert {reason for _, reason in told(batch)[1]} == {"n: a date outside the years 1678 to 2262"}


def test_several_threads_use_one_decoder() -> None:
    """What one page teaches while another is read changes no row."""
    page = decoder({"n": {"type": "long"}, "k": {"type": "keyword"}, "o": {"type": "object"}})
    shapes: list[dict[str, Any]] = [
        {"n": 1, "k": "a"}, {"n": "1", "k": "a"}, {"n": 1, "k": 1}, {"n": 1.5},
        {"new": None, "n": 2}, {"o.x": 1, "n": 3}, {"n": [4]}, {"other": 1},
    ]  # fmt: skip
    pages = [hits({"at": AT, **shapes[(n * k) % 8]} for n in range(40)) for k in range(24)]
    expected = [told(page.decode_closely(some)) for some in pages]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda some: told(page.decode(some)), pages * 4)) == expected * 4

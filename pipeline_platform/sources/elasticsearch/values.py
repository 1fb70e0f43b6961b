"""One value of a document, as its JSON text, to the value of its column: exactly, or not at all."""

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa

from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn, Rule

NULL = b"null"
SEVERAL = "holds several values; source_system.json_fields would keep them"

_LISTED = msgspec.json.Decoder(list[msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_BOOLEANS = {"true": True, "false": False, "": False}
_INT64 = (-(2**63), 2**63 - 1)
_UNSIGNED = (-(2**63), 2**64 - 1)
# Every integer up to this one is a float64; of those beyond only some are.
EXACT_FLOAT = 2**53
_MAX_DIGITS = 30

# Microseconds from 0001-01-01 to the end of 9999-12-31: what every target takes.
FIRST_MICROSECOND, LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999

ReadValue = Callable[[bytes], Any]


class Unfit(Exception):
    """A value that its column cannot hold exactly; the text says why, never the value."""


def read_value(column: DocumentColumn) -> ReadValue:
    """A function from JSON text, without spaces around it, to what `to_array` takes.

    `null` and lists of nothing else are None, a list of one value is that value, as they are to
    Elasticsearch. Raises Unfit; its text begins with the column's name.
    """
    if column.rule == "json":
        return partial(_json, column.name)
    converts: dict[Rule, Callable[[str], Any]] = {
        "text": str,
        "integer": partial(_integer, *_INT64),
        "unsigned": partial(_integer, *_UNSIGNED),
        "float": _float,
        "boolean": _boolean,
        "date": partial(_date, column),
    }
    return partial(_scalar, column.name, converts[column.rule])


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values of `read_value` as a column; dates come as ticks of the type's unit."""
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    if pa.types.is_decimal(kind):
        values = [None if value is None else Decimal(value) for value in values]
    return pa.array(values, kind)


def is_empty(raw: bytes) -> bool:
    """Whether the JSON text holds no value at all: null, or a list of nothing else."""
    return raw == NULL or (raw[:1] == b"[" and not raw.strip(b"[] \t\r\n,nul"))


def _scalar(name: str, convert: Callable[[str], Any], raw: bytes) -> Any:
    try:
        if raw[:1] == b"[" and not is_empty(raw):
            raw = _only(raw)
        if is_empty(raw):
            return None
        if raw[:1] == b"{":
            raise Unfit("holds an object")
        if raw[:1] == b'"':
            return convert(_STRING.decode(raw))
        return convert(raw.decode())
    except Unfit as problem:
        raise Unfit(f"{name}: {problem}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unfit(f"{name}: text that is not valid Unicode") from None


def _only(raw: bytes) -> bytes:
    items = _LISTED.decode(raw)
    if len(items) > 1 or bytes(items[0])[:1] == b"[":
        raise Unfit(SEVERAL)
    return bytes(items[0])


def _json(name: str, raw: bytes) -> str | None:
    if raw == NULL:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Unfit(f"{name}: text that is not valid Unicode") from None


def _integer(lowest: int, highest: int, text: str) -> int:
    is_plain = _INTEGER.fullmatch(text) and len(text) <= _MAX_DIGITS
    number = int(text) if is_plain else _whole(text)
    if not lowest <= number <= highest:
        raise Unfit("a number beyond 64 bits")
    return number


def _whole(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Unfit("not a number")
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise Unfit("a number beyond 64 bits") from None
    if number == 0:
        return 0
    if number.adjusted() > _MAX_DIGITS:
        raise Unfit("a number beyond 64 bits")
    if number.adjusted() < 0 or number != number.to_integral_value():
        raise Unfit("not a whole number")
    return int(number)


def _float(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise Unfit("not a number")
    number = float(text)
    if math.isinf(number):
        raise Unfit("a number too big for 64-bit floating point")
    if abs(number) >= EXACT_FLOAT and _INTEGER.fullmatch(text) and Decimal(text) != number:
        raise Unfit("an integer that 64-bit floating point does not hold exactly")
    return number


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise Unfit("neither true nor false")
    return _BOOLEANS[text]


def _date(column: DocumentColumn, text: str) -> int:
    assert column.formats is not None
    nanoseconds = column.formats.nanoseconds(text)
    if nanoseconds is None:
        raise Unfit("not a date in a format of the mapping")
    if column.type.unit == "ns":
        if not _INT64[0] < nanoseconds <= _INT64[1]:
            raise Unfit("a date outside the years 1678 to 2262")
        return nanoseconds
    microseconds, rest = divmod(nanoseconds, 1000)
    if rest:
        raise Unfit("digits below the microsecond; source_system.nanosecond_fields would keep them")
    if not FIRST_MICROSECOND <= microseconds <= LAST_MICROSECOND:
        raise Unfit("a date outside the years 1 to 9999")
    return microseconds

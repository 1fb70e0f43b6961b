"""What an independent reader finds in a document: the json module and rules of its own.

Nothing of the platform is used here. Values are str, int, float and bool; dates are nanoseconds
since 1970 UTC; what is staged as JSON text is compared by `exact_json`.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

from pipeline_platform_tests.sources.elasticsearch.hostile_documents import CUSTOMER, PROPERTIES

UNMAPPED = "unmapped_fields"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_ISO = re.compile(r"(\d{4}-\d\d(?:-\d\d(?:T\d\d:\d\d:\d\d)?)?)([.,]\d+)?(Z|[+-]\d\d:\d\d)?")
_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")
_JSON_KINDS = ("geo_point", "nested", "flattened", "object")


class Number(str):
    """A number as it is written."""


class Misfit(Exception):
    """The document has no row."""


def exact_json(text: str) -> Any:
    """JSON in which numbers differ when they are written differently."""
    return json.loads(text, parse_int=Number, parse_float=Number)


def kinds(objects: str, json_fields: Collection[str] = ("tags",)) -> dict[str, str]:
    """Type of each column in the mapping, by the name of the field; what is JSON text: `json`."""
    found: dict[str, str] = {}
    for name, spec in PROPERTIES.items():
        if name == "customer" and objects == "flatten":
            inside = {"name": "keyword", "id": "long", "joined": "date", "deep.score": "double"}
            found |= {f"customer.{key}": kind for key, kind in inside.items()}
        else:
            form = {"epoch_second": "seconds", "dd/MM/yyyy HH:mm:ss": "local"}
            kind = form.get(spec.get("format", ""), spec["type"])
            is_json = spec["type"] in _JSON_KINDS or name in json_fields
            found[name] = "json" if is_json else kind
    return found


def expected_row(
    source: bytes, objects: str, json_fields: Collection[str] = ("tags",)
) -> dict[str, Any] | None:
    """The row by names of fields; None if the document must be among the rejected."""
    document = exact_json(source.decode())
    row: dict[str, Any] = {}
    try:
        for name, kind in kinds(objects, json_fields).items():
            if kind == "json":
                row[name] = _whole(document, name)
            else:
                row[name] = READERS[kind](_one(list(_at(document, name))))
        row[UNMAPPED] = _unmapped(document, objects) or None
    except Misfit:
        return None
    return row if row["at"] is not None else None


def _at(value: Any, name: str) -> Iterator[Any]:
    """Every value under a name, whose dots may be in keys or between them."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if _is_empty(value):
        return
    if not isinstance(value, dict):
        raise Misfit
    if name in value:
        yield value[name]
    for dot in (place for place, sign in enumerate(name) if sign == "."):
        if name[:dot] in value:
            yield from _at(value[name[:dot]], name[dot + 1 :])


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_empty, value)))


def _one(found: list[Any]) -> Any:
    if len(found) > 1:
        raise Misfit
    value = found[0] if found else None
    if _is_empty(value):
        return None
    if isinstance(value, list):
        if len(value) > 1:
            raise Misfit
        (value,) = value
    if isinstance(value, list | dict):
        raise Misfit
    if isinstance(value, str) and _HALF_OF_A_PAIR.search(value):
        raise Misfit
    return value


def _whole(document: dict[str, Any], name: str) -> Any:
    parts = {k.removeprefix(f"{name}."): v for k, v in document.items() if k.startswith(f"{name}.")}
    if all(map(_is_empty, parts.values())):
        return document.get(name)
    if name in document:
        raise Misfit
    return parts


def _unmapped(document: dict[str, Any], objects: str) -> dict[str, Any]:
    found = {
        key: value
        for key, value in document.items()
        if key not in PROPERTIES and not key.startswith("customer.") and not _is_empty(value)
    }
    customer = document.get("customer")
    if isinstance(customer, list) and customer:
        customer = customer[0]
    if objects == "flatten" and isinstance(customer, dict):
        known = {*CUSTOMER, "deep.score"}
        found |= {
            f"customer.{key}": value
            for key, value in customer.items()
            if key not in known and not _is_empty(value)
        }
    return dict(sorted(found.items()))


def _text(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _rational(value: Any) -> Fraction:
    if isinstance(value, bool) or not _NUMBER.fullmatch(value):
        raise Misfit
    return Fraction(value)


def _whole_number(number: Fraction) -> int:
    if number.denominator != 1:
        raise Misfit
    return int(number)


def _integer(value: Any) -> int:
    number = _whole_number(_rational(value))
    if not -(2**63) <= number < 2**63:
        raise Misfit
    return number


def _float(value: Any) -> float:
    number = _rational(value)
    try:
        nearest = float(number)
    except OverflowError:
        raise Misfit from None
    written_whole = re.fullmatch(r"[+-]?\d+", value)
    if written_whole and Fraction(nearest) != number:
        raise Misfit
    return -0.0 if nearest == 0 and value.startswith("-") else nearest


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Number) or value not in ("true", "false", ""):
        raise Misfit
    return bool(value == "true")


def _date(value: Any) -> int:
    """A year, a month, a day, or more, as ISO 8601 has it; else milliseconds."""
    if isinstance(value, bool):
        raise Misfit
    if re.fullmatch(r"-?\d{4}", value):
        return _instant(value, "%Y")
    if _NUMBER.fullmatch(value):
        return _whole_number(Fraction(value) * 10**6)
    match = _ISO.fullmatch(value)
    if match is None:
        raise Misfit
    text, fraction, zone = match.groups()
    form = {7: "%Y-%m", 10: "%Y-%m-%d", 19: "%Y-%m-%dT%H:%M:%S"}[len(text)]
    offset = 0
    if zone and zone != "Z":
        offset = int(zone[1:3]) * 60 + int(zone[4:])
        offset *= -1 if zone[0] == "-" else 1
    below_second = int((fraction or ".0")[1:].ljust(9, "0"))
    return _instant(text, form) - offset * 60 * 10**9 + below_second


def _instant(text: str, form: str) -> int:
    try:
        at = datetime.strptime(text, form).replace(tzinfo=timezone.utc)
    except ValueError:
        raise Misfit from None
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _to_microsecond(value: Any, read: Callable[[Any], int] = _date) -> int:
    nanoseconds = read(value)
    first, last = -62_135_596_800 * 10**9, 253_402_300_800 * 10**9
    if nanoseconds % 1000 or not first <= nanoseconds < last:
        raise Misfit
    return nanoseconds


def _to_nanosecond(value: Any) -> int:
    nanoseconds = _date(value)
    if not -(2**63) < nanoseconds < 2**63:
        raise Misfit
    return nanoseconds


def _seconds(value: Any) -> int:
    return _whole_number(_rational(value) * 10**9)


def _local(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", value):
        raise Misfit
    return _instant(value, "%d/%m/%Y %H:%M:%S")


def _unless_null(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


READERS: dict[str, Callable[[Any], Any]] = {
    kind: _unless_null(read)
    for kind, read in {
        **dict.fromkeys(("keyword", "text", "ip", "binary"), _text),
        **dict.fromkeys(("long", "byte"), _integer),
        **dict.fromkeys(("double", "half_float"), _float),
        "boolean": _boolean,
        "date": _to_microsecond,
        "date_nanos": _to_nanosecond,
        "seconds": lambda value: _to_microsecond(value, _seconds),
        "local": lambda value: _to_microsecond(value, _local),
    }.items()
}

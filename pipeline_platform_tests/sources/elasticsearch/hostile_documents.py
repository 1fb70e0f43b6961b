"""Documents that Elasticsearch takes and that are hard to read right, the same ones every time."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from pipeline_platform_tests.sources.contract import START

DROP = '"; DROP TABLE x; --'
CUSTOMER: dict[str, dict[str, Any]] = {
    "name": {"type": "keyword"},
    "id": {"type": "long"},
    "joined": {"type": "date"},
    "deep": {"properties": {"score": {"type": "double"}}},
}
PROPERTIES: dict[str, dict[str, Any]] = {
    "at": {"type": "date"},
    "number": {"type": "long"},
    "name": {"type": "keyword", "ignore_above": 256},
    "body": {"type": "text", "fields": {"raw": {"type": "keyword", "ignore_above": 64}}},
    "total": {"type": "long"},
    "small": {"type": "byte"},
    "price": {"type": "double"},
    "ratio": {"type": "half_float"},
    "flag": {"type": "boolean"},
    "when": {"type": "date"},
    "exact": {"type": "date_nanos"},
    "stamp": {"type": "date", "format": "epoch_second"},
    "local": {"type": "date", "format": "dd/MM/yyyy HH:mm:ss"},
    "address": {"type": "ip"},
    "data": {"type": "binary"},
    "place": {"type": "geo_point"},
    "items": {"type": "nested", "dynamic": False},
    "tags": {"type": "keyword"},
    "attributes": {"type": "flattened"},
    "customer": {"type": "object", "dynamic": False, "properties": CUSTOMER},
    "anything": {"type": "object", "enabled": False},
    DROP: {"type": "keyword"},
    "größe 日本": {"type": "keyword"},
    "it's": {"type": "keyword"},
    "back\\slash": {"type": "long"},
    "Two Words": {"type": "double"},
}
# Takes fields that it does not have.
MAPPING: dict[str, Any] = {"dynamic": False, "properties": PROPERTIES}
# Refuses documents with such fields; and no name in it needs an escape in JSON, which is where
# documents are read closely from the start.
STRICT_MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {name: spec for name, spec in PROPERTIES.items() if name.isprintable()
                   and not set(name) & {'"', "\\"}},
}  # fmt: skip
SETTINGS = {"index.mapping.ignore_malformed": True}
# What the source's config says beside the connection, the index and `objects`.
CONFIG: dict[str, Any] = {"query_field": "at", "id_column": "_id", "json_fields": ["tags"]}

_HOSTILE_SHARE = 0.03
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_STRINGS = [
    "", " ", "null", "NULL", "NaN", "true", "[]", "{}", "-", "\\N", "'", '"', "\\", "a\\'b", "''",
    "'; DROP TABLE x; --", "$$", "${HOME}", "%s", "{}", "x\0y", "\0", "tab\tline\nreturn\r", "\x7f",
    "日本語", "größe", "🎈👩‍👩‍👧", "e\u0301", "\u202eabc", "\u2028\u2029", "\ufeff", "\uffff",
    "\U0010ffff", "مرحبا", "a" * 5000, "ß" * 3000, "007", "1e5", "2025-01-01",
    "2025-01-01T00:00:00Z",
]  # fmt: skip
_HALVES = ['"\\ud800"', '"a\\udfffb"', '"\\ud83d"']
_NUMBERS = [
    "0", "-0", "1", "-1", "1.0", "1.50", "1e3", "1E+2", "-2.5e-3", "0.1", "1e-400", "1e400", "127",
    "128", "2147483648", "9007199254740992", "9007199254740993", "-9007199254740993",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551616",
    "123456789012345678901234567890", "0.30000000000000004", "3.141592653589793238462643383279",
    "9" * 60, "4.9e-324", "1.7976931348623157e308",
]  # fmt: skip
_TEXT_NUMBERS = ["12", "-7", "1.0", "1.5", "007", "", " 1", "abc", "1e2", "9223372036854775808"]
_DATES = [
    "2025-11-15T10:00:00Z", "2025-11-15", "2025-11", "2025", "0001-01-01",
    "9999-12-31T23:59:59.999Z",
    "1969-12-31T23:59:59.999999Z", "2025-11-15T10:00:00.123456789Z", "2024-02-29T00:00:00+14:00",
    "2025-11-15T10:00:00.1234567Z", "2025-02-30", "1600-01-01T00:00:00Z", "tomorrow", "",
    "2025-11-15T10:00:00,5Z", "2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:17Z",
]  # fmt: skip


@dataclass(frozen=True)
class HostileDocument:
    """`source` is the document as it was sent, one line."""

    id: str
    source: bytes


def hostile_documents(
    count: int, seed: int = 5, *, mapping: dict[str, Any] = MAPPING
) -> Iterator[HostileDocument]:
    """Documents for one of the two mappings, with `at` inside the contract's window."""
    chance = random.Random(seed)
    for number in range(count):
        members = {"at": _at(chance), "number": str(number)}
        for name, spec in mapping["properties"].items():
            if name not in members and chance.random() < 0.8:
                members[name] = _value(chance, spec)
        if chance.random() < 0.1:
            _unusual_shape(chance, members, 5 if mapping is MAPPING else 3)
        if chance.random() < 0.02:
            members["at"] = f"[{members['at']}, {members['at']}]"
        space = chance.choice(["", "", " "])
        texts = [f"{_string(chance, name)}:{space}{text}" for name, text in members.items()]
        chance.shuffle(texts)
        yield HostileDocument(f"{number}", ("{" + f",{space}".join(texts) + "}").encode())


def _at(chance: random.Random) -> str:
    at = START + timedelta(microseconds=chance.randrange(3_600_000_000))
    text = at.replace(tzinfo=None).isoformat(timespec="microseconds")
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    ways = [f'"{text[:-3]}Z"'] * 12 + [
        f'"{text}Z"', f'"{text}"', f"{milliseconds}", f'"{milliseconds}"', f'["{text}Z"]',
        f'"{(at + timedelta(hours=2)).isoformat(timespec="microseconds")[:-6]}+02:00"',
    ]  # fmt: skip
    return f'"{text}789Z"' if chance.random() < 0.01 else chance.choice(ways)


def _value(chance: random.Random, spec: dict[str, Any]) -> str:
    kind = spec["type"]
    make: dict[str, Callable[[], str]] = {
        "long": lambda: str(chance.randrange(-(10**12), 10**12)),
        "byte": lambda: str(chance.randrange(-128, 128)),
        "double": lambda: repr(chance.uniform(-1e6, 1e6)),
        "half_float": lambda: repr(chance.randrange(100) / 4),
        "boolean": lambda: chance.choice(["true", "false"]),
        "date": lambda: _date(chance, spec.get("format")),
        "date_nanos": lambda: f'"2025-11-15T10:00:00.{chance.randrange(10**9):09}Z"',
        "ip": lambda: chance.choice(['"192.168.0.1"', '"::1"', '"2001:db8::ff"']),
        "binary": lambda: json.dumps(base64.b64encode(chance.randbytes(9)).decode()),
        "geo_point": lambda: chance.choice(['{"lat": 1.50, "lon": 2}', "[2.0, 1.5]", '"1,2"']),
        "nested": lambda: chance.choice([f"[{_object(chance)},{_object(chance)}]", "[{}]"]),
        "flattened": lambda: _object(chance),
        "object": lambda: _customer(chance) if "properties" in spec else _anything(chance, 3),
    }
    if chance.random() >= _HOSTILE_SHARE or kind in ("binary", "flattened", "geo_point", "nested"):
        return make[kind]() if kind in make else _plain_string(chance)
    return _hostile(chance, kind)


def _hostile(chance: random.Random, kind: str) -> str:
    odd = chance.choice(["null", "[]", "[null]", "true", "false"])
    number, text = chance.choice(_NUMBERS), json.dumps(chance.choice(_TEXT_NUMBERS))
    string = _string(chance, chance.choice(_STRINGS))
    date = json.dumps(chance.choice(_DATES))
    values = {"keyword": string, "text": string, "ip": string, "date": date, "date_nanos": date}
    value = chance.choice([odd, number, text, values.get(kind, number), values.get(kind, text)])
    if kind in ("keyword", "text") and chance.random() < 0.05:
        value = chance.choice(_HALVES)
    if kind == "object":
        return chance.choice(["null", "[]", "{}", f"[{_object(chance)}]", "[{},{}]"])
    return chance.choice([value] * 8 + [f"[{value}]", f"[{value},{odd}]"])


def _date(chance: random.Random, form: str | None) -> str:
    seconds = chance.randrange(-(10**9), 4 * 10**9)
    at = _EPOCH + timedelta(seconds=seconds)
    if form == "epoch_second":
        return str(seconds)
    if form is not None:
        return at.strftime('"%d/%m/%Y %H:%M:%S"')
    return chance.choice([f'"{at.isoformat()[:-6]}Z"'] * 3 + [str(seconds * 1000)])


def _plain_string(chance: random.Random) -> str:
    if chance.random() < 0.1:
        return _string(chance, chance.choice(_STRINGS))
    return f'"value {chance.randrange(10**6)}"'


def _string(chance: random.Random, text: str) -> str:
    return json.dumps(text, ensure_ascii=chance.random() < 0.5)


def _customer(chance: random.Random) -> str:
    members = {
        "name": _value(chance, CUSTOMER["name"]),
        "id": _value(chance, CUSTOMER["id"]),
        "joined": _value(chance, CUSTOMER["joined"]),
    }
    if chance.random() < 0.5:
        members["deep"] = f'{{"score": {_value(chance, {"type": "double"})}}}'
    if chance.random() < 0.05:
        members["new"] = _anything(chance, 2)
    return "{" + ", ".join(f'"{name}":{text}' for name, text in members.items()) + "}"


def _object(chance: random.Random) -> str:
    names = chance.sample(["a", "b", "größe", DROP, "x y"], chance.randrange(1, 4))
    return "{" + ",".join(f"{_string(chance, n)}: {_plain(chance)}" for n in names) + "}"


def _plain(chance: random.Random) -> str:
    return chance.choice([_plain_string(chance), chance.choice(_NUMBERS), "true", "null"])


def _anything(chance: random.Random, depth: int) -> str:
    if depth == 0 or chance.random() < 0.3:
        return chance.choice([_plain(chance), *_HALVES[:1]])
    inner = [_anything(chance, depth - 1) for _ in range(chance.randrange(4))]
    if chance.random() < 0.5:
        return f"[{', '.join(inner)}]"
    return "{" + ",".join(f'"k{number}" :{text}' for number, text in enumerate(inner)) + "}"


def _unusual_shape(chance: random.Random, members: dict[str, str], shapes: int) -> None:
    """Dotted names, an object twice, fields that the mapping does not have."""
    shape = chance.randrange(shapes)
    if shape == 0:
        members.pop("customer", None)
        members["customer.name"] = _value(chance, CUSTOMER["name"])
        members["customer.deep.score"] = _value(chance, {"type": "double"})
    elif shape == 1:
        members["customer.id"] = "5"
    elif shape == 2:
        members["customer"] = '{"deep.score": 1.5, "id": 7}'
    else:
        name = chance.choice(["stranger", "x.y", "with space", DROP.lower(), "attributes 2"])
        members[name] = _anything(chance, 2)

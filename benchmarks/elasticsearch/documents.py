"""The documents that are moved: a small shape of about 300 bytes and a wide one of about 1 KB."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from benchmarks.data import DAY, FIRST_DAY

_MILLISECOND = timedelta(milliseconds=1)
_MILLISECONDS = DAY // _MILLISECOND
_STATUS = ("new", "paid", "sent", "returned")
_COUNTRIES = ("de", "fr", "pl", "nl", "es", "it", "at", "be", "cz", "dk")
_CITIES = ("Hamburg", "Lyon", "Kraków", "Utrecht", "Sevilla", "Torino", "Graz")
_WORDS = (
    "parcel left with the neighbour on the second floor",
    "customer asked for a later delivery",
    "fragile, two people needed for the stairs",
    "gift wrapping with a handwritten card",
    "second attempt after the address was corrected",
)  # fmt: skip


def _keyword(*names: str) -> dict[str, Any]:
    return {name: {"type": "keyword"} for name in names}


def _of_type(kind: str, *names: str) -> dict[str, Any]:
    return {name: {"type": kind} for name in names}


@dataclass(frozen=True)
class Shape:
    """Documents of one kind. `document(i, moment)` is the JSON text of one."""

    name: str
    properties: Mapping[str, Any]
    document: Callable[[int, str], str]

    def documents(self, day: int, number: int) -> Iterator[str]:
        """So many, spread over a day counted from the first one, in order of time."""
        start = FIRST_DAY + day * DAY
        for i in range(number):
            moment = start + i * _MILLISECONDS // max(number, 1) * _MILLISECOND
            yield self.document(i, _text(moment))

    def average_bytes(self) -> int:
        """Of the JSON text of one document."""
        return round(sum(len(text.encode()) for text in self.documents(0, 1000)) / 1000)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _small(i: int, moment: str) -> str:
    return (
        f'{{"id":{10_000_000 + i},"placed_at":"{moment}","customer":{i * 7919 % 50_000},'
        f'"quantity":{i % 100},"amount":{(i * 31 % 1_000_000) / 100},'
        f'"paid":{"true" if i % 4 else "false"},"status":"{_STATUS[i % 4]}",'
        f'"country":"{_COUNTRIES[i % 10]}","sku":"sku-{i * 104_729 % 1_000_003:07d}",'
        f'"note":"order {i}, as told on the telephone: {_WORDS[i % 5]}, {_WORDS[i // 5 % 5]}"}}'
    )


def _wide(i: int, moment: str) -> str:
    return (
        f'{{"id":{10_000_000 + i},"placed_at":"{moment}","updated_at":"{moment}",'
        f'"shipped_at":{"null" if i % 10 == 0 else chr(34) + moment + chr(34)},'
        f'"due_on":"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}",'
        f'"customer_id":{i * 7919 % 50_000},"store_id":{i % 211},"quantity":{i % 100},'
        f'"items":{i % 17},"points":{i * 1_000_003},"views":{i % 977},"version":{i % 5},'
        f'"amount":{(i * 31 % 1_000_000) / 100},"tax":{(i * 17 % 100_000) / 1000},'
        f'"discount":{(i * 13 % 1000) / 10},"weight":{(i * 7 % 10_000) / 8},"score":{i / 7},'
        f'"paid":{"true" if i % 4 else "false"},"gift":{"false" if i % 9 else "true"},'
        f'"status":"{_STATUS[i % 4]}","country":"{_COUNTRIES[i % 10]}","currency":"EUR",'
        f'"channel":"{"app" if i % 3 else "web"}","sku":"sku-{i * 104_729 % 1_000_003:07d}",'
        f'"session":"{i * 2_654_435_761 % (1 << 64):016x}{i:016x}",'
        f'"carrier":"carrier-{i % 23:02d}","email":"customer.{i * 7919 % 50_000}@example.com",'
        f'"title":"Order {i} of store {i % 211}, packed by hand at the counter",'
        f'"note":"order {i}: {_WORDS[i % 5]}, {_WORDS[i // 5 % 5]}, {_WORDS[i // 25 % 5]}, '
        f'{_WORDS[i // 125 % 5]}, {_WORDS[i // 625 % 5]}, {_WORDS[i // 3125 % 5]}",'
        f'"customer":{{"name":"Customer {i * 7919 % 50_000}","city":"{_CITIES[i % 7]}",'
        f'"zip":"{i % 99_999:05d}","tier":{i % 4}}}}}'
    )


SMALL = Shape(
    "small",
    {
        **_of_type("long", "id"),
        **_of_type("date", "placed_at"),
        **_of_type("integer", "customer"),
        **_of_type("short", "quantity"),
        **_of_type("double", "amount"),
        **_of_type("boolean", "paid"),
        **_keyword("status", "country", "sku"),
        **_of_type("text", "note"),
    },
    _small,
)
WIDE = Shape(
    "wide",
    {
        **_of_type("long", "id", "points"),
        **_of_type("date", "placed_at", "updated_at", "shipped_at", "due_on"),
        **_of_type("integer", "customer_id", "store_id", "items", "views", "version"),
        **_of_type("short", "quantity"),
        **_of_type("double", "amount", "tax", "discount", "score"),
        **_of_type("float", "weight"),
        **_of_type("boolean", "paid", "gift"),
        **_keyword("status", "country", "currency", "channel", "sku", "session", "carrier"),
        **_keyword("email"),
        **_of_type("text", "title", "note"),
        "customer": {"properties": {**_keyword("name", "city", "zip"), **_of_type("byte", "tier")}},
    },
    _wide,
)

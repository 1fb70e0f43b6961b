"""JSON text cut into the texts of its parts, for documents that are read closely (pure)."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY = re.compile(r'("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*')
_BEGIN = re.compile(r"[ \t\r\n]*([\[{])[ \t\r\n]*")
_NEXT = re.compile(r"[ \t\r\n]*([,\]}])[ \t\r\n]*")


def object_text(found: Iterable[tuple[str, bytes]]) -> bytes:
    """Members as a JSON object."""
    return b"{" + b",".join(json.dumps(key).encode() + b":" + text for key, text in found) + b"}"


def members(text: bytes) -> list[tuple[str, bytes]]:
    """The members of a JSON object, in order, values as they are written.

    Takes halves of surrogate pairs, and keys that are there twice. Raises ValueError if the text
    is no object.
    """
    try:
        found = _MEMBERS.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = {}
    cut = [(key, bytes(value)) for key, value in found.items()]
    needed = sum(len(key.encode()) + 3 + len(value) for key, value in cut) + len(cut) + 1
    if len(text) == needed:
        # There is no room for a key that is there twice, which msgspec does not tell.
        return cut
    return list(_members(text.decode()))


def elements(text: bytes) -> list[bytes]:
    """The elements of a JSON list, as they are written. Raises ValueError if it is none."""
    return list(_elements(text.decode()))


def _members(text: str) -> Iterator[tuple[str, bytes]]:
    place, sign = _match(_BEGIN, text, 0)
    if sign != "{":
        raise ValueError("not an object")
    if text[place : place + 1] == "}":
        return
    while sign != "}":
        place, key = _match(_KEY, text, place)
        start, (_, place) = place, _value(text, place)
        yield json.loads(key), text[start:place].encode()
        place, sign = _match(_NEXT, text, place)


def _elements(text: str) -> Iterator[bytes]:
    place, sign = _match(_BEGIN, text, 0)
    if sign != "[":
        raise ValueError("not a list")
    if text[place : place + 1] == "]":
        return
    while sign != "]":
        start, (_, place) = place, _value(text, place)
        yield text[start:place].encode()
        place, sign = _match(_NEXT, text, place)


def _match(pattern: re.Pattern[str], text: str, place: int) -> tuple[int, str]:
    """What is there, and where the text goes on."""
    match = pattern.match(text, place)
    if match is None:
        raise ValueError("not JSON")
    return match.end(), match.group(1)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


_value = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse).raw_decode

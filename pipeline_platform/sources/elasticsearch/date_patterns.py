"""Patterns of Java's DateTimeFormatter as regular expressions; those read exactly, no others."""

import calendar
import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta

# Nanoseconds since 1970 UTC; an int, because neither datetime nor 64 bits hold all of them.
Instant = int

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August",
           "September", "October", "November", "December")  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH_DAY = date(1970, 1, 1)

_FIELDS = {
    "yyyy": r"(?P<year>[0-9]{4})",
    "uuuu": r"(?P<year>[0-9]{4})",
    "yy": r"(?P<short_year>[0-9]{2})",
    "uu": r"(?P<short_year>[0-9]{2})",
    "M": r"(?P<month>[0-9]{1,2})",
    "MM": r"(?P<month>[0-9]{2})",
    "MMM": f"(?P<month_name>{'|'.join(name[:3] for name in _MONTHS)})",
    "MMMM": f"(?P<month_name>{'|'.join(_MONTHS)})",
    "d": r"(?P<day>[0-9]{1,2})",
    "dd": r"(?P<day>[0-9]{2})",
    "D": r"(?P<day_of_year>[0-9]{1,3})",
    "DDD": r"(?P<day_of_year>[0-9]{3})",
    "EEE": f"(?P<day_name>{'|'.join(name[:3] for name in _DAYS)})",
    "EEEE": f"(?P<day_name>{'|'.join(_DAYS)})",
    "H": r"(?P<hour>[0-9]{1,2})",
    "HH": r"(?P<hour>[0-9]{2})",
    "h": r"(?P<half_hour>[0-9]{1,2})",
    "hh": r"(?P<half_hour>[0-9]{2})",
    "a": r"(?P<half>AM|PM)",
    "m": r"(?P<minute>[0-9]{1,2})",
    "mm": r"(?P<minute>[0-9]{2})",
    "s": r"(?P<second>[0-9]{1,2})",
    "ss": r"(?P<second>[0-9]{2})",
    "X": r"(?P<zone>Z|[+-][0-9]{2}([0-9]{2})?)",
    "XX": r"(?P<zone>Z|[+-][0-9]{4})",
    "XXX": r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})",
    "x": r"(?P<zone>[+-][0-9]{2}([0-9]{2})?)",
    "xx": r"(?P<zone>[+-][0-9]{4})",
    "xxx": r"(?P<zone>[+-][0-9]{2}:[0-9]{2})",
    "Z": r"(?P<zone>[+-][0-9]{4})",
    "ZZ": r"(?P<zone>[+-][0-9]{4})",
    "ZZZ": r"(?P<zone>[+-][0-9]{4})",
    "ZZZZZ": r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})",
}  # fmt: skip
_TOKEN = re.compile(r"'(?:[^']|'')*'|([A-Za-z])\1*|\[|\]|.", re.DOTALL)
_OPTIONAL = {"[": "(?:", "]": ")?"}
_TEXT_FIELDS = ("MMM", "MMMM", "EEE", "EEEE", "a")


class UnsupportedPattern(ValueError):
    """A date format whose texts cannot be read exactly here."""


def pattern_parser(pattern: str, locale: str | None) -> Callable[[str], Instant | None]:
    """A function from a text of the pattern to its instant, None for other texts.

    Raises UnsupportedPattern for weeks, eras, zone names, names in languages but English, and
    names of formats that are not known.
    """
    expression = re.compile("".join(_pieces(pattern, locale)))

    def parse(text: str) -> Instant | None:
        match = expression.fullmatch(text)
        return None if match is None else instant_of(match.groupdict())

    return parse


def instant_of(fields: Mapping[str, str | None]) -> Instant | None:
    """The instant of parsed fields; None for a day or a time that does not exist.

    What is not given is the first of 1970, of its year, of its day, and UTC. The name of a day of
    the week says nothing, as to the server.
    """
    day = _day(fields)
    hour = _hour(fields)
    minute, second = int(fields.get("minute") or 0), int(fields.get("second") or 0)
    offset = _offset_minutes(fields.get("zone") or "Z")
    if day is None or hour is None or offset is None or minute > 59 or second > 59:
        return None
    seconds = ((day - _EPOCH_DAY) // timedelta(days=1) * 24 + hour) * 3600
    seconds += (minute - offset) * 60 + second
    fraction = (fields.get("fraction") or "").ljust(9, "0")
    return seconds * 1_000_000_000 + int(fraction)


def _pieces(pattern: str, locale: str | None) -> list[str]:
    pieces: list[str] = []
    seen: set[str] = set()
    for match in _TOKEN.finditer(pattern):
        part = match.group()
        if part in _OPTIONAL:
            pieces.append(_OPTIONAL[part])
        elif part.startswith("'") and len(part) > 1:
            pieces.append(re.escape(part[1:-1].replace("''", "'") or "'"))
        elif match.group(1) is None:
            pieces.append(re.escape(part))
        else:
            piece = _field(part, locale)
            name = piece[4 : piece.index(">")]
            if name in seen:
                raise UnsupportedPattern(pattern)
            seen.add(name)
            pieces.append(piece)
    if pattern.count("[") != pattern.count("]") or not seen:
        raise UnsupportedPattern(pattern)
    if ("half" in seen) != ("half_hour" in seen):
        raise UnsupportedPattern(pattern)
    return pieces


def _field(letters: str, locale: str | None) -> str:
    if letters in _TEXT_FIELDS and not (locale or "en").lower().startswith("en"):
        raise UnsupportedPattern(letters)
    if set(letters) == {"S"} and len(letters) <= 9:
        return f"(?P<fraction>[0-9]{{{len(letters)}}})"
    if letters not in _FIELDS:
        raise UnsupportedPattern(letters)
    return _FIELDS[letters]


def _day(fields: Mapping[str, str | None]) -> date | None:
    short = fields.get("short_year")
    year = 2000 + int(short) if short else int(fields.get("year") or 1970)
    if not 1 <= year <= 9999:
        return None
    name = fields.get("month_name")
    month = _month(name) if name else int(fields.get("month") or 1)
    day = int(fields.get("day") or 1)
    of_year = fields.get("day_of_year")
    if of_year:
        number = int(of_year)
        if not 1 <= number <= 365 + calendar.isleap(year):
            return None
        return date(year, 1, 1) + timedelta(days=number - 1)
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return date(year, month, day)


def _month(name: str) -> int:
    return next(number for number, full in enumerate(_MONTHS, 1) if full.startswith(name))


def _hour(fields: Mapping[str, str | None]) -> int | None:
    half_hour = fields.get("half_hour")
    if half_hour:
        hour = int(half_hour)
        return hour % 12 + 12 * (fields.get("half") == "PM") if 1 <= hour <= 12 else None
    hour = int(fields.get("hour") or 0)
    return hour if hour < 24 else None


def _offset_minutes(zone: str) -> int | None:
    if zone == "Z":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)

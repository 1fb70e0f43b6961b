"""The date formats of a mapping, and how a text of them becomes an instant, exactly."""

import re
from collections.abc import Callable
from decimal import Context, Decimal
from functools import partial
from typing import Literal

from pipeline_platform.sources.elasticsearch.date_patterns import (
    Instant,
    instant_of,
    pattern_parser,
)

EpochUnit = Literal["ms", "s"]
YearDigits = Literal[0, 4, 9]

_EPOCHS: dict[str, EpochUnit] = {"epoch_millis": "ms", "epoch_second": "s"}
_NANOSECONDS: dict[EpochUnit, int] = {"ms": 1_000_000, "s": 1_000_000_000}
_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]{0,18})?([eE][+-]?[0-9]{1,2})?")

# Year, month, day in this order, then perhaps a time and a zone: whatever part of that a format
# demands, its texts have one reading.
_ISO_NAMES = frozenset(
    prefix + name
    for prefix in ("", "strict_")
    for name in (
        "date_optional_time", "date_optional_time_nanos", "date_time", "date_time_no_millis",
        "date", "date_hour", "date_hour_minute", "date_hour_minute_second",
        "date_hour_minute_second_fraction", "date_hour_minute_second_millis", "year_month_day",
        "year_month", "year",
    )
) | {"iso8601"}  # fmt: skip
_STRICT_YEARS = re.compile(r"strict_(date_optional_time(_nanos)?|year)|iso8601")
_LENIENT_YEARS = re.compile(r"date_optional_time|year")
_ISO_PATTERN = re.compile(
    r"(yyyy|uuuu)-MM-dd(('T'|T| )HH(:mm(:ss([.,]S{1,9}|\[[.,]S{1,9}\])?)?)?)?"
    r"(X{1,3}|x{1,3}|Z{1,3}|ZZZZZ|'Z'|\[X{1,3}\])?"
)
_OTHER_NAMES = {
    "basic_date": "yyyyMMdd",
    "basic_date_time": "yyyyMMdd'T'HHmmss.SSSX",
    "basic_date_time_no_millis": "yyyyMMdd'T'HHmmssX",
    "ordinal_date": "yyyy-DDD",
    "strict_ordinal_date": "yyyy-DDD",
}
_ISO = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})(-(?P<day>[0-9]{1,2})"
    r"([T ](?P<hour>[0-9]{1,2})(:(?P<minute>[0-9]{1,2})(:(?P<second>[0-9]{1,2})"
    r"([.,](?P<fraction>[0-9]{1,9}))?)?)?(?P<zone>Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?)?T?"
)
_YEARS = {4: re.compile(r"-?[0-9]{4}"), 9: re.compile(r"-?[0-9]{1,9}")}
# Farther from 1970 than any column reaches.
_FAR = 10**22

_EXACT = Context(prec=150)

_Parser = Callable[[str], Instant | None]


class DateFormats:
    """The formats of one date field, in order: the first that takes a text decides.

    is_iso: every format but the epochs writes year, month and day in this order. has_text: there
    is such a format. epoch: the unit of plain numbers, None where no format takes them.
    year_digits: plain numbers of four digits, or of up to nine, are years and not an epoch.
    Raises UnsupportedPattern for a format that cannot be read exactly here.
    """

    def __init__(self, text: str, locale: str | None = None) -> None:
        self.text = text
        self.is_iso = True
        self.has_text = False
        self.epoch: EpochUnit | None = None
        self.year_digits: YearDigits = 0
        self._parsers: list[_Parser] = []
        for name in filter(None, map(str.strip, text.split("||"))):
            if name in _EPOCHS:
                self._parsers.append(_epoch_parser(_EPOCHS[name]))
                self.epoch = self.epoch or _EPOCHS[name]
                continue
            self.has_text = True
            if name in _ISO_NAMES or _ISO_PATTERN.fullmatch(name):
                digits = _year_digits(name)
                self._parsers.append(partial(_iso, digits))
                if self.epoch is None:
                    self.year_digits = max(self.year_digits, digits)
            else:
                self._parsers.append(pattern_parser(_OTHER_NAMES.get(name, name), locale))
                self.is_iso = False

    @property
    def meaning(self) -> tuple[object, ...]:
        """Equal for formats that read every text alike."""
        if self.is_iso:
            return (self.epoch, self.has_text, self.year_digits if self.epoch else 0)
        return (self.text,)

    def nanoseconds(self, text: str) -> Instant | None:
        """Since 1970 UTC; None if no format takes the text. A text without zone is in UTC."""
        for parse in self._parsers:
            instant = parse(text)
            if instant is not None:
                return instant
        return None


def _epoch_parser(unit: EpochUnit) -> _Parser:
    factor = _NANOSECONDS[unit]

    def parse(text: str) -> Instant | None:
        if not _NUMBER.fullmatch(text):
            return None
        nanoseconds = _EXACT.multiply(Decimal(text), factor)
        return int(nanoseconds) if nanoseconds == int(nanoseconds) else None

    return parse


def _year_digits(name: str) -> YearDigits:
    if _STRICT_YEARS.fullmatch(name):
        return 4
    return 9 if _LENIENT_YEARS.fullmatch(name) else 0


def _iso(year_digits: YearDigits, text: str) -> Instant | None:
    if year_digits and _YEARS[year_digits].fullmatch(text):
        year = int(text)
        return instant_of({"year": text}) if 1 <= year <= 9999 else _FAR * (1 if year > 0 else -1)
    match = _ISO.fullmatch(text)
    return None if match is None else instant_of(match.groupdict())

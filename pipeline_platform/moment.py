"""Durations, moments and local midnights (seed 002, "Generic Time Utilities"; pure)."""

import re
from datetime import date, datetime, time, timedelta, tzinfo
from datetime import timezone as fixed_zone
from functools import lru_cache
from numbers import Real
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pendulum

from pipeline_platform.errors import ConfigurationError

UTC = fixed_zone.utc
HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = "([0-9]{1,9})"
_DURATION = re.compile(
    rf"(?=\S)(?:{_NUMBER}d ?)?(?:{_NUMBER}h ?)?(?:{_NUMBER}m ?)?(?:{_NUMBER}s)?(?<=\S)"
)
_LONGEST_SECONDS = 36_525 * DAY_SECONDS


def parse_time_to_seconds(time_str: str) -> int:
    """`1d2h30m20s` or `1h 30m 45s` to seconds; ConfigurationError if it is neither."""
    parts = _DURATION.fullmatch(time_str)
    if parts is None:
        raise ConfigurationError(
            f"{time_str!r} is not a duration.",
            hint="Write days, hours, minutes and seconds in this order, e.g. 1d, 2h30m, 45s.",
        )
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    total = days * DAY_SECONDS + hours * HOUR_SECONDS + minutes * 60 + seconds
    if total > _LONGEST_SECONDS:
        raise ConfigurationError(
            f"{time_str!r} is longer than 100 years.", hint="Write a shorter duration."
        )
    return total


@lru_cache(maxsize=256)
def seconds_to_time_string(seconds: int) -> str:
    """Whole seconds to `1d2h30m20s`: 86400 is `1d`, a day of 23 hours `23h`, none `0s`."""
    return "".join(_parts(seconds)) or "0s"


def human_duration(seconds: float) -> str:
    """Elapsed seconds for people, `1h 30m 45s`; fractions are dropped, less than none is `0s`."""
    return " ".join(_parts(max(0, int(seconds)))) or "0s"


def _parts(seconds: int) -> list[str]:
    if seconds < 0:
        raise ConfigurationError(
            f"A duration of {seconds} seconds lies in the past.", hint="Write a positive duration."
        )
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    units = ((day, "d"), (hour, "h"), (minute, "m"), (second, "s"))
    return [f"{number}{unit}" for number, unit in units if number]


def convert_to_pendulum(timestamp: object, timezone: str | None = None) -> pendulum.DateTime:
    """Any moment as a pendulum DateTime, in `timezone` if it is given, else in its own zone.

    Takes datetimes and dates, pandas and numpy timestamps, ISO 8601 strings and epoch numbers
    (UTC; below 1e11 seconds, from there on milliseconds). A moment without zone is taken to be in
    `timezone`, a wall-clock time that happens twice as its first; without `timezone` it raises
    ConfigurationError, as does what is no moment. Digits after the microsecond are dropped.
    """
    zone = None if timezone is None else zone_of(timezone)
    moment = _moment(timestamp)
    if moment.utcoffset() is None:
        if zone is None:
            raise ConfigurationError(
                f"The moment {timestamp!s} has no time zone.",
                hint="Give its zone, e.g. UTC or America/New_York; it is never guessed.",
            )
        # By way of UTC a wall-clock time that a clock change skips becomes a real one.
        moment = moment.replace(tzinfo=zone).astimezone(UTC)
    return pendulum.instance(moment if zone is None else moment.astimezone(zone))


def _moment(value: Any) -> datetime:
    if type(value).__module__ == "numpy" and type(value).__name__ == "datetime64":
        value = value.astype("datetime64[us]").item()
    try:
        if isinstance(value, str):
            # pendulum reads "now", and digits alone as a day of some year.
            if not re.match("[0-9]{4}-|[0-9]{8}(?:T|$)", value):
                raise ValueError
            value = pendulum.parse(value, exact=True, tz=None)
            if isinstance(value, datetime):
                value = value.replace(fold=0)
        if isinstance(value, datetime):
            clock = (value.hour, value.minute, value.second, value.microsecond)
            # pandas.NaT is a datetime too, of NaN years
            return datetime(
                value.year, value.month, value.day, *clock, tzinfo=value.tzinfo, fold=value.fold
            )
        if isinstance(value, date):
            return datetime.combine(value, time.min)
        if isinstance(value, Real) and not isinstance(value, bool):
            return _from_epoch(value)
    except (ValueError, TypeError, OverflowError):
        pass
    raise ConfigurationError(
        f"{value!r} is no moment in time.",
        hint="Give a datetime, an ISO 8601 text such as 2025-11-15T10:00:00Z, or epoch seconds or "
        "milliseconds.",
    )


def _from_epoch(number: Real) -> datetime:
    value = number if isinstance(number, int) else float(number)
    if float(value).is_integer():
        value = int(value)
    if abs(value) < 1e11:
        return _EPOCH + timedelta(seconds=value)
    if abs(value) < 1e14:
        return _EPOCH + timedelta(milliseconds=value)
    raise ValueError


def calculate_day_from_timestamp(
    timestamp: object, time_back: str, timezone: str
) -> pendulum.DateTime:
    """Start of the local day that `time_back` (elapsed time) before the timestamp falls into."""
    moment = aware_utc(convert_to_pendulum(timestamp, timezone))
    zone = zone_of(timezone)
    day = (moment - timedelta(seconds=parse_time_to_seconds(time_back))).astimezone(zone).date()
    return pendulum.instance(midnight(day, zone).astimezone(zone))


def zone_of(name: str) -> ZoneInfo:
    """The IANA zone; ConfigurationError if there is none of this name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f"The time zone {name!r} is unknown.",
            hint="Use an IANA name such as UTC, Europe/Berlin or America/New_York.",
        ) from None


def instant_of(wall: datetime, zone: tzinfo, fold: int = 0) -> datetime:
    """UTC instant of a wall-clock time; one that a clock change skips is the change itself.

    Of a time that happens twice `fold` 0 is the first.
    """
    instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return offset_change_between(before, after, zone)


def offset_change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """First second, UTC, with another UTC offset than at `before`; `after` has another one."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


@lru_cache(maxsize=4096)
def midnight(day: date, zone: tzinfo) -> datetime:
    """First instant, UTC, of the local day."""
    return instant_of(datetime.combine(day, time.min), zone)


def aware_utc(moment: datetime) -> datetime:
    """The moment in UTC; ConfigurationError if it has no time zone."""
    if moment.utcoffset() is None:
        raise ConfigurationError(
            f"The moment {moment} has no time zone.", hint="Give an aware datetime."
        )
    there = moment.astimezone(UTC)
    # Not pendulum's datetime, whose arithmetic loses a plain UTC.
    return datetime.combine(there.date(), there.time(), UTC)

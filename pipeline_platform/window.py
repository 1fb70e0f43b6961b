"""Windows of time and the windows of a pipeline (seeds 002 and 004; pure).

A window is half-open, `[start, end)`, and never crosses midnight of the pipeline's time zone. Up
to one hour, windows tile elapsed time from local midnight; above, they start at wall-clock times.
A window ends where the next one starts, so a day of 23 or 25 hours has neither gap nor overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import cached_property, lru_cache
from itertools import islice
from typing import TypedDict
from zoneinfo import ZoneInfo

import pendulum

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.moment import (
    DAY_SECONDS,
    HOUR_SECONDS,
    aware_utc,
    calculate_day_from_timestamp,
    convert_to_pendulum,
    human_duration,
    instant_of,
    midnight,
    parse_time_to_seconds,
    seconds_to_time_string,
    zone_of,
)
from pipeline_platform.movement import WindowSlice

__all__ = [
    "PartitionArguments",
    "Window",
    "WindowPlan",
    "calculate_day_from_timestamp",
    "calculate_time_window",
    "convert_to_pendulum",
    "human_duration",
    "parse_time_to_seconds",
    "seconds_to_time_string",
]

MOST_WINDOWS_WITH_EXCLUSIONS = 48

_ONE_DAY = timedelta(days=1)
_EARLIEST, _HORIZON = date(1900, 1, 1), date(2200, 1, 1)
_UTC_NAMES = ("UTC", "Etc/UTC")


def calculate_time_window(
    target_day: datetime, granularity: str, continuation_timestamp: object = None
) -> tuple[pendulum.DateTime, pendulum.DateTime, str] | None:
    """`(start, end, actual interval)` of the next window of the day; None when the day is done.

    Begins at the day's first instant, or at `continuation_timestamp` (a moment with zone), which
    must lie within the day, else there is nothing to do: None. The end never passes the next
    local midnight; the interval says what is left then. Results are in the zone of `target_day`.
    """
    day_of = convert_to_pendulum(target_day)
    zone = day_of.tzinfo
    assert zone is not None
    seconds = parse_time_to_seconds(granularity)
    if seconds == 0:
        raise ConfigurationError("A window of no length.", hint="Write a granularity such as 1h.")
    day = day_of.date()
    start, day_end = midnight(day, zone), midnight(day + _ONE_DAY, zone)
    if continuation_timestamp is not None:
        resumed = aware_utc(convert_to_pendulum(continuation_timestamp))
        if resumed < start:
            return None
        start = resumed
    if start >= day_end:
        return None
    end = min(day_end, _end_of_window(start, day, zone, seconds))
    interval = seconds_to_time_string(round((end - start).total_seconds()))
    here, there = (pendulum.instance(bound.astimezone(zone)) for bound in (start, end))
    return here, there, interval


def _end_of_window(start: datetime, day: date, zone: tzinfo, seconds: int) -> datetime:
    if seconds <= HOUR_SECONDS:
        return start + timedelta(seconds=seconds)
    starts = _starts_of_day(day, zone, seconds)
    if start in starts[:-1]:
        return starts[starts.index(start) + 1]
    wall = start.astimezone(zone).replace(tzinfo=None) + timedelta(seconds=seconds)
    end = instant_of(wall, zone, fold=1)
    return end if end > start else start + timedelta(seconds=seconds)


@lru_cache(maxsize=64)
def _starts_of_day(day: date, zone: tzinfo, seconds: int) -> tuple[datetime, ...]:
    """Starts of the day's windows, UTC; none for a day that a zone skipped (Apia 2011-12-30)."""
    begin, end = midnight(day, zone), midnight(day + _ONE_DAY, zone)
    if begin >= end:
        return ()
    if seconds <= HOUR_SECONDS:
        elapsed = round((end - begin).total_seconds())
        return tuple(begin + timedelta(seconds=n) for n in range(0, elapsed, seconds))
    # Of an hour that happens twice Dagster's cron takes the second, so a window starts there.
    walls = (
        datetime.combine(day, time.min) + timedelta(seconds=n)
        for n in range(seconds, DAY_SECONDS, seconds)
    )
    later = {instant_of(wall, zone, fold=1) for wall in walls}
    return (begin, *sorted(start for start in later if begin < start < end))


@dataclass(frozen=True)
class Window:
    """One window, `[start, end)` in UTC. `key` is its Dagster partition key, `target_day` the
    local date, `interval` the elapsed time between its bounds.
    """

    start: datetime
    end: datetime
    key: str
    target_day: date
    interval: str

    def slice(self, pipeline_name: str) -> WindowSlice:
        """The window as connectors see it."""
        return WindowSlice(pipeline_name, self.start, self.end)


class PartitionArguments(TypedDict):
    """Arguments of Dagster's TimeWindowPartitionsDefinition; times are wall-clock."""

    start: datetime
    fmt: str
    cron_schedule: str
    timezone: str
    end: datetime | None
    exclusions: list[str] | None


@dataclass(frozen=True)
class WindowPlan:
    """All windows of a pipeline, from midnight of start_date to midnight of end_date (exclusive).

    duration: a divisor of 60 minutes, whole hours up to a day, or in UTC other whole minutes with
    at most 48 windows a day (the last window of a day is cut at midnight). Anything else raises
    ConfigurationError.
    """

    duration: str
    timezone: str
    start_date: date
    end_date: date | None = None

    def __post_init__(self) -> None:
        self._check_days()
        seconds, is_utc = self.seconds, self.zone.key in _UTC_NAMES
        if seconds == 0 or seconds > DAY_SECONDS or seconds % 60:
            raise ConfigurationError(
                f"Windows of {self.duration} are not possible.",
                hint="Use whole minutes, from 1m to 1d.",
            )
        if HOUR_SECONDS % seconds == 0 or seconds % HOUR_SECONDS == 0:
            return
        if not is_utc:
            raise ConfigurationError(
                f"Windows of {self.duration} are possible in UTC only, not in {self.timezone}: "
                "Dagster drops or doubles such partitions when the clocks change.",
                hint="Use a divisor of 60 minutes, whole hours or 1d, or the zone UTC.",
            )
        if (number := -(-DAY_SECONDS // seconds)) > MOST_WINDOWS_WITH_EXCLUSIONS:
            raise ConfigurationError(
                f"Windows of {self.duration} are {number} a day, more than the "
                f"{MOST_WINDOWS_WITH_EXCLUSIONS} that Dagster can list in reasonable time.",
                hint="Use a divisor of 60 minutes, or at least 30m.",
            )

    def _check_days(self) -> None:
        last = self.end_date or _HORIZON
        if not _EARLIEST <= self.start_date < _HORIZON or last > _HORIZON:
            raise ConfigurationError(
                f"The days from {self.start_date} to {last} reach too far.",
                hint=f"Choose days between {_EARLIEST} and {_HORIZON}.",
            )
        if last <= self.start_date:
            raise ConfigurationError(
                f"end_date {last} is not after start_date {self.start_date}.",
                hint="end_date is the first day that is no longer loaded.",
            )

    @cached_property
    def seconds(self) -> int:
        """Nominal length of a window in seconds."""
        return parse_time_to_seconds(self.duration)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The zone whose midnights no window crosses."""
        return zone_of(self.timezone)

    @cached_property
    def fmt(self) -> str:
        """strftime format of the keys; below a day outside UTC with the offset, so that the hour
        that happens twice has two keys."""
        if self.seconds == DAY_SECONDS:
            return "%Y-%m-%d"
        return "%Y-%m-%d-%H:%M" + ("" if self.zone.key in _UTC_NAMES else "%z")

    @cached_property
    def start(self) -> datetime:
        """Start of the first window, UTC."""
        return midnight(self.start_date, self.zone)

    @cached_property
    def end(self) -> datetime | None:
        """End of the last window, UTC; None if there is no last one."""
        return None if self.end_date is None else midnight(self.end_date, self.zone)

    def windows(self, start: datetime, end: datetime | None = None) -> Iterator[Window]:
        """Windows that overlap `[start, end)`, oldest first, found as they are asked for."""
        start = aware_utc(start)
        last_day = self.end_date or _HORIZON
        day = max(self.start_date, start.astimezone(self.zone).date())
        while day < last_day:
            starts = _starts_of_day(day, self.zone, self.seconds)
            ends = (*starts[1:], midnight(day + _ONE_DAY, self.zone))
            for window_start, window_end in zip(starts, ends, strict=False):
                if end is not None and window_start >= end:
                    return
                if window_end > start:
                    yield self._window(day, window_start, window_end)
            day += _ONE_DAY

    def window_at(self, instant: datetime) -> Window | None:
        """The window that holds the instant, or None outside start_date and end_date."""
        window = next(self.windows(instant), None)
        return window if window is not None and window.start <= instant else None

    def window_of_key(self, key: str) -> Window:
        """The window of a partition key; ConfigurationError with valid examples if none has it."""
        try:
            parsed = datetime.strptime(key, self.fmt)
            if parsed.utcoffset() is None:
                parsed = instant_of(parsed, self.zone)
            window = self.window_at(parsed)
        except (ValueError, OverflowError):
            window = None
        if window is not None and window.key == key:
            return window
        near = self.windows(self.start if window is None else window.start)
        raise ConfigurationError(
            f"No window has the key {key!r}.",
            hint=f"Keys look like {', '.join(found.key for found in islice(near, 3))}.",
        )

    @cached_property
    def _cron_and_exclusions(self) -> tuple[str, list[str] | None]:
        minutes, rest = divmod(self.seconds, 60)
        assert rest == 0
        if 60 % minutes == 0:
            field = {1: "*", 60: "0"}.get(minutes, f"*/{minutes}")
            return f"{field} * * * *", None
        if minutes % 60 == 0:
            hours = minutes // 60
            return ("0 0 * * *" if hours == 24 else f"0 */{hours} * * *"), None
        starts = range(0, 24 * 60, minutes)
        past_the_hour = sorted({start % 60 for start in starts})
        exclusions = []
        for minute in past_the_hour:
            others = [str(hour) for hour in range(24) if (hour * 60 + minute) % minutes]
            exclusions.append(f"{minute} {','.join(others)} * * *")
        return f"{','.join(map(str, past_the_hour))} * * * *", exclusions

    def partition_arguments(self) -> PartitionArguments:
        """What Dagster's TimeWindowPartitionsDefinition is made of."""
        cron_schedule, exclusions = self._cron_and_exclusions
        last = None if self.end_date is None else datetime.combine(self.end_date, time.min)
        return {
            "start": datetime.combine(self.start_date, time.min),
            "fmt": self.fmt,
            "cron_schedule": cron_schedule,
            "timezone": self.timezone,
            "end": last,
            "exclusions": exclusions,
        }

    def _window(self, day: date, start: datetime, end: datetime) -> Window:
        key = start.astimezone(self.zone).strftime(self.fmt)
        interval = seconds_to_time_string(round((end - start).total_seconds()))
        return Window(start, end, key, day, interval)

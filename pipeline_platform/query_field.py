"""The field that places a row in a window, and the window's bounds in its own terms (pure)."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Literal
from zoneinfo import ZoneInfo

import pyarrow as pa

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.movement import WindowSlice

EpochUnit = Literal["s", "ms", "us", "ns"]
Bound = datetime | date | int

_PER_SECOND: dict[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class QueryField:
    """Name and meaning of the query field.

    time_zone is needed for a timestamp without zone and for a date, unit for an epoch number;
    without them `bounds` raises ConfigurationError, because a zone is never guessed.
    """

    name: str
    time_zone: str | None = None
    unit: EpochUnit | None = None

    def bounds(self, window: WindowSlice, column_type: pa.DataType) -> tuple[Bound, Bound]:
        """`(lower, upper)` such that `lower <= field < upper` selects exactly the window.

        Bounds of neighbouring windows are equal, in every zone: a wall-clock value that happens
        twice belongs to its first occurrence, one that a clock change skips to the window before.
        """
        if pa.types.is_timestamp(column_type):
            if column_type.tz is not None:
                return window.start, window.end
            zone = self._zone("a timestamp without time zone")
            return wall_clock_bound(window.start, zone), wall_clock_bound(window.end, zone)
        if pa.types.is_date(column_type):
            zone = self._zone("a date")
            return self._day(window.start, zone), self._day(window.end, zone)
        if pa.types.is_integer(column_type):
            if self.unit is None:
                raise ConfigurationError(
                    f"The query field {self.name!r} is a number.",
                    hint="Set source_system.query_field_unit to s, ms, us or ns.",
                )
            return self._ticks(window.start), self._ticks(window.end)
        raise ConfigurationError(
            f"The query field {self.name!r} has type {column_type}, which places no row in time.",
            hint="Choose a timestamp, a date or an epoch number as source_system.query_field.",
        )

    def _zone(self, what: str) -> ZoneInfo:
        if self.time_zone is None:
            raise ConfigurationError(
                f"The query field {self.name!r} is {what}.",
                hint="Set source_system.query_field_timezone, e.g. UTC.",
            )
        return ZoneInfo(self.time_zone)

    def _day(self, instant: datetime, zone: ZoneInfo) -> date:
        wall = wall_clock_bound(instant, zone)
        if wall.time() != time.min:
            raise ConfigurationError(
                f"The query field {self.name!r} is a date, but the window bound "
                f"{instant.isoformat()} is not midnight in {zone.key}.",
                hint="Use query_window.duration 1d and the same zone in schedule.timezone "
                "and source_system.query_field_timezone.",
            )
        return wall.date()

    def _ticks(self, instant: datetime) -> int:
        assert self.unit is not None
        microseconds = (instant - _EPOCH) // timedelta(microseconds=1)
        # Rounded up: the least tick that does not lie before the instant.
        return -(-microseconds * _PER_SECOND[self.unit] // 1_000_000)


def wall_clock_bound(instant: datetime, zone: ZoneInfo) -> datetime:
    """Least wall-clock value (no zone) that does not lie before the instant.

    Inside the second pass of a repeated hour this is the end of that hour.
    """
    local = instant.astimezone(zone)
    if local.fold == 0:
        return local.replace(tzinfo=None)
    after = local.utcoffset()
    before = local.replace(fold=0).utcoffset()
    assert after is not None
    assert before is not None
    repeated = before - after
    low, high = instant - repeated, instant
    # The change happened within the last `repeated`; it is the first instant with fold == 1.
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (low, middle) if middle.astimezone(zone).fold else (middle, high)
    change = high.replace(microsecond=0)
    return (change.astimezone(zone) + repeated).replace(tzinfo=None, fold=0)

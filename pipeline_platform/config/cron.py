"""Cron expressions of five fields: minute, hour, day of month, month, day of week (pure)."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from pipeline_platform.errors import ConfigurationError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d+))?")


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> set[int]:
        """The numbers that the text stands for."""
        return {value for part in text.split(",") for value in self._part(part)}

    def _part(self, part: str) -> range:
        match = _PART.fullmatch(part)
        if match is None:
            raise self._bad("is not a number, a list, a range or a step")
        body, first, last, step = match.groups()
        if step is not None and not (0 < int(step) <= self.high):
            raise self._bad(f"has a step outside 1 to {self.high}")
        if body == "*":
            return range(self.low, self.high + 1, int(step or 1))
        if step is not None and last is None:
            raise self._bad("has a step without a range; write */n or a-b/n")
        low = self._number(first)
        high = self._number(last) if last is not None else low
        if low > high:
            raise self._bad("has a range that runs backwards")
        return range(low, high + 1, int(step or 1))

    def _number(self, text: str) -> int:
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.low
        if not (text.isascii() and text.isdigit() and self.low <= int(text) <= self.high):
            raise self._bad(f"has a value outside {self.low} to {self.high}")
        return int(text)

    def _bad(self, problem: str) -> ConfigurationError:
        return ConfigurationError(f"the {self.name} of a cron expression {problem}")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


def check_cron(expression: str) -> str:
    """The expression itself; ConfigurationError says which field is wrong, or that it never fires.

    Accepts `*`, numbers, names (MON, JAN), lists, ranges and steps; no seconds, no `L`, `#`, `@`.
    The message does not repeat the expression.
    """
    parts = expression.split()
    if len(parts) != len(_FIELDS):
        raise ConfigurationError(
            f"a cron expression has five fields (minute hour day month weekday), "
            f"this one has {len(parts)}"
        )
    values = [field.values(part) for field, part in zip(_FIELDS, parts, strict=True)]
    days, months = values[2], values[3]
    any_weekday = parts[4].startswith("*")
    if any_weekday and all(min(days) > _LONGEST[month - 1] for month in months):
        raise ConfigurationError("this cron expression never comes: no such day in that month")
    return expression


def longest_pause(expression: str) -> timedelta:
    """The longest time between two neighbouring moments of a valid expression, clock changes aside.

    Looks at the years 2024 to 2031; one that comes once in them or never pauses for all of them.
    """
    parts = expression.split()
    minutes, hours, days, months, weekdays = (
        field.values(part) for field, part in zip(_FIELDS, parts, strict=True)
    )
    weekdays = {weekday % 7 for weekday in weekdays}
    every_day, every_weekday = parts[2].startswith("*"), parts[4].startswith("*")
    moments = sorted(timedelta(hours=hour, minutes=minute) for hour in hours for minute in minutes)

    def comes_on(day: date) -> bool:
        by_day, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        # Two restricted fields mean either of them; cron has it so.
        either = by_day or by_weekday
        both = by_day and by_weekday
        return day.month in months and (both if every_day or every_weekday else either)

    first, last = date(2024, 1, 1), date(2031, 12, 31)
    calendar = (first + timedelta(days=count) for count in range((last - first).days + 1))
    dates = [day for day in calendar if comes_on(day)]
    pauses = [after - before for before, after in pairwise(moments)]
    pauses += [after - before + moments[0] - moments[-1] for before, after in pairwise(dates)]
    return max(pauses) if len(dates) > 1 else last - first

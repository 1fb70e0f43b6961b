"""Dagster's partitions of a window plan, and the proof that both mean the same windows.

Dagster finds partitions with a cron of its own. In most zones it agrees with `window.py`; in a few
it does not when the clocks change (Lord Howe, Havana) or where the offset once was another
(Caracas). So the windows are compared before a pipeline is accepted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo

import dagster as dg

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.moment import UTC, midnight, offset_change_between
from pipeline_platform.window import Window, WindowPlan

LOOK_AHEAD = timedelta(days=2 * 366)

# Longer than the hours that any zone but those of the date line changed at once (Casey: three).
_AROUND_A_CHANGE = timedelta(hours=5)
_ONE_DAY = timedelta(days=1)
_ONE_SECOND = timedelta(seconds=1)
_MOST_LOOK_UPS = 12
_FEW = 3


def partitions_definition(plan: WindowPlan) -> dg.TimeWindowPartitionsDefinition:
    """The partitions whose keys are those of the plan's windows.

    Take the bounds of a window from the plan: where the definition has exclusions, Dagster's own
    window ends too early.
    """
    return dg.TimeWindowPartitionsDefinition(**plan.partition_arguments())


def refuse_key_mismatch(
    plan: WindowPlan, definition: dg.TimeWindowPartitionsDefinition, now: datetime | None = None
) -> None:
    """Raise ConfigurationError if Dagster's partitions are not the plan's windows.

    Compared are keys, starts and ends in the plan's first days and around each change of the
    zone's UTC offset, up to end_date or two years from now; between them nothing changes. What was
    found for a zone, a duration and a change is kept for the next plan with the same.
    """
    if _instant(definition.start) != plan.start or _instant(definition.end) != plan.end:
        raise ConfigurationError(
            f"Dagster's partitions reach from {definition.start} to {definition.end}, the windows "
            f"from {plan.start} to {plan.end}.",
            hint="Make the definition with partitions_definition(plan).",
        )
    until = plan.end or max(now or datetime.now(UTC), plan.start) + LOOK_AHEAD
    kept = _cache_of(plan, definition)
    for span in (_first_days(plan), *_spans_around_changes(plan.zone, plan.start, until)):
        if span not in kept:
            kept[span] = _mismatch(_without_bounds(plan), definition, span)
        if (mismatch := kept[span]) is not None:
            raise _refusal(plan, span.about, mismatch)
    if plan.end is not None and (mismatch := _mismatch_at_end(plan, definition)) is not None:
        raise _refusal(plan, plan.end, mismatch)


def _instant(moment: datetime | None) -> datetime | None:
    # Python never calls a wall-clock time that happens twice equal to one of another zone.
    return None if moment is None else moment.astimezone(UTC)


@dataclass(frozen=True)
class _Span:
    """A stretch of time to compare, `[start, end)`, and the moment it is about."""

    start: datetime
    end: datetime
    about: datetime


@dataclass(frozen=True)
class _Mismatch:
    what: str
    ours: tuple[str, ...]
    dagsters: tuple[str, ...]


_Kept = dict[_Span, _Mismatch | None]
_KEPT: dict[tuple[object, ...], _Kept] = {}


def _cache_of(plan: WindowPlan, definition: dg.TimeWindowPartitionsDefinition) -> _Kept:
    exclusions = tuple(definition.exclusions or ())
    dagsters = (definition.timezone, definition.cron_schedule, definition.fmt, exclusions)
    return _KEPT.setdefault((plan.timezone, plan.duration, *dagsters), {})


@lru_cache(maxsize=1024)
def _offset_changes(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """First instants with a new UTC offset in the UTC year."""
    changes = []
    before = datetime(year, 1, 1, tzinfo=UTC) - _ONE_SECOND
    offset = before.astimezone(zone).utcoffset()
    last = datetime(year + 1, 1, 1, tzinfo=UTC) - _ONE_SECOND
    while before < last:
        after = min(before + _ONE_DAY, last)
        if after.astimezone(zone).utcoffset() != offset:
            after = offset_change_between(before, after, zone)
            offset = after.astimezone(zone).utcoffset()
            changes.append(after)
        before = after
    return tuple(changes)


def _spans_around_changes(zone: ZoneInfo, start: datetime, until: datetime) -> Iterator[_Span]:
    """From a few hours before each change to a few hours after the midnight that follows it."""
    for year in range(start.year, until.year + 1):
        for change in _offset_changes(zone, year):
            if start <= change < until:
                local_day = (change + _AROUND_A_CHANGE).astimezone(zone).date()
                next_midnight = midnight(local_day + _ONE_DAY, zone)
                yield _Span(change - _AROUND_A_CHANGE, next_midnight + _AROUND_A_CHANGE, change)


def _first_days(plan: WindowPlan) -> _Span:
    end = midnight(plan.start_date + _ONE_DAY, plan.zone) + _AROUND_A_CHANGE
    return _Span(plan.start, end, plan.start)


def _without_bounds(plan: WindowPlan) -> WindowPlan:
    return replace(plan, start_date=date(1900, 1, 2), end_date=None)


def _mismatch(
    plan: WindowPlan, definition: dg.TimeWindowPartitionsDefinition, span: _Span
) -> _Mismatch | None:
    windows = list(plan.windows(span.start, span.end))
    try:
        listed = definition.get_partition_keys_in_time_window(
            dg.TimeWindow(windows[0].start, span.end)
        )
        # Dagster's cron depends on where it is asked to begin.
        some = windows[: _FEW + 1]
        from_between = definition.get_partition_keys_in_time_window(
            dg.TimeWindow(some[0].start + _ONE_SECOND, some[-1].end)
        )
    except dg.DagsterError as error:
        return _Mismatch(f"Dagster raises {error}", tuple(w.key for w in windows), ())
    keys = [window.key for window in windows]
    if list(listed) != keys:
        return _first_difference("lists other keys", keys, listed)
    if list(from_between) != keys[1 : _FEW + 1]:
        return _first_difference("lists other keys", keys[1 : _FEW + 1], from_between)
    return _look_ups(definition, _near(windows, span.about))


def _near(windows: Sequence[Window], moment: datetime) -> list[Window]:
    first, last = moment - _AROUND_A_CHANGE, moment + _AROUND_A_CHANGE
    near = [window for window in windows if first <= window.end and window.start <= last]
    step = -(-len(near) // _MOST_LOOK_UPS)
    return near[::step]


def _look_ups(
    definition: dg.TimeWindowPartitionsDefinition, windows: Sequence[Window]
) -> _Mismatch | None:
    """Dagster's window of a key, and its last window before an instant."""
    for window in windows:
        found = definition.time_window_for_partition_key(window.key)
        if _differs(definition, window, found):
            return _Mismatch("finds another window for the key", *_as_texts(window, found))
        if definition.exclusions:
            continue
        previous = definition.get_prev_partition_window(
            window.end + _ONE_SECOND, respect_bounds=False
        )
        if previous is not None and _differs(definition, window, previous):
            return _Mismatch("goes back to another window", *_as_texts(window, previous))
    return None


def _mismatch_at_end(
    plan: WindowPlan, definition: dg.TimeWindowPartitionsDefinition
) -> _Mismatch | None:
    """Dagster finds its last partition by going back from the end."""
    assert plan.end is not None
    found = definition.get_prev_partition_window(plan.end, respect_bounds=False)
    window = next(plan.windows(plan.end - _ONE_SECOND), None)
    if window is None:
        return None if found is None else _Mismatch("has a window of a day that was none", (), ())
    if found is None or _differs(definition, window, found):
        return _Mismatch("goes back to another window", *_as_texts(window, found))
    return None


def _differs(
    definition: dg.TimeWindowPartitionsDefinition, window: Window, found: dg.TimeWindow
) -> bool:
    same_end = bool(definition.exclusions) or found.end.astimezone(UTC) == window.end
    return found.start.astimezone(UTC) != window.start or not same_end


def _as_texts(
    window: Window, found: dg.TimeWindow | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ours = (window.start.isoformat(), window.end.isoformat())
    if found is None:
        return ours, ()
    return ours, tuple(bound.astimezone(UTC).isoformat() for bound in (found.start, found.end))


def _first_difference(what: str, ours: Sequence[str], dagsters: Sequence[str]) -> _Mismatch:
    same = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, dagsters, strict=False))
    )
    shown = slice(max(0, same - 2), same + 4)
    return _Mismatch(what, tuple(ours[shown]), tuple(dagsters[shown]))


def _refusal(plan: WindowPlan, about: datetime, mismatch: _Mismatch) -> ConfigurationError:
    moment = about.astimezone(plan.zone).isoformat()
    return ConfigurationError(
        f"Windows of {plan.duration} do not work in {plan.timezone}: around {moment} Dagster "
        f"{mismatch.what}. Ours: {', '.join(mismatch.ours)}; Dagster's: "
        f"{', '.join(mismatch.dagsters) or 'none'}.",
        hint="Use the zone UTC, another duration, or a range of days without this moment.",
        facts={"expected": list(mismatch.ours), "observed": list(mismatch.dagsters)},
    )

"""Which windows of a range a backfill runs, from what the drive table says of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.moment import midnight
from pipeline_platform.window import Window, WindowPlan


@dataclass(frozen=True)
class Backfill:
    """The windows to run, oldest first, and how many of the range are not.

    failed_before: start of each window whose last run failed, whether or not it is run now.
    """

    windows: tuple[Window, ...]
    not_ready: int
    left_alone: int
    failed_before: frozenset[datetime]


def plan_backfill(
    pipeline: Pipeline,
    store: DriveStore,
    begin: str,
    end: str,
    *,
    failed_only: bool = False,
    missing_only: bool = False,
) -> Backfill:
    """Ready windows that start in `[begin, end)`; each bound is a day or a partition key.

    failed_only: those whose last run failed or died. missing_only: those that no run brought
    through the audit yet, that none holds now, and whose last run did not fail. Both: either.
    Asking again after a backfill finds what is left. ConfigurationError if no window starts in the
    range.
    """
    plan = pipeline.windows
    first, last = _bound(plan, begin), _bound(plan, end)
    every = [window for window in plan.windows(first, last) if first <= window.start]
    if not every:
        raise ConfigurationError(
            f"No window of {pipeline.name} starts in [{begin}, {end}).",
            hint=f"--to is exclusive. {_extent(plan)}",
        )
    ready_until = store.now() - timedelta(seconds=pipeline.x_time_back_seconds)
    ready = [window for window in every if window.end <= ready_until]
    states = {
        (state["window_start_time"], state["window_end_time"]): state
        for state in store.query(
            "window_states", pipeline_name=pipeline.name, from_time=first, to_time=last
        )
    }
    failed = {window for window in every if _failed(states.get((window.start, window.end)))}
    chosen = ready
    if failed_only or missing_only:
        missing = {
            window for window in every
            if window not in failed and _missing(states.get((window.start, window.end)))
        }  # fmt: skip
        wanted = (failed if failed_only else set()) | (missing if missing_only else set())
        chosen = [window for window in ready if window in wanted]
    return Backfill(
        windows=tuple(chosen),
        not_ready=len(every) - len(ready),
        left_alone=len(ready) - len(chosen),
        failed_before=frozenset(window.start for window in failed),
    )


def _bound(plan: WindowPlan, text: str) -> datetime:
    """Local midnight of a day, or the start of the window with this key."""
    try:
        return midnight(date.fromisoformat(text), plan.zone)
    except (ValueError, OverflowError):
        return plan.window_of_key(text).start


def _extent(plan: WindowPlan) -> str:
    until = f" and end before {plan.end_date}" if plan.end_date else ""
    return f"The pipeline's windows begin on {plan.start_date}{until}."


def _failed(state: Mapping[str, Any] | None) -> bool:
    if state is None or state["held"]:
        return False
    return state["last_run_status"] in ("FAILED", "RUNNING")


def _missing(state: Mapping[str, Any] | None) -> bool:
    return state is None or (state["pipeline_status"] != "COMPLETED" and not state["held"])

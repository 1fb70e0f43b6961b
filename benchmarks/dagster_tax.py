"""P11: what Dagster adds to a window. L7: how many events and steps it makes of one."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import dagster as dg

from benchmarks.bench import Bench
from benchmarks.data import key_of_day
from benchmarks.measure import Measure, interleaved, medians, seconds
from benchmarks.projects import project_of, run_first_window, tick

MOST_SECONDS = 0.6
MOST_EVENTS, MOST_STEPS = 80, 5
ROWS = 1_000


def dagster_tax(bench: Bench, kind: str) -> Measure:
    """An in-process Dagster run of a window minus the same steps called one after the other."""
    with bench.world(kind, [ROWS]) as world, project_of(world) as (project, instance):
        pipeline = world.pipeline()
        samples = interleaved(
            bench.repeats * 2,
            {
                "Dagster run": partial(seconds, partial(run_first_window, project, instance)),
                "plain calls": partial(
                    seconds, partial(world.move, pipeline, key_of_day(0))
                ),
            },
            before_each=world.settle,
        )  # fmt: skip
    middle = medians(samples)
    return Measure(
        f"P11.{kind}", middle["Dagster run"] - middle["plain calls"], "s", MOST_SECONDS, "at most",
        samples,
        "Seconds of a Dagster run of one window, as the CLI starts it (`execute_job` in process, "
        "five assets, four checks, SQLite storage, warm process), minus the same window by "
        "`perform` and `store.save` alone.",
    )  # fmt: skip


def events_of_a_run(bench: Bench, kind: str) -> list[Measure]:
    """Dagster events and steps of a run; listings of all partition keys in a run and a tick."""
    with bench.world(kind, [ROWS]) as world, project_of(world) as (project, instance):
        tick(project, instance)
        with counted_key_listings() as listings:
            run_id = run_first_window(project, instance)
            tick(project, instance)
        events = Counter(
            entry.dagster_event.event_type_value
            for entry in instance.all_logs(run_id)
            if entry.dagster_event is not None
        )
    figures = (
        ("events", sum(events.values()), MOST_EVENTS, "Dagster events of one run of a window."),
        ("steps", events["STEP_START"], MOST_STEPS, "Steps of one run of a window."),
        ("key_listings", len(listings), 0,
         "Calls of get_partition_keys() in one run of a window and one tick of its sensor."),
    )  # fmt: skip
    return [
        Measure(f"L7.{name}.{kind}", value, name.replace("_", " "), bar, "at most",
                {name: [float(value)]}, text)
        for name, value, bar, text in figures
    ]  # fmt: skip


@contextmanager
def counted_key_listings() -> Iterator[list[str]]:
    """Filled with one entry per call of `get_partition_keys` of a time-window definition."""
    calls: list[str] = []
    kind = dg.TimeWindowPartitionsDefinition
    listed = kind.get_partition_keys

    def noted(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(str(self))
        return listed(self, *arguments, **options)

    with patch.object(kind, "get_partition_keys", noted):
        yield calls

"""L1: time is linear in rows. L2: memory does not grow with the window."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from benchmarks.bench import Bench
from benchmarks.data import key_of_day
from benchmarks.measure import Measure, Take, interleaved, medians, seconds
from benchmarks.one_window import Job
from benchmarks.world import World

MOST_TIME, MOST_MEMORY = 11.0, 1.15
SIZES = (100_000, 320_000, 1_000_000)
# Both are many batches and more than one row group.
MEMORY_SIZES = (500_000, 5_000_000)
CHILD_SECONDS = 300


def time_by_rows(bench: Bench, kind: str, sizes_wanted: Sequence[int] = SIZES) -> Measure:
    """t(10n)/t(n) of whole windows: measured at the ends, and by a fit over all sizes."""
    sizes = [bench.rows(size) for size in sizes_wanted]
    with bench.world(kind, sizes) as world:
        pipeline = world.pipeline()
        sides: dict[str, Take] = {
            f"{rows} rows": partial(seconds, partial(world.move, pipeline, key_of_day(day)))
            for day, rows in enumerate(sizes)
        }
        world.move(pipeline, key_of_day(0))
        samples = interleaved(bench.repeats, sides, before_each=world.forget_window)
    times = list(medians(samples).values())
    ends = times[-1] / times[0]
    fitted = 10 ** _slope([math.log(size) for size in sizes], [math.log(time) for time in times])
    return Measure(
        f"L1.{kind}", max(ends, fitted), "x", MOST_TIME, "at most", samples,
        f"Time of a whole window of ten times as many rows ({sizes[0]:,}, {sizes[1]:,} and "
        f"{sizes[2]:,} rows, empty target before each): {ends:.2f} between the ends, "
        f"{fitted:.2f} by a power law through all sizes; the greater counts.",
    )  # fmt: skip


def memory_by_rows(bench: Bench, kind: str) -> Measure:
    """Peak resident memory of a fresh process that moves a window, for n and 10n rows."""
    sizes = [bench.rows(size) for size in MEMORY_SIZES]
    with bench.world(kind, sizes) as world:
        world.move(world.pipeline(), key_of_day(0))
        sides: dict[str, Take] = {
            f"{rows} rows": partial(_peak_mib, world, key_of_day(day))
            for day, rows in enumerate(sizes)
        }
        samples = interleaved(bench.repeats, sides, before_each=world.forget_window, warm_up=False)
    small, large = medians(samples).values()
    return Measure(
        f"L2.{kind}", large / small, "x", MOST_MEMORY, "at most", samples,
        f"Peak resident memory (MiB) of a fresh process that moves one window of {sizes[1]:,} "
        f"rows, to one of {sizes[0]:,}; batches of 50,000 rows, row groups of 122,880.",
    )  # fmt: skip


def _slope(xs: list[float], ys: list[float]) -> float:
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return across / sum((a - x) ** 2 for a in xs)


def _peak_mib(world: World, key: str) -> float:
    job = Job(world.kind, str(world.folder), key, world.database)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.one_window", job.as_json()],
        capture_output=True, text=True, timeout=CHILD_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"The window's process failed: {done.stderr[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer["peak_mib"]

"""D1: loading the definitions of a hundred large pipelines. D2: a tick of such a one's sensor."""

import json
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import Bench
from benchmarks.measure import Measure, medians
from benchmarks.projects import Tick, project_of, tick, write_project
from benchmarks.world import World
from pipeline_platform_tests.pipelines import duckdb_config

PIPELINES, PARTITIONS = 100, 10_000
MOST_LOADING, MOST_TICKING = 3.0, 1.0
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney")
CHILD_SECONDS = 120

_LOAD = """
import json, sys, time, warnings
from pathlib import Path
import dagster as dg
from pipeline_platform.project import find_project
warnings.simplefilter("ignore", dg.PreviewWarning)
began = time.perf_counter()
repository = find_project(Path(sys.argv[1])).definitions.get_repository_def()
jobs = len(repository.get_all_jobs())
loaded = time.perf_counter() - began
keys = [list(repository.assets_defs_by_key)[0]]
partitions = repository.assets_defs_by_key[keys[0]].partitions_def.get_num_partitions()
print(json.dumps({"seconds": loaded, "jobs": jobs, "partitions": partitions}))
"""


def definitions_loading(bench: Bench) -> Measure:
    """Seconds to build definitions and repository, in a fresh process, after its imports."""
    pipelines = PIPELINES // 10 if bench.quick else PIPELINES
    samples: list[float] = []
    with TemporaryDirectory(prefix="pipeline-platform-bench-") as name:
        folder = Path(name)
        start = datetime.now(timezone.utc) - timedelta(hours=PARTITIONS + 24)
        configs = [
            duckdb_config(
                f"pipeline_{number:03}",
                schedule={
                    "timezone": ZONES[number % len(ZONES)], "start_date": str(start.date()),
                },
                query_window={"duration": "1h"},
            )
            for number in range(pipelines)
        ]  # fmt: skip
        write_project(folder, {"type": "duckdb", "path": "warehouse.duckdb"}, configs)
        for _ in range(bench.repeats):
            loaded = _in_fresh_process(folder)
            assert loaded["partitions"] >= PARTITIONS
            assert loaded["jobs"] >= pipelines
            samples.append(loaded["seconds"])
    return Measure(
        "D1", medians({"load": samples})["load"], "s", MOST_LOADING, "at most", {"load": samples},
        f"Seconds in a fresh process, after its imports, to load {pipelines} pipelines of more "
        f"than {PARTITIONS:,} hourly partitions each (five time zones in turn) up to the "
        "repository with all its jobs.",
    )  # fmt: skip


def _in_fresh_process(folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(folder)],
        capture_output=True, text=True, timeout=CHILD_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"The definitions did not load: {done.stderr[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def sensor_tick(bench: Bench, kind: str) -> Measure:
    """Seconds of a tick while windows are being registered, and once all of them are."""
    partitions = PARTITIONS // 10 if bench.quick else PARTITIONS
    start = datetime.now(timezone.utc) - timedelta(hours=partitions)
    changes = {"schedule": {"start_date": str(start.date())}, "query_window": {"duration": "1h"}}
    samples: dict[str, list[float]] = {"registering": [], "all registered": []}
    with bench.world(kind, [1]) as world, project_of(world, **changes) as (project, instance):
        last: Tick | None = None
        while len(samples["all registered"]) < bench.repeats:
            before = _registered(world)
            began = time.perf_counter()
            last = tick(project, instance, last.cursor if last else None)
            spent = time.perf_counter() - began
            assert last.requested
            samples["registering" if _registered(world) > before else "all registered"].append(
                spent
            )
        assert _registered(world) >= partitions
    middle = medians(samples)
    return Measure(
        f"D2.{kind}", max(middle.values()), "s", MOST_TICKING, "at most", samples,
        f"Seconds of one tick of the sensor of a pipeline with {partitions:,} due hourly windows "
        f"that all are pending: {middle['registering']:.2f} while it still registers them, "
        f"{middle['all registered']:.2f} afterwards; the greater counts.",
    )  # fmt: skip


def _registered(world: World) -> int:
    [summary] = world.store.query("window_summary", pipeline_name="orders")
    return int(summary["pending"])

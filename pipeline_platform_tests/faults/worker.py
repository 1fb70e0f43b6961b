"""Runs windows in processes that may die: one child per order, forked from a warm process.

`python -m pipeline_platform_tests.faults.worker` reads one JSON order a line and answers each with
the child's exit code: 0 done, -9 killed, 1 failed (its traceback is in the folder's worker.log).
"""

import json
import os
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
from pydantic import TypeAdapter

from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table import build_store
from pipeline_platform.fault_points import VARIABLE
from pipeline_platform.sources import SOURCES
from pipeline_platform.targets import TARGETS
from pipeline_platform_tests.pipelines import make_pipeline, run_window

WARM = (pyarrow.parquet, *[__import__(path.partition(":")[0]) for path in
        (*SOURCES.values(), *TARGETS.values())])  # fmt: skip


def work(order: dict[str, Any]) -> None:
    """Run one window; `keep_open` saves the time that opening a DuckDB file takes, each time."""
    folder = Path(order["folder"])
    pipeline = make_pipeline(order["config"], folder)
    state: Any = TypeAdapter(StateSystem).validate_python(order["state"])
    if order["fault"] is not None:
        os.environ[VARIABLE] = order["fault"]
    with ExitStack() as stack:
        for file in order["keep_open"]:
            stack.enter_context(duckdb.connect(str(folder / file)))
        run_window(pipeline, build_store(state, base_dir=folder), order["key"])


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                work(order)
                os._exit(0)
            except BaseException:
                (Path(order["folder"]) / "worker.log").write_text(traceback.format_exc())
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()

"""Runs windows in processes that may die: one child per order, forked from a warm process.

`python -m pipeline_platform_tests.faults.worker` reads one JSON order a line and answers each with
one JSON line: `code`, the child's exit code (0 done, -9 killed, 1 failed: its traceback is in the
folder's worker.log); `points`, the fault points that it came to; `fired`, those where a fault was.
A child that stopped itself has the code null; the next line, of any content, lets it go on.
"""

import gc
import json
import os
import signal
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import elasticsearch
import psycopg
import pyarrow.parquet
import snowflake.connector
from pydantic import TypeAdapter

from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table import build_store
from pipeline_platform.fault_points import InjectedFaultError, fault_hook
from pipeline_platform.sources import SOURCES
from pipeline_platform.targets import TARGETS
from pipeline_platform_tests.pipelines import make_pipeline, run_window

# What a run would import, some of it only when it is used.
WARM = (elasticsearch, psycopg, pyarrow.parquet, snowflake.connector,
        *[__import__(path.partition(":")[0]) for path in
          (*SOURCES.values(), *TARGETS.values())])  # fmt: skip
POLL_SECONDS = 0.002
FIRED = "!"


class Faults:
    """`load.after_fence:kill`, `#7:raise` (the seventh point that is reached): once each.

    `load.after_commit>save.after_commit:stop`: at the second one, the first time after the first.
    Actions: kill (SIGKILL), raise, stop (SIGSTOP: the process goes on when it is told to).
    """

    def __init__(self, orders: list[str], log: Path) -> None:
        self._orders = dict(order.rsplit(":", 1) for order in orders)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._reached = 0

    def __call__(self, name: str) -> None:
        self._reached += 1
        action = self._orders.pop(f"#{self._reached}", None) or self._orders.pop(name, None)
        for waiting in [order for order in self._orders if order.startswith(f"{name}>")]:
            self._orders[waiting.partition(">")[2]] = self._orders.pop(waiting)
        fault = action in ("kill", "raise")
        os.write(self._log, f"{name}{FIRED if fault else ''}\n".encode())
        if action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action:
            raise InjectedFaultError(f"Injected fault at {name}.")


def work(order: dict[str, Any], log: Path) -> None:
    """Run one window; `keep_open` saves the time that opening a DuckDB file takes, each time."""
    os.environ.update(order["environment"])
    folder = Path(order["folder"])
    pipeline = make_pipeline(order["config"], folder)
    state: Any = TypeAdapter(StateSystem).validate_python(order["state"])
    with ExitStack() as stack:
        for file in order["keep_open"]:
            stack.enter_context(duckdb.connect(str(folder / file)))
        stack.enter_context(fault_hook(Faults(order["faults"], log)))
        # A test looks into the file while the run stands still.
        run_window(pipeline, build_store(state, base_dir=folder), order["key"], keep_open=False)


def end_of(child: int, kill_after: float | None) -> int | None:
    """Its exit code, None if it is stopped; it is killed after so many seconds."""
    deadline = None if kill_after is None else time.monotonic() + kill_after
    while True:
        flags = os.WUNTRACED | (0 if deadline is None else os.WNOHANG)
        ended, status = os.waitpid(child, flags)
        if ended:
            return None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        time.sleep(POLL_SECONDS)


def tell(code: int | None, log: Path) -> None:
    lines = log.read_text().split() if log.exists() else []
    points = [name.rstrip(FIRED) for name in lines]
    fired = [name.rstrip(FIRED) for name in lines if name.endswith(FIRED)]
    print(json.dumps({"code": code, "points": points, "fired": fired}), flush=True)


def main() -> None:
    # What the children share with this process stays shared: the collector writes to all it sees.
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        folder = Path(order["folder"])
        log = folder / f"points-{os.getpid()}.log"
        log.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                work(order, log)
                os._exit(0)
            except BaseException:
                (folder / "worker.log").write_text(traceback.format_exc())
                os._exit(1)
        while (code := end_of(child, order["kill_after"])) is None:
            tell(None, log)
            sys.stdin.readline()
            os.kill(child, signal.SIGCONT)
        tell(code, log)


if __name__ == "__main__":
    main()

"""`python -m pipeline_platform_tests.faults.torture`: a thousand seeded faults, then all rows.

KILLS=1000   cases, each with at least one fault (kill -9, or an error raised) and a clean run
SEED=1       seed of the first case; the others follow. SEED=s KILLS=1 ROWS=1 repeats one
ROWS=1,2     only these rows of the fault matrix; the seeded cases are row 1
PAIRS=a-b    only these pairs; a case's pair follows from its seed and from this

Exits with 1 if anything was lost, doubled or wrong, or if a row's test failed.
"""

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from pipeline_platform_tests.faults.cases import Calm, Case, Result, new_case, run_case
from pipeline_platform_tests.faults.matrix import MATRIX
from pipeline_platform_tests.faults.pair import Findings, Pair
from pipeline_platform_tests.faults.pairs import PAIRS, Servers, new_pair
from pipeline_platform_tests.faults.rows import Told, run_rows
from pipeline_platform_tests.faults.tables import points_table, print_table
from pipeline_platform_tests.servers.elasticsearch import elasticsearch_server
from pipeline_platform_tests.servers.fakesnow import Fakesnow
from pipeline_platform_tests.servers.left_out import in_environment
from pipeline_platform_tests.servers.postgres import PostgresServer
from pipeline_platform_tests.temporary import temporary_files_in_memory

# A window of the Snowflake test server takes ten times as long.
WEIGHTS = {
    "postgres-postgres": 25, "postgres-duckdb": 22, "elasticsearch-postgres": 23,
    "elasticsearch-duckdb": 22, "postgres-snowflake": 4, "elasticsearch-snowflake": 4,
}  # fmt: skip
LANES = 2
TOLD_EVERY = 50


@dataclass
class Tally:
    """What all cases did; lanes add to it."""

    cases: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    began: float = field(default_factory=time.monotonic)
    lock: Lock = field(default_factory=Lock)

    def add(self, result: Result) -> None:
        pair = result.case.pair
        with self.lock:
            self.cases[pair] += 1
            self.injected[pair] += result.injected
            self.killed[pair] += result.killed
            self.reached += result.reached
            self.fired += result.fired
            if result.findings:
                self._fail(pair, str(result.case), result.findings)
            done = self.cases.total()
            if done % TOLD_EVERY == 0:
                seconds = time.monotonic() - self.began
                print(f"{done} cases, {self.injected.total()} faults, {seconds:.0f} s", flush=True)

    def add_end(self, pair: str, findings: Findings) -> None:
        """What a look at all windows of a pair found."""
        with self.lock:
            if findings:
                self._fail(pair, f"{pair}, all windows", findings)

    def _fail(self, pair: str, what: str, findings: Findings) -> None:
        self.failed[pair] += 1
        self.lost += findings.lost
        self.doubled += findings.doubled
        print(f"FAILED {what}\n  lost {findings.lost}, doubled {findings.doubled}", flush=True)
        for text in findings.wrong:
            print(f"  {text}", flush=True)


def plan(kills: int, seed: int, pairs: Sequence[str]) -> dict[str, list[Case]]:
    """The cases of each pair."""
    weights = {pair: WEIGHTS[pair] for pair in pairs}
    planned: dict[str, list[Case]] = {}
    for number in range(seed, seed + kills):
        case = new_case(number, weights)
        planned.setdefault(case.pair, []).append(case)
    return planned


def run_pair(name: str, cases: Sequence[Case], servers: Servers, tally: Tally) -> None:
    """All cases of one pair, one after another, then a look at everything that they moved."""
    with new_pair(name, servers) as pair:
        calm = measure(pair)
        for case in cases:
            tally.add(run_case(case, pair, calm))
        tally.add_end(name, pair.look(list(pair.oracle), all_of=True))


def measure(pair: Pair) -> Calm:
    """The first window creates the tables, the second is like all others."""
    for key in pair.new_windows(2):
        began = time.monotonic()
        ended = pair.run(key)
        if ended.code:
            raise RuntimeError(f"{pair.name} does not run at all: {pair.log()}")
    return Calm(len(ended.points), time.monotonic() - began)


@contextmanager
def started(pairs: Sequence[str]) -> Iterator[Servers]:
    """The servers that these pairs need."""
    names = {name for pair in pairs for name in pair.split("-")}
    running: dict[str, Any] = {}
    with ExitStack() as stack:
        if "postgres" in names:
            running["postgres"] = stack.enter_context(PostgresServer())
        if "elasticsearch" in names:
            running["elasticsearch"] = stack.enter_context(elasticsearch_server())
        if "snowflake" in names:
            server = running["snowflake"] = stack.enter_context(Fakesnow())
            stack.enter_context(in_environment(server.environment))
        yield running.__getitem__


def kill(kills: int, seed: int, pairs: Sequence[str]) -> Tally:
    """The seeded cases of row 1; prints what they did."""
    planned = plan(kills, seed, pairs)
    slowest_first = sorted(planned, key=lambda pair: -len(planned[pair]) / WEIGHTS[pair] ** 2)
    print(f"{kills} cases from seed {seed} on", flush=True)
    tally = Tally()
    with started(list(planned)) as servers, ThreadPoolExecutor(LANES) as lanes:
        done = [lanes.submit(run_pair, pair, planned[pair], servers, tally)
                for pair in slowest_first]  # fmt: skip
        for lane in done:
            lane.result()
    print_table(
        ("pair", "cases", "faults", "killed", "failed"),
        [(pair, tally.cases[pair], tally.injected[pair], tally.killed[pair], tally.failed[pair])
         for pair in planned],
    )  # fmt: skip
    print_table(("phase", "fault point", "reached", "faults"),
                points_table(tally.reached, tally.fired))  # fmt: skip
    return tally


def main() -> int:
    temporary_files_in_memory()
    wanted = os.environ.get("ROWS")
    rows = sorted(MATRIX) if not wanted else [int(row) for row in wanted.split(",")]
    pairs = os.environ.get("PAIRS", ",".join(PAIRS)).split(",")
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    tally = Tally()
    if 1 in rows:
        tally = kill(int(os.environ.get("KILLS") or 1000), seed, pairs)
    tests = [row for row in rows if row != 1]
    told = run_rows(tests) if tests else Told()
    told.passed[1] = tally.injected.total() - tally.failed.total()
    told.failed[1] = tally.failed.total()
    print_table(
        ("row", "fault", "survived", "failed"),
        [(row, MATRIX[row].fault, told.passed[row], told.failed[row]) for row in rows],
    )
    without = [row for row in rows if not told.passed[row]]
    if without:
        print(f"Rows without any fault: {without}")
    faults = told.passed.total() + told.failed.total()
    print(f"{faults} faults, {tally.lost} lost, {tally.doubled} doubled")
    return int(bool(told.failed.total() or told.broken or without or tally.lost or tally.doubled))


if __name__ == "__main__":
    sys.exit(main())

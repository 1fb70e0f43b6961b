"""One source, one target, many small windows; a process that may die; and what must be true.

The oracle is what the test itself wrote to the source: no reader of the platform is asked.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform_tests.faults.connectors import reads_of
from pipeline_platform_tests.faults.systems import Order, Query, Source, Warehouse, order_from
from pipeline_platform_tests.pipelines import make_pipeline, merged

FIRST = datetime(2010, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
ROWS = 20
BATCH_ROWS = 8
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, the points that it came to, those where a fault was.

    The code is None for one that is stopped.
    """

    code: int | None
    points: list[str]
    fired: list[str]


@dataclass
class Findings:
    """What a look at the target found: numbers of rows, and texts about everything else."""

    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.wrong)

    def expect(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.wrong.append(f"{what}: {found}, expected {expected}")


class Worker:
    """The warm process that forks one child for each run; it starts with the first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, order: dict[str, Any]) -> Ended:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline_platform_tests.faults.worker"],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def go_on(self) -> Ended:
        """Wake the child that stopped itself, and wait for its end."""
        return self.run({})

    def close(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Pair:
    """Daily windows `orders`, each used by one test step, so that all share one set of tables."""

    def __init__(
        self,
        name: str,
        source: Source,
        warehouse: Warehouse,
        folder: Path,
        workers: tuple[Worker, Worker],
    ) -> None:
        """`workers`: the second one runs what happens beside a run of the first."""
        self.name = name
        self.source = source
        self.warehouse = warehouse
        self.folder = folder
        self.oracle: dict[str, list[Order]] = {}
        """What the target must hold, by window."""
        self._days = 0
        self._asleep = False
        self.worker, self.other_worker = workers
        self.store.migrate()

    @property
    def store(self) -> DriveStore:
        state: Any = TypeAdapter(StateSystem).validate_python(self.warehouse.state)
        return build_store(state, base_dir=self.folder)

    def config(self, **changes: Any) -> dict[str, Any]:
        """Three batches a window, a source that counts its reads, no grace for old attempts."""
        config: dict[str, Any] = {
            "pipeline_metadata": {"pipeline_name": "orders"},
            "schedule": {"timezone": "UTC", "start_date": FIRST.date().isoformat()},
            "query_window": {"duration": "1d"},
            "source_system": {
                "type": "pipeline_platform_tests.faults.connectors:WatchedSource",
                "query_field": "placed_at",
                "options": {
                    "system": {**self.source.system, "query_field": "placed_at",
                               "batch_rows": BATCH_ROWS},
                },
            },
            "stage_system": {"type": "local", "path": "stage"},
            "target_system": self.warehouse.target,
            "phases": {"stage_cleaning": {"superseded_grace_hours": 0}},
            "retry": {"max_retries": 3, "backoff_strategy": "none"},
        }  # fmt: skip
        return merged(config, changes)

    def pipeline(self, **changes: Any) -> Pipeline:
        return make_pipeline(self.config(**changes), self.folder)

    def new_window(self, rows: int = ROWS) -> str:
        """A day of its own, with the first and the last instant of it; its key."""
        return self.new_windows(1, rows)[0]

    def new_windows(self, number: int, rows: int = ROWS) -> list[str]:
        """So many days, written to the source at once."""
        keys, orders = [], []
        for _ in range(number):
            day = FIRST + self._days * DAY
            self._days += 1
            key = day.date().isoformat()
            self.oracle[key] = _orders(day, rows)
            keys.append(key)
            orders += self.oracle[key]
        self.source.add(orders)
        return keys

    def add_late(self, key: str, rows: int = 3) -> None:
        """More rows in a window that may be loaded already."""
        day = datetime.fromisoformat(key).replace(tzinfo=timezone.utc)
        first = len(self.oracle[key])
        new = [_order(day, number, day + timedelta(hours=7, milliseconds=number))
               for number in range(first, first + rows)]  # fmt: skip
        self.oracle[key] += new
        self.source.add(new)

    def drop_target(self) -> None:
        """Of the windows so far nothing is left in the target, nor expected there."""
        with self.warehouse.open() as query:
            query("DROP TABLE analytics.orders")
            query("DROP TABLE analytics.orders_window_commits")
        self.oracle.clear()

    def run(
        self,
        key: str,
        *faults: str,
        kill_after: float | None = None,
        keep_open: bool = True,
        **changes: Any,
    ) -> Ended:
        """A run of the window in a process of its own; seconds for `kill_after`.

        `keep_open`: a DuckDB file stays open between steps, as in a run of Dagster.
        """
        order = {
            "folder": str(self.folder), "config": self.config(**changes),
            "state": self.warehouse.state, "key": key, "faults": list(faults),
            "kill_after": kill_after,
            "keep_open": self.warehouse.files if keep_open else [],
            "environment": self.warehouse.environment,
        }  # fmt: skip
        ended = self.worker.run(order)
        self._asleep |= ended.code is None
        if not self._asleep:
            self.warehouse.bury_the_dead()
        return ended

    def go_on(self) -> Ended:
        """Wake the run that stopped itself, and wait for its end."""
        ended = self.worker.go_on()
        self._asleep = ended.code is None
        self.warehouse.bury_the_dead()
        return ended

    def run_elsewhere(self, key: str) -> Ended:
        """A run beside one that is stopped."""
        self.worker, self.other_worker = self.other_worker, self.worker
        try:
            return self.run(key)
        finally:
            self.worker, self.other_worker = self.other_worker, self.worker

    def log(self) -> str:
        """Why the last run failed."""
        log = self.folder / "worker.log"
        return log.read_text() if log.exists() else ""

    def reads(self, key: str) -> int:
        return reads_of(self.folder, key)

    def attempts(self, key: str) -> list[Path]:
        """Folders of the window's attempts, oldest first."""
        window = self.folder / "stage" / "orders" / f"{key.replace('-', '')}T000000Z"
        return sorted(window.glob("run*"), key=lambda path: int(path.name[3:]))

    def has_manifest(self, key: str) -> bool:
        """Whether the newest attempt of the window is whole."""
        attempts = self.attempts(key)
        return bool(attempts) and (attempts[-1] / "manifest.json").exists()

    def rows_in_target(self, query: Query, key: str) -> list[Order]:
        """By the window that rows carry, or by their own time: rows of neither are the window's."""
        where = _in_window(key)
        found = query(f"SELECT id, placed_at, amount, note FROM analytics.orders WHERE {where}")
        return sorted(order_from(row) for row in found)

    def after_the_fault(self, key: str, allowed: Sequence[Sequence[Order]]) -> Findings:
        """As a reader of the target sees it now: all of one load or nothing. Leases then end."""
        findings = Findings()
        with self.warehouse.open() as query:
            if _has_table(query):
                seen = self.rows_in_target(query, key)
                if seen not in [sorted(rows) for rows in allowed]:
                    findings.wrong.append(f"{len(seen)} rows of a window half loaded are visible")
            query(self.warehouse.expire_leases)
        return findings

    def look(self, keys: Sequence[str], *, all_of: bool = False) -> Findings:
        """Compare these windows with the oracle; `all_of`: the target holds no other rows."""
        findings = Findings()
        with self.warehouse.open() as query:
            for key in keys:
                self._look_at(query, key, findings)
            if all_of:
                expected = sum(len(self.oracle[key]) for key in keys)
                [(number,)] = query("SELECT count(*) FROM analytics.orders")
                findings.expect("rows in the target", number, expected)
            findings.expect("load tables", self.warehouse.left_over(query), [])
        return findings

    def _look_at(self, query: Query, key: str, findings: Findings) -> None:
        expected = Counter(self.oracle[key])
        found = Counter(self.rows_in_target(query, key))
        findings.lost += (expected - found).total()
        findings.doubled += (found - expected).total()
        day = f"TIMESTAMP '{key} 00:00:00'"
        number = expected.total()
        of_commit = f"pipeline_name = 'orders' AND CAST(window_start AS TIMESTAMP) = {day}"
        findings.expect(
            f"{key}: commit row",
            query("SELECT audit_result, source_rows, stage_rows, target_rows, manifest_hash "
                  f"IS NOT NULL FROM analytics.orders_window_commits WHERE {of_commit}"),
            [("PASS", number, number, number, True)],
        )  # fmt: skip
        runs = [status for (status,) in query(
            "SELECT pipeline_status FROM pipeline_platform.pipeline_execution_drive WHERE "
            f"pipeline_name = 'orders' AND CAST(query_window_start_timestamp AS TIMESTAMP) = {day} "
            "ORDER BY epoch")]  # fmt: skip
        if not runs or runs[-1] not in ("SUCCESS", "SKIPPED") or "RUNNING" in runs:
            findings.wrong.append(f"{key}: drive rows: {runs}")
        findings.expect(
            f"{key}: record after {runs}",
            query("SELECT pipeline_status, audit_result, source_count, target_count, "
                  "owner IS NULL, retry_attempt FROM pipeline_platform.pipeline_records WHERE "
                  f"pipeline_name = 'orders' AND CAST(window_start_time AS TIMESTAMP) = {day}"),
            [("COMPLETED", "PASS", number, number, True, _failures(runs))],
        )  # fmt: skip


def _failures(runs: Sequence[str]) -> int:
    """Failed runs since the last success, which a skip leaves as they are."""
    failures = 0
    for status in runs:
        failures = 0 if status == "SUCCESS" else failures + (status == "FAILED")
    return failures


def _order(day: datetime, number: int, at: datetime) -> Order:
    note = None if number % 5 == 0 else f"n{number} ä'\"\\"
    return Order((day - FIRST).days * 10_000 + number, at, Decimal(number * 7 - 40) / 4, note)


def _orders(day: datetime, rows: int) -> list[Order]:
    """Two at the first instant, one at the last; Elasticsearch keeps milliseconds."""
    times = [day] * min(rows, 2)
    times += [day + number * (DAY / rows) for number in range(2, rows)]
    if rows > 2:
        times[-1] = day + DAY - timedelta(milliseconds=1)
    in_ms = [at.replace(microsecond=at.microsecond // 1000 * 1000) for at in times]
    return [_order(day, number, at) for number, at in enumerate(in_ms)]


def _in_window(key: str) -> str:
    end = (datetime.fromisoformat(key) + DAY).date().isoformat()
    first, last = f"TIMESTAMP '{key} 00:00:00'", f"TIMESTAMP '{end} 00:00:00'"
    return (
        f"(CAST(placed_at AS TIMESTAMP) >= {first} AND CAST(placed_at AS TIMESTAMP) < {last}) "
        f"OR (_pipeline_name = 'orders' AND CAST(_pipeline_window_start AS TIMESTAMP) = {first})"
    )


def _has_table(query: Query) -> bool:
    return bool(query(
        "SELECT 1 FROM information_schema.tables "
        "WHERE LOWER(table_schema) = 'analytics' AND LOWER(table_name) = 'orders'"
    ))  # fmt: skip

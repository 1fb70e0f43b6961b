"""One project for all stories: a pipeline for each, whose rows wait at a gate that a test opens."""

import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg

from pipeline_platform.drive_table.store import LEASE_SECONDS, DriveStore
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.step import STEPS
from pipeline_platform_tests.pipelines import (
    make_pipeline,
    merged,
    postgres_config,
    postgres_store,
    run_window,
)
from pipeline_platform_tests.servers import dagster_graphql
from pipeline_platform_tests.servers.dagster_project import REPOSITORY, DagsterProject
from pipeline_platform_tests.servers.postgres import Database

DAY_BEFORE, DAY = "2024-01-01", "2024-01-02"
ROWS = 100
GATED_ROW = 150
HEALING, HOPELESS, KILLED = "healing", "hopeless", "killed"
ORPHANED, FROZEN, UNTOLD, UNSEEN = "orphaned", "frozen", "untold", "unseen"
CANCELLED, TERMINATED = "cancelled", "terminated"
NAMES = (HEALING, HOPELESS, KILLED, ORPHANED, FROZEN, UNTOLD, UNSEEN, CANCELLED, TERMINATED)
# These read through the gate; the loads of KILLED and CANCELLED go through one.
GATED_SOURCES = (ORPHANED, FROZEN, UNTOLD, UNSEEN, TERMINATED)
GATED = (KILLED, CANCELLED, *GATED_SOURCES)
FAILURES = {HEALING: 3, HOPELESS: 1_000}
RETRIES: Mapping[str, Mapping[str, Any]] = {
    HEALING: {"max_retries": 3, "backoff_strategy": "exponential", "backoff_seconds": 1},
    HOPELESS: {"max_retries": 1, "backoff_strategy": "none"},
}
COLUMNS = "id, placed_at, amount, note"
# A count does not compute the columns of a view, so that only the read waits.
GATE = """
CREATE FUNCTION public.through_gate(gate bigint, id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$ BEGIN
    IF id = {row} THEN PERFORM pg_advisory_xact_lock_shared(gate); END IF;
    RETURN id;
END $$;
CREATE FUNCTION public.load_through_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.id := public.through_gate(TG_ARGV[0]::bigint, NEW.id);
    RETURN NEW;
END $$;
CREATE FUNCTION public.refuse_load() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('public.loads_of_' || TG_TABLE_NAME) <= TG_ARGV[0]::bigint THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
"""
TABLE = """
CREATE TABLE public.{name}_rows (
    id bigint, placed_at timestamptz, amount numeric(12, 2), note text
);
INSERT INTO public.{name}_rows
SELECT i, '2024-01-01Z'::timestamptz + i * interval '14 minutes 24 seconds', i / 7.0,
    CASE WHEN i % 5 = 0 THEN NULL ELSE 'n' || i END
FROM generate_series(0, {rows} * 2 - 1) AS i;
CREATE VIEW public.{name} AS SELECT {id} AS id, placed_at, amount, note FROM public.{name}_rows;
"""


class Place:
    """The project, its database, its pipelines. `state_port` may be a relay's."""

    def __init__(self, folder: Path, database: Database, state_port: int) -> None:
        self.database = database
        self.project = DagsterProject(folder)
        self.backfills: dict[str, str] = {}
        self._holders: dict[str, psycopg.Connection[tuple[object, ...]]] = {}
        shutil.rmtree(folder / "pipeline_platform/defs/flights")
        self.project.settings(concurrency={"runs": {"max_concurrent_runs": 10}})
        state = {**database.as_config(), "port": state_port}
        self.project.component("drive_table", "DriveTable", {"type": "postgres", **state})
        self.store: DriveStore = postgres_store(database, folder)
        with database.connect() as connection:
            connection.execute(GATE.format(row=GATED_ROW).encode())
        for name in NAMES:
            self._pipeline(name)

    def _pipeline(self, name: str) -> None:
        seconds = {"lock_timeout_seconds": 600}
        config = postgres_config(
            self.database,
            name,
            schedule={"start_date": DAY_BEFORE, "end_date": "2024-01-03"},
            source_system={"table": name, **seconds},
            stage_system={"path": "data/stage"},
            target_system={"table": name, **seconds},
            retry={"max_retries": 3, "backoff_strategy": "none"},
        )
        config = merged(config, {"retry": RETRIES.get(name, {})})
        self.project.component(name, "WindowedPipeline", config)
        read = f"public.through_gate({NAMES.index(name)}, id)" if name in GATED_SOURCES else "id"
        with self.database.connect() as connection:
            connection.execute(TABLE.format(name=name, rows=ROWS, id=read).encode())
        if name not in GATED_SOURCES:
            self._guard_target(name, config)

    def _guard_target(self, name: str, config: Mapping[str, Any]) -> None:
        """The first window makes the table; what is loaded after it meets a trigger."""
        run_window(make_pipeline(config, self.project.folder), self.store, DAY_BEFORE)
        trigger = f"CREATE TRIGGER guard BEFORE INSERT ON analytics.{name} FOR EACH"
        if name in FAILURES:
            made = (
                f"CREATE SEQUENCE public.loads_of_{name}; "
                f"{trigger} STATEMENT EXECUTE FUNCTION public.refuse_load({FAILURES[name]})"
            )
        else:
            function = f"public.load_through_gate({NAMES.index(name)})"
            made = f"{trigger} ROW EXECUTE FUNCTION {function}"
        with self.database.connect() as connection:
            connection.execute(made.encode())

    def start_stories(self) -> None:
        """All runs at once: starting one costs seconds, waiting at a gate nothing."""
        self.backfills = {name: self.backfill(name) for name in FAILURES}
        for name in GATED:
            self.close_gate(name)
            self.launch(name)

    def close_gate(self, name: str) -> None:
        """From now on whoever reads or loads the gated row of the pipeline waits."""
        holder = self._holders[name] = self.database.connect()
        holder.execute("SELECT pg_advisory_lock(%s)", [NAMES.index(name)])

    def open_gate(self, name: str) -> None:
        """All go on; safe to repeat."""
        if name in self._holders:
            self._holders.pop(name).close()

    def wait_at_gate(self, name: str) -> int:
        """Wait until a run is at the gate; the process of its worker."""
        self.project.wait_until(f"{name} is at its gate", lambda: self._at_gate(name), 120)
        [run] = [run for run in self.runs(name) if run.status == "STARTED"]
        return self.worker(run.run_id)

    def _at_gate(self, name: str) -> bool:
        waiting = (
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return bool(self.rows(waiting, NAMES.index(name)))

    def worker(self, run_id: str) -> int:
        """The process that Dagster started for the run."""
        started = (re.search(r"\(pid: (\d+)\)", text) for text in self.messages(run_id))
        return int(next(found[1] for found in started if found))

    def messages(self, run_id: str) -> list[str]:
        """What Dagster and the run's steps wrote about the run."""
        query = """query($id: ID!) { logsForRun(runId: $id, limit: 1000) {
            ... on EventConnection { events { ... on MessageEvent { message }
                ... on ExecutionStepFailureEvent { error { message causes { message } } } } } } }"""
        events = self.project.graphql(query, id=run_id)["logsForRun"]["events"]
        texts = [event["message"] for event in events if event.get("message")]
        errors = [event["error"] for event in events if event.get("error")]
        return texts + [one["message"] for error in errors for one in (error, *error["causes"])]

    def assets(self, name: str) -> list[tuple[str, str]]:
        """The keys of a pipeline's assets."""
        return [(name, step) for step in STEPS]

    def backfill(self, name: str) -> str:
        """A backfill of the day, all assets; its id."""
        return dagster_graphql.launch_backfill(self.project, self.assets(name), [DAY])

    def launch(self, name: str) -> None:
        """A run of the day, as a sensor or a person starts it."""
        query = """mutation($params: ExecutionParams!) {
            launchRun(executionParams: $params) { __typename } }"""
        job = {**REPOSITORY, "pipelineName": f"{name}_windows"}
        tags = [{"key": "dagster/partition", "value": DAY}]
        params = {"selector": job, "mode": "default", "executionMetadata": {"tags": tags}}
        launched = self.project.graphql(query, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched

    def cancel(self, name: str) -> None:
        """What `Terminate` in the UI does to the run of the pipeline that is under way."""
        [run] = [run for run in self.runs(name) if run.status == "STARTED"]
        query = """mutation($id: String!) {
            terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename } }"""
        ended = self.project.graphql(query, id=run.run_id)["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess", ended

    def runs(self, name: str) -> list[dagster_graphql.Run]:
        """Dagster's runs of the pipeline, oldest first."""
        return dagster_graphql.runs_of(self.project, name)

    def drive_rows(self, name: str) -> list[ExecutionRow]:
        """The day's runs in the drive table, oldest first."""
        return [
            row
            for row in reversed(self.store.latest_runs(name, 50))
            if row.query_window_start_timestamp.date().isoformat() == DAY
        ]

    def wait_for_row(self, name: str, status: str, number: int = 1) -> ExecutionRow:
        """Wait until so many of the day's runs ended so; the last of them."""

        def found() -> list[ExecutionRow]:
            rows = [row for row in self.drive_rows(name) if row.pipeline_status == status]
            return rows if len(rows) >= number else []

        return self.project.wait_until(f"{name} {status} {number}", found, 180)[number - 1]

    def wait_until_right(self, name: str) -> None:
        """Wait until a run made the window right and ended; then look at everything."""
        self.wait_for_row(name, "SUCCESS")
        self.project.wait_until(
            f"{name} has ended",
            lambda: self.runs(name)[-1].status == "SUCCESS",
            60,
        )
        self._require_right(name)

    def end_lease(self, name: str) -> None:
        """What five minutes without a heartbeat do, at once: the lease is over, and Dagster
        heard nothing of the run for the time of a lease."""
        self.rows(
            "UPDATE pipeline_platform.pipeline_records "
            "SET lease_until = clock_timestamp() - interval '1 second' "
            "WHERE pipeline_name = %s AND owner IS NOT NULL RETURNING 1",
            name,
        )
        long_ago = datetime.now(timezone.utc) - timedelta(seconds=LEASE_SECONDS + 1)
        started = [run.run_id for run in self.runs(name) if run.status == "STARTED"]
        for run_id in started:
            file = self._history / "runs.db"
            with closing(sqlite3.connect(file, timeout=30)) as storage, storage:
                storage.execute(
                    "UPDATE runs SET update_timestamp = ? WHERE run_id = ?",
                    [str(long_ago.replace(tzinfo=None)), run_id],
                )

    @contextmanager
    def dagster_storage_away(self) -> Iterator[None]:
        """Nobody can open Dagster's storage of runs and events, or make a new one in its place."""
        history = self._history.rename(self._history.with_name("away"))
        self._history.write_text("in the place of the folder")
        try:
            yield
        finally:
            self._history.unlink()
            history.rename(self._history)

    @property
    def _history(self) -> Path:
        return self.project.folder / "data/dagster/history"

    def _require_right(self, name: str) -> None:
        """Target = source, the record is COMPLETED and free, the commit says PASS."""
        where = f"WHERE placed_at >= '{DAY}Z' AND placed_at < '2024-01-03Z'"
        expected = self.rows(f"SELECT {COLUMNS} FROM public.{name}_rows {where} ORDER BY id")
        assert len(expected) == ROWS
        assert self.rows(f"SELECT {COLUMNS} FROM analytics.{name} {where} ORDER BY id") == expected
        assert self.record(name, "pipeline_status, audit_result, source_count, target_count") == (
            "COMPLETED", "PASS", ROWS, ROWS,
        )  # fmt: skip
        commits = (
            f"SELECT audit_result, target_rows FROM analytics.{name}_window_commits "
            "WHERE window_start = %s"
        )
        assert self.rows(commits, f"{DAY}T00:00Z") == [("PASS", ROWS)]
        assert self.drive_rows(name)[-1].pipeline_status == "SUCCESS"

    def record(self, name: str, columns: str) -> tuple[Any, ...]:
        """Columns of the day's record."""
        [found] = self.rows(
            f"SELECT {columns} FROM pipeline_platform.pipeline_records "
            "WHERE pipeline_name = %s AND window_start_time = %s",
            name,
            f"{DAY}T00:00Z",
        )
        return found

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            return connection.execute(statement.encode(), values).fetchall()


def end_process(pid: int) -> None:
    """SIGKILL, and wait until the process is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def wait_until_gone(pid: int, seconds: float = 30.0) -> None:
    """Wait until a process that is not our child has ended."""
    _wait(lambda: not is_alive(pid), seconds)


def is_alive(pid: int) -> bool:
    """Whether the process works still; one that nobody has waited for does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def processes_of(folder: Path, *words: str) -> list[int]:
    """Processes that were started in the folder with all the words in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if (process / "cwd").resolve() == folder and all(word in command for word in words):
                found.append(int(process.name))
    return found


def _wait(look: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.1)

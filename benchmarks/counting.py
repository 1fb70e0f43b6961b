"""P10: what the counting and proving costs of a window. L5: how many statements a window takes."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import duckdb

from benchmarks.bench import Bench
from benchmarks.data import key_of_day
from benchmarks.measure import Measure, Stopwatch, medians, seconds
from benchmarks.projects import project_of, run_first_window
from benchmarks.world import EMBEDDED, POSTGRES, World
from pipeline_platform.connections.postgres_kept_open import RESET, close_kept_sessions
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.step import STEPS
from pipeline_platform.sources import duckdb as duckdb_source
from pipeline_platform.sources import postgres as postgres_source
from pipeline_platform.sources.elasticsearch import source as elasticsearch_source
from pipeline_platform.stages import parquet
from pipeline_platform.stages.summary import SummaryOfColumns
from pipeline_platform.targets.sql_target import SqlTarget

MOST_SHARE = 15.0
# Of the source's snapshot, the stage and the target; the sums of columns and the hashes of files as
# they are written, and their proof inside the load.
COUNTS_AND_CHECKSUM = (
    "snapshot count", "stage count", "target count", "column sums", "sha256", "verification",
)  # fmt: skip
ROWS = 500_000
# By kind of source: the module, and its function that counts at the source.
_SNAPSHOT_COUNTS: dict[str, tuple[ModuleType, str]] = {
    EMBEDDED: (duckdb_source, "_count"),
    POSTGRES: (postgres_source, "_count"),
    "elasticsearch": (elasticsearch_source, "document_count"),
}
FEW_ROWS, MANY_ROWS = 1_000, 100_000
# Of the first ones; later ones grow, so that the files are about 900.
ROWS_PER_FILE = 25


def audit_share(bench: Bench, kind: str, rows: int = ROWS) -> Measure:
    """Wall time of the three counts and the checksum, as a share of a window's Dagster run."""
    names = ("window", "audits")
    samples: dict[str, list[float]] = {name: [] for name in names}
    shares: list[float] = []
    all_shares: list[float] = []
    parts: dict[str, list[float]] = {}
    with (
        bench.world(kind, [bench.rows(rows)]) as world,
        project_of(world) as (project, instance),
    ):
        move = partial(run_first_window, project, instance)
        move()
        for _ in range(bench.repeats):
            world.forget_window()
            watch = Stopwatch()
            with timed_audits(watch, world.pipeline()):
                window = seconds(move)
            audits = sum(watch.seconds.get(part, 0.0) for part in COUNTS_AND_CHECKSUM)
            shares.append(100 * audits / window)
            all_shares.append(100 * sum(watch.seconds.values()) / window)
            for name, value in zip(names, (window, audits), strict=True):
                samples[name].append(value)
            for name, value in watch.seconds.items():
                parts.setdefault(name, []).append(value)
    middle = medians(parts)
    shown, others = (
        ", ".join(
            f"{name} {1000 * value:.0f} ms"
            for name, value in sorted(middle.items(), key=lambda part: -part[1])
            if (name in COUNTS_AND_CHECKSUM) == counted
        )
        for counted in (True, False)
    )
    return Measure(
        f"P10.{kind}", medians({"share": shares})["share"], "%", MOST_SHARE, "at most",
        samples | parts,
        f"Share of the wall time of a window of {bench.rows(rows):,} rows (its Dagster run) spent "
        f"in the three counts and the checksum ({shown}); the summing and hashing of written rows, "
        "which runs in a thread beside the reading, counts in full. Not in it are the looks before "
        f"and after ({others}); with them it is {medians({'share': all_shares})['share']:.1f} %.",
    )  # fmt: skip


@contextmanager
def timed_audits(watch: Stopwatch, pipeline: Pipeline) -> Iterator[None]:
    """Within the block, what counts or proves is timed; it does what it always does.

    Early source count, snapshot's count, stage count, target count, the whole audit asset, null
    counts and sums of written rows, sha256 of written files, and the verification inside the load.
    """
    source, snapshot_count = _SNAPSHOT_COUNTS[pipeline.config.source_system.type]

    def sha256() -> Any:
        digest = hashlib.sha256()
        update = watch.timed("sha256", digest.update)
        return SimpleNamespace(update=update, hexdigest=digest.hexdigest)

    with ExitStack() as stack:
        for owner, name, part in (
            (type(pipeline.source), "count", "source count"),
            (source, snapshot_count, "snapshot count"),
            (type(pipeline.stage), "count", "stage count"),
            (type(pipeline.target), "count", "target count"),
            (SummaryOfColumns, "add", "column sums"),
            (SqlTarget, "_verify", "verification"),
        ):
            function: Callable[..., Any] = getattr(owner, name)
            stack.enter_context(patch.object(owner, name, watch.timed(part, function)))
        audit = watch.timed("audit asset", STEPS["audit"])
        stack.enter_context(patch.dict(STEPS, {"audit": audit}))
        stack.enter_context(patch.object(parquet, "hashlib", SimpleNamespace(sha256=sha256)))
        yield


def statement_counts(bench: Bench, kind: str) -> Measure:
    """SQL statements of a window of few rows, of many, and of many in hundreds of files."""
    many = bench.rows(MANY_ROWS)
    cases: tuple[tuple[str, int, dict[str, Any]], ...] = (
        (f"{FEW_ROWS} rows", 0, {}),
        (f"{many} rows", 1, {}),
        ("many files", 1, {"stage_system": {"rows_per_file": ROWS_PER_FILE}}),
    )
    samples: dict[str, list[float]] = {}
    files = 0
    with bench.world(kind, [FEW_ROWS, many]) as world:
        for name, day, changes in cases:
            pipeline = world.pipeline(**changes)
            # The first run of a window also registers it.
            world.move(pipeline, key_of_day(day))
            world.forget_window()
            with counted_statements(world) as statements:
                row = world.move(pipeline, key_of_day(day))
            files = row.phases["source_to_stage_transfer"].phase_specific_details["files"]
            assert files > 100 if changes else files == 1
            samples[name] = [float(len(statements))]
    counts = [values[0] for values in samples.values()]
    return Measure(
        f"L5.{kind}", max(counts) - min(counts), "statements", 0, "at most", samples,
        f"Difference in SQL statements of one window between {FEW_ROWS:,} rows, {many:,} rows, and "
        f"{many:,} rows staged as {files:,} files "
        f"({'/'.join(f'{count:.0f}' for count in counts)} statements).",
    )  # fmt: skip


@contextmanager
def counted_statements(world: World) -> Iterator[list[str]]:
    """Filled on leaving: every statement that reached the database within the block.

    PostgreSQL's are those in the server's own log, DuckDB's those that its connections were given.
    """
    if world.database is None:
        with _duckdb_statements() as statements:
            yield statements
        return
    assert world.log is not None
    statements = []
    world.at_target(f"ALTER DATABASE {world.database.name} SET log_statement = 'all'")
    close_kept_sessions()  # those that are open do not log
    start = world.log.stat().st_size
    try:
        yield statements
    finally:
        world.at_target(f"ALTER DATABASE {world.database.name} RESET log_statement")
    with world.log.open(errors="replace") as log:
        log.seek(start)
        # The reset comes over a connection that logs, as it began while the setting stood. A kept
        # session is asked to be as new before each use.
        found = re.findall(r"LOG:  (?:statement|execute [^:]*): (.+)", log.read())
        ours = ("RESET log_statement", RESET.decode())
        statements += [text for text in found if not text.endswith(ours)]


class _Counting:
    """A DuckDB connection that notes what it is given to run."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
        self._connection = connection
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in ("execute", "executemany", "sql", "query", "begin", "commit", "rollback"):
            return found

        def noted(*arguments: Any, **options: Any) -> Any:
            self._statements.append(str(arguments[0]) if arguments else name)
            return found(*arguments, **options)

        return noted


@contextmanager
def _duckdb_statements() -> Iterator[list[str]]:
    statements: list[str] = []
    connect = duckdb.connect

    def counting(*arguments: Any, **options: Any) -> Any:
        return _Counting(connect(*arguments, **options), statements)

    with patch.object(duckdb, "connect", counting):
        yield statements

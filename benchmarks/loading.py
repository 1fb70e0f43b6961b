"""P9: a load with all its proof against the bare copy of the same files. L4: flat in the target."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import adbc_driver_postgresql.dbapi
import duckdb
import psycopg
import pyarrow as pa

from benchmarks.bench import Bench
from benchmarks.data import key_of_day
from benchmarks.measure import Measure, Take, interleaved, median_of_ratios, medians, seconds
from benchmarks.world import POSTGRES, World
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.movement import (
    PIPELINE_COLUMN,
    WINDOW_COLUMN,
    AttemptPath,
    LoadRequest,
    Manifest,
    WindowSlice,
)
from pipeline_platform.targets.columns import TargetColumn
from pipeline_platform.targets.postgres import PostgresTableTarget
from pipeline_platform.targets.postgres_copy import HEADER, TRAILER, encode, timestamp_bytes
from pipeline_platform.targets.staged_files import batches, open_file

LOAD_RATE = 0.75
MOST_BY_TARGET_SIZE = 1.5
ROWS = 500_000
FULLER = 50


@dataclass
class Staged:
    """One window's Parquet files, and the target table they fit, which exists."""

    world: World
    pipeline: Pipeline
    window: WindowSlice
    manifest: Manifest
    files: tuple[str, ...]

    @classmethod
    def of(cls, world: World, day: int) -> "Staged":
        pipeline = world.pipeline()
        window = pipeline.windows.window_of_key(key_of_day(day)).slice(pipeline.name)
        with pipeline.source.read(window) as snapshot:
            manifest = pipeline.stage.write(
                AttemptPath(window, 1),
                snapshot,
                pipeline_id="bench",
                query_field="placed_at",
                config_hashes=pipeline.hashes,
                still_ours=lambda: None,
            )
        pipeline.target.prepare(manifest.schema)
        return cls(world, pipeline, window, manifest, pipeline.stage.locations(manifest))

    def load(self, epoch: int = 1) -> None:
        """What the platform does: fence, delete, copy, counts, sums, commit row, commit."""
        loaded = self.pipeline.target.load(
            LoadRequest(self.manifest, epoch, self.files, Decimal(0))
        )
        assert loaded.counts.by_window_column == self.manifest.rows

    def require_rows(self) -> None:
        """Whoever loaded last loaded all rows."""
        assert self.pipeline.target.count(self.window).by_window_column == self.manifest.rows

    def bare_duckdb(self) -> None:
        """One INSERT from the files in one transaction."""
        with duckdb.connect(str(self.world.folder / "warehouse.duckdb")) as connection:
            connection.execute("BEGIN")
            connection.execute(
                "INSERT INTO analytics.orders SELECT *, $1, $2::TIMESTAMPTZ FROM read_parquet($3)",
                [self.window.pipeline_name, self.window.start, list(self.files)],
            )
            connection.execute("COMMIT")

    def bare_copy(self) -> None:
        """One binary COPY in one transaction, with the platform's own encoder."""
        assert self.world.database is not None
        columns = self._columns()
        start = round(self.window.start.timestamp()) * 1_000_000
        constants = [self.window.pipeline_name.encode(), timestamp_bytes(start)]
        with (
            psycopg.connect(self.world.database.url) as connection,
            connection.cursor() as cursor,
            cursor.copy("COPY analytics.orders FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.write(HEADER)
            for location in self.files:
                with open_file(location) as file:
                    for batch in batches(file):
                        for part in encode(batch, columns, constants):
                            copy.write(part)
            copy.write(TRAILER)

    def _columns(self) -> list[TargetColumn]:
        target = self.pipeline.target
        assert isinstance(target, PostgresTableTarget)
        with target._connect(read_only=True) as session:
            table = target._table(session, "orders")
        assert table is not None
        return [table.column(name) for name in self.manifest.schema.names]

    def bare_adbc(self) -> None:
        """The ADBC driver's bulk ingest, in one transaction."""
        assert self.world.database is not None
        zoned = pa.timestamp("us", "UTC")
        schema = self.manifest.schema.append(pa.field(PIPELINE_COLUMN, pa.string()))
        schema = schema.append(pa.field(WINDOW_COLUMN, zoned))

        def rows() -> Iterator[pa.RecordBatch]:
            for location in self.files:
                with open_file(location) as file:
                    for batch in batches(file):
                        name = pa.repeat(self.window.pipeline_name, batch.num_rows)
                        start = pa.repeat(pa.scalar(self.window.start, zoned), batch.num_rows)
                        yield pa.RecordBatch.from_arrays(
                            [*batch.columns, name, start], schema=schema
                        )

        with (
            adbc_driver_postgresql.dbapi.connect(self.world.database.url) as connection,
            connection.cursor() as cursor,
        ):
            reader = pa.RecordBatchReader.from_batches(schema, rows())
            cursor.adbc_ingest("orders", reader, mode="append", db_schema_name="analytics")
            connection.commit()


def load_rate(bench: Bench, kind: str, rows: int = ROWS) -> Measure:
    """Rows a second of `target.load` over those of the fastest bare way, tables equal."""
    with bench.world(kind, [bench.rows(rows)]) as world:
        staged = Staged.of(world, 0)
        bare: dict[str, Callable[[], None]] = (
            {"bare COPY": staged.bare_copy, "adbc_ingest": staged.bare_adbc}
            if kind == POSTGRES
            else {"bare insert": staged.bare_duckdb}
        )
        for load in bare.values():
            world.empty_target()
            load()
            staged.require_rows()
        sides: dict[str, Take] = {"load": partial(seconds, staged.load)}
        sides |= {name: partial(seconds, load) for name, load in bare.items()}
        samples = interleaved(bench.repeats, sides, before_each=world.empty_target)
    rates = {name: median_of_ratios(samples, name, "load") for name in bare}
    shown = ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
    return Measure(
        f"P9.{kind}", min(rates.values()), "x", LOAD_RATE, "at least", samples,
        f"Rows a second of `target.load` (fence, copy, counts, sums, commit row) of "
        f"{bench.rows(rows):,} rows of Parquet into an existing, empty, logged table with its "
        f"indexes, to the bare way into an equal table in one transaction; the fastest peer counts "
        f"({shown}).",
    )  # fmt: skip


def load_by_target_size(bench: Bench, kind: str) -> Measure:
    """Seconds to load one window into a target that holds it and 50 times as many rows, or not."""
    rows = bench.rows(50_000)
    with bench.world(kind, [rows]) as small, bench.world(kind, [rows]) as full:
        loads = {}
        for name, world in (("empty", small), (f"{FULLER} windows", full)):
            staged = Staged.of(world, 0)
            staged.load(1)
            if world is full:
                _fill(staged)
            world.settle()
            loads[name] = _Reload(staged)
        sides: dict[str, Take] = {name: partial(seconds, load) for name, load in loads.items()}
        samples = interleaved(bench.repeats * 2, sides)
    low, high = medians(samples).values()
    return Measure(
        f"L4.{kind}", high / low, "x", MOST_BY_TARGET_SIZE, "at most", samples,
        f"Seconds to replace one window of {rows:,} rows where the target holds {FULLER} more "
        f"windows of that size, against one where it holds none.",
    )  # fmt: skip


class _Reload:
    """Loads the same window again and again, each time at the next epoch."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self._epoch = 1

    def __call__(self) -> None:
        self._epoch += 1
        self._staged.load(self._epoch)


def _fill(staged: Staged) -> None:
    """Copies of the window's rows as windows of the days after, with commit rows."""
    numbers = "generate_series(1, {}) AS days(n)" if staged.world.kind == POSTGRES else (
        "(SELECT unnest(range(1, {} + 1)) AS n) AS days"
    )  # fmt: skip
    later = "n * INTERVAL '1 day'"
    moved = {"placed_at": f"placed_at + {later}", WINDOW_COLUMN: f"{WINDOW_COLUMN} + {later}"}
    names = [*staged.manifest.schema.names, PIPELINE_COLUMN, WINDOW_COLUMN]
    staged.world.at_target(
        f"INSERT INTO analytics.orders SELECT {', '.join(moved.get(n, n) for n in names)} "
        f"FROM analytics.orders, {numbers.format(FULLER)} ORDER BY n"
    )
    moved = {name: f"{name} + {later}" for name in ("window_start", "window_end")}
    names = ["pipeline_name", "window_start", "window_end", "epoch", "manifest_hash", "updated_at"]
    staged.world.at_target(
        f"INSERT INTO analytics.orders_window_commits ({', '.join(names)}) "
        f"SELECT {', '.join(moved.get(n, n) for n in names)} "
        f"FROM analytics.orders_window_commits, {numbers.format(FULLER)}"
    )
    staged.world.at_target("ANALYZE")

"""The target contract on DuckDB, and what only DuckDB does."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import pipeline_platform
from pipeline_platform.config.systems import DuckDBTarget
from pipeline_platform.connections.duckdb_kept_open import duckdb_kept_open
from pipeline_platform.errors import ClaimLostError, PermanentError, TransientError
from pipeline_platform.fault_points import VARIABLE, fault_hook
from pipeline_platform.movement import TargetCounts, WindowSlice
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets import build_target
from pipeline_platform.targets.base import Target
from pipeline_platform.targets.duckdb import DuckDBTableTarget
from pipeline_platform.targets.sql_table import COMMITS_SUFFIX
from pipeline_platform_tests.targets.contract import TargetContract
from pipeline_platform_tests.targets.contract_bucket import BucketContract
from pipeline_platform_tests.targets.staged import HOUR, SCHEMA, START, WINDOW, Staging, rows_of
from pipeline_platform_tests.targets.warehouse import CREATED_AT, ROWS, TargetTests, Warehouse

PROJECT = Path(pipeline_platform.__file__).parent.parent
HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"


class DuckDBFile(Warehouse):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "data" / "warehouse.duckdb"

    def target(
        self, *, table: str = "orders", query_field: QueryField = CREATED_AT, **settings: Any
    ) -> Target:
        fields = {"schema": "analytics", "path": "data/warehouse.duckdb", **settings}
        system = DuckDBTarget(type="duckdb", table=table, **fields)
        return build_target(system, query_field=query_field, base_dir=self.folder)

    def execute(self, statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        self.path.parent.mkdir(exist_ok=True)
        with duckdb.connect(self.path) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(statement, parameters).fetchall()


class TestDuckDBTarget(TargetContract, BucketContract):
    @pytest.fixture
    def warehouse(self, tmp_path: Path) -> Iterator[DuckDBFile]:
        """Its file stays open between two calls, as in a step of a run."""
        with duckdb_kept_open():
            yield DuckDBFile(tmp_path)

    def assert_equal(self, warehouse: Warehouse, table: pa.Table) -> None:
        assert isinstance(warehouse, DuckDBFile)
        with duckdb.connect(warehouse.path) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            reader = connection.sql(
                "SELECT * EXCLUDE (_pipeline_name, _pipeline_window_start) "
                "FROM analytics.orders ORDER BY created_at"
            )
            stored = reader.to_arrow_table()
        for name in table.schema.names:
            staged = table[name]
            wanted = pa.string() if pa.types.is_null(staged.type) else staged.type
            found = stored[name].cast(wanted).combine_chunks()
            assert str(found.to_pylist()) == str(staged.combine_chunks().to_pylist()), name


class TestDuckDBFile(TargetTests):
    """The file is closed after each call."""

    @pytest.fixture
    def warehouse(self, tmp_path: Path) -> DuckDBFile:
        return DuckDBFile(tmp_path)

    def test_a_commit_table_that_cannot_be_read_is_not_taken_for_missing(
        self, warehouse: DuckDBFile
    ) -> None:
        """Its rows say how far others were: without them a run would begin anew."""
        target = warehouse.target()
        warehouse.execute("CREATE SCHEMA analytics")
        assert target.commit_row(WINDOW) is None
        commits = "analytics.orders" + COMMITS_SUFFIX
        warehouse.execute("CREATE TABLE analytics.base (a INTEGER)")
        warehouse.execute(f"CREATE VIEW {commits} AS SELECT * FROM analytics.base")
        warehouse.execute("DROP TABLE analytics.base")
        with pytest.raises(PermanentError, match="base"):
            target.commit_row(WINDOW)

    def test_prepares_from_eight_threads(self, warehouse: DuckDBFile) -> None:
        target = warehouse.target()
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(target.prepare, SCHEMA) for _ in range(8)]:
                done.result(60)
        assert target.count(WINDOW) == TargetCounts(0, 0)

    def test_a_file_that_another_process_holds(
        self, warehouse: DuckDBFile, target: Target, staging: Staging
    ) -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(warehouse.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            impatient = warehouse.target(lock_timeout_seconds=0.2)
            with pytest.raises(TransientError, match="held by another process"):
                impatient.load(staging.request(ROWS))
            checks = impatient.check()
            assert [(check.passed, check.transient) for check in checks] == [(False, True)]
        finally:
            holder.communicate(b"\n", timeout=30)
        target.load(staging.request(ROWS))
        assert warehouse.ids() == list(range(23))

    @pytest.mark.parametrize("point", ["load.after_insert", "load.after_commit"])
    @pytest.mark.fault_row(1)
    def test_kill_9(
        self,
        point: str,
        warehouse: DuckDBFile,
        target: Target,
        staging: Staging,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        target.load(staging.request(ROWS))
        module = "pipeline_platform_tests.targets.load_once"
        monkeypatch.setenv(VARIABLE, f"{point}:kill")
        killed = subprocess.run(
            [sys.executable, "-m", module, str(warehouse.folder), "2"],
            cwd=PROJECT, timeout=120, check=False,
        )  # fmt: skip
        monkeypatch.delenv(VARIABLE)
        assert killed.returncode == -signal.SIGKILL
        committed = point == "load.after_commit"
        row = target.commit_row(WINDOW)
        assert row is not None
        assert row.epoch == (2 if committed else 1)
        assert warehouse.ids() == (list(range(500, 509)) if committed else list(range(23)))
        target.load(staging.request(ROWS, epoch=3))
        assert warehouse.ids() == list(range(23))

    def test_threads_of_one_process(
        self, warehouse: DuckDBFile, target: Target, staging: Staging
    ) -> None:
        """DuckDB refuses the slower of two writers; what stands is one whole load."""
        requests = [staging.request(rows_of(9, first=1000 * n), epoch=n) for n in range(1, 6)]

        def load(index: int) -> int:
            try:
                return target.load(requests[index]).commit.epoch
            except (ClaimLostError, TransientError):
                return 0

        with ThreadPoolExecutor(5) as pool:
            committed = list(pool.map(load, range(5)))
        row = target.commit_row(WINDOW)
        assert row is not None
        assert row.epoch == max(committed) > 0
        assert warehouse.ids() == list(range(1000 * row.epoch, 1000 * row.epoch + 9))

    @pytest.mark.parametrize("enough", [True, False])
    def test_a_load_takes_little_memory_or_what_it_needs(
        self,
        enough: bool,
        warehouse: DuckDBFile,
        staging: Staging,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if not enough:
            for name in ("LOAD_MEMORY_BYTES", "GROUPS_PER_THREAD", "BLOCK_BYTES"):
                monkeypatch.setattr(f"pipeline_platform.targets.duckdb.{name}", 1)
        target = warehouse.target()
        target.prepare(SCHEMA)
        settings = "SELECT current_setting('memory_limit'), current_setting('threads')"
        settings += ", current_setting('preserve_insertion_order')"
        many = rows_of(3_000)
        with duckdb.connect(warehouse.path) as beside:
            before = beside.execute(settings).fetchall()
            for epoch in (1, 2):
                target.load(staging.request(many, epoch=epoch))
                assert beside.execute(settings).fetchall() == before
        assert target.count(WINDOW) == TargetCounts(3_000, 3_000)
        assert isinstance(target, DuckDBTableTarget)
        assert bool(target._need_more_memory) is not enough

    def test_threads_with_overlapping_windows(
        self, warehouse: DuckDBFile, target: Target, staging: Staging
    ) -> None:
        windows = [WindowSlice("orders", START, START + hours * HOUR) for hours in (1, 2)]
        both = threading.Barrier(2)
        requests = [
            staging.request(rows_of(6, window), epoch=epoch, window=window)
            for epoch, window in enumerate(windows, 1)
        ]

        def meet(name: str) -> None:
            if name == "load.after_fence":
                both.wait(30)

        with fault_hook(meet), ThreadPoolExecutor(2) as pool:
            done = [pool.submit(target.load, request) for request in requests]
            failed = [future.exception(60) for future in done]
        assert [type(error) for error in failed].count(TransientError) >= 1
        committed = [window for window in windows if (row := target.commit_row(window))
                     and row.manifest_hash is not None]  # fmt: skip
        assert len(committed) <= 1
        assert len(warehouse.ids()) == 6 * len(committed)

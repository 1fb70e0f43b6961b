"""The drive store in a DuckDB file."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline_platform.config.systems import DuckDBState
from pipeline_platform.connections.duckdb_kept_open import duckdb_kept_open
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import PermanentError, TransientError
from pipeline_platform_tests.drive_table.contract import DriveStoreContract, DriveStoreTests
from pipeline_platform_tests.drive_table.examples import Raw, a_record, key_of

STATE = DuckDBState(path="data/state.duckdb", schema="my state")


class TestDuckDBStore(DriveStoreContract):
    @pytest.fixture
    def base_dir(self, tmp_path: Path) -> Iterator[Path]:
        """Its file stays open between two calls, as in a step of a run."""
        with duckdb_kept_open():
            yield tmp_path

    @pytest.fixture
    def state(self) -> DuckDBState:
        return STATE

    @pytest.fixture
    def raw(self, base_dir: Path) -> Raw:
        def execute(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            with duckdb.connect(base_dir / "data/state.duckdb") as connection:
                result = connection.execute(sql.replace("{}", '"my state".'))
                return [column[0] for column in result.description or ()], result.fetchall()

        return execute


class TestDuckDBFile(DriveStoreTests):
    """The file is closed after each call."""

    @pytest.fixture
    def base_dir(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.fixture
    def state(self) -> DuckDBState:
        return STATE

    def test_a_file_that_another_process_holds(self, store: DriveStore, base_dir: Path) -> None:
        hurried = build_store(
            STATE.model_copy(update={"lock_timeout_seconds": 0.2}), base_dir=base_dir
        )
        code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
        path = base_dir / "data/state.duckdb"
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as holder:  # fmt: skip
            assert holder.stdout is not None
            holder.stdout.readline()
            with pytest.raises(TransientError, match="held by another process"):
                hurried.claim(a_record(), "run-1")
            with pytest.raises(TransientError, match="held by another process"):
                hurried.record(key_of())
            holder.communicate("\n", timeout=10)
        assert hurried.claim(a_record(), "run-1") is not None

    def test_reading_what_was_never_migrated(self, unmigrated: DriveStore) -> None:
        with pytest.raises(PermanentError, match="does not exist"):
            unmigrated.record(key_of())

    def test_name(self, store: DriveStore) -> None:
        assert store.name == "duckdb data/state.duckdb my state"

"""A file stays open between uses of a step, and never longer than somebody else can wait."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from pipeline_platform.connections.duckdb import connect_duckdb
from pipeline_platform.connections.duckdb_kept_open import IDLE_SECONDS, duckdb_kept_open

OPEN = "import duckdb, sys; duckdb.connect(sys.argv[1]).close()"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file.duckdb"
    with duckdb.connect(file) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    return file


def use(path: Path, *, read_only: bool = False) -> None:
    with connect_duckdb(path, read_only=read_only, lock_timeout_seconds=5) as connection:
        connection.execute("FROM t" if read_only else "INSERT INTO t VALUES (1)")


def another_process_can_open(path: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(path)], capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0


def is_open_here(path: Path) -> bool:
    """DuckDB refuses to open a file in another mode than the one in which this process has it."""
    try:
        duckdb.connect(path, read_only=True).close()
    except duckdb.ConnectionException:
        return True
    return False


def test_it_stays_open_between_two_uses(path: Path) -> None:
    use(path)
    assert not is_open_here(path)
    with duckdb_kept_open():
        use(path)
        assert is_open_here(path)
    assert not is_open_here(path)


def test_it_is_closed_when_nobody_used_it_for_a_moment(path: Path) -> None:
    with duckdb_kept_open():
        use(path)
        time.sleep(IDLE_SECONDS * 3)
        assert another_process_can_open(path)
        use(path)


def test_it_is_closed_with_the_last_step(path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other_step() -> None:
        with duckdb_kept_open():
            use(path)
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=other_step)
    with duckdb_kept_open():
        thread.start()
        assert inside.wait(20)
    leave.set()
    thread.join(20)
    assert another_process_can_open(path)
    use(path)
    assert another_process_can_open(path)


def test_a_reader_s_file_can_be_written_afterwards(path: Path) -> None:
    with duckdb_kept_open():
        use(path, read_only=True)
        began = time.monotonic()
        use(path)
        use(path, read_only=True)
        assert time.monotonic() - began < IDLE_SECONDS * 4
    with duckdb.connect(path) as connection:
        assert connection.execute("FROM t").fetchall() == [(1,)]


def test_a_file_that_this_process_has_open_in_the_other_mode(path: Path) -> None:
    with duckdb.connect(path) as elsewhere, duckdb_kept_open():
        use(path, read_only=True)
        elsewhere.execute("INSERT INTO t VALUES (2)")
    assert another_process_can_open(path)

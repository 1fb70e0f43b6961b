"""One process at a time: waiting for the file, and what DuckDB's errors become."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from pipeline_platform.connections.duckdb import connect_duckdb, forget_blocks
from pipeline_platform.errors import DataError, PermanentError, TransientError

HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "ro")
print("held", flush=True)
input()
"""


@contextmanager
def held_by_another_process(path: Path, mode: str = "rw") -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), mode],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that this process has not written through `connect_duckdb` yet."""
    file = tmp_path / "file.duckdb"
    with duckdb.connect(file) as connection:
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    return file


def test_a_writer_creates_file_and_folder_and_the_session_is_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.duckdb"
    with connect_duckdb(path, lock_timeout_seconds=5) as connection:
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    assert path.exists()
    with connect_duckdb(path, read_only=True, lock_timeout_seconds=5) as connection:
        zone = connection.execute("SELECT current_setting('TimeZone')").fetchone()
        assert zone == ("UTC",)
        assert connection.execute("FROM t").fetchall() == []


def test_a_new_file_has_its_name_only_when_it_is_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may look at any moment, and this one may die at any."""
    path = tmp_path / "file.duckdb"
    seen: list[bool] = []
    connect = duckdb.connect

    def watched(file: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        seen.append(path.exists() and path.stat().st_size > 0)
        assert path.exists() == (file == path)
        return connect(file, read_only=read_only)

    monkeypatch.setattr(duckdb, "connect", watched)
    with connect_duckdb(path, lock_timeout_seconds=5) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    assert seen == [False, True]
    assert [file.name for file in tmp_path.iterdir()] == ["file.duckdb"]


def test_a_process_that_creates_the_file_first_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.duckdb"
    connect = duckdb.connect

    def other_is_faster(file: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        if not path.exists():
            with connect(path) as other:
                other.execute("CREATE TABLE theirs (a INTEGER)")
        return connect(file, read_only=read_only)

    monkeypatch.setattr(duckdb, "connect", other_is_faster)
    with connect_duckdb(path, lock_timeout_seconds=5) as connection:
        assert connection.execute("FROM theirs").fetchall() == []


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    with connect_duckdb(tmp_path / "file.duckdb", lock_timeout_seconds=5) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    assert [file.name for file in tmp_path.iterdir()] == ["file.duckdb"]


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file.duckdb"
    path.touch()
    with (
        pytest.raises(PermanentError, match=r"is empty.*Delete it"),
        connect_duckdb(path, lock_timeout_seconds=5),
    ):
        pass


def test_a_reader_of_a_missing_file(tmp_path: Path) -> None:
    missing = tmp_path / "none.duckdb"
    with (
        pytest.raises(PermanentError, match=r"none\.duckdb does not exist.*Check `path`"),
        connect_duckdb(missing, read_only=True, lock_timeout_seconds=5),
    ):
        pytest.fail("must not open")
    assert not missing.exists()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_held_file_is_given_up_after_the_timeout(path: Path, read_only: bool) -> None:
    with held_by_another_process(path):
        began = time.monotonic()
        with (
            pytest.raises(TransientError, match=r"held by another process.*PID"),
            connect_duckdb(path, read_only=read_only, lock_timeout_seconds=0.3),
        ):
            pytest.fail("must not open")
        assert 0.3 <= time.monotonic() - began < 5


def test_a_held_file_is_waited_for(path: Path) -> None:
    with held_by_another_process(path) as holder:
        release = threading.Timer(0.3, holder.kill)
        release.start()
        began = time.monotonic()
        with connect_duckdb(path, lock_timeout_seconds=20) as connection:
            connection.execute("INSERT INTO t VALUES (1)")
        release.join()
        assert time.monotonic() - began >= 0.2


def test_readers_of_two_processes_share_the_file(path: Path) -> None:
    with (
        held_by_another_process(path, "ro"),
        connect_duckdb(path, read_only=True, lock_timeout_seconds=5) as connection,
    ):
        assert connection.execute("FROM t").fetchall() == []


def test_a_reader_beside_a_writer_of_this_process(path: Path) -> None:
    with connect_duckdb(path, lock_timeout_seconds=5) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        with connect_duckdb(path, read_only=True, lock_timeout_seconds=5) as reader:
            assert reader.execute("FROM t").fetchall() == [(1,)]


def test_a_writer_waits_for_a_reader_of_this_process(path: Path) -> None:
    with (
        connect_duckdb(path, read_only=True, lock_timeout_seconds=5),
        pytest.raises(TransientError, match="different configuration"),
        connect_duckdb(path, lock_timeout_seconds=0.1),
    ):
        pytest.fail("must not open")


def test_a_reader_of_a_file_that_this_process_writes_keeps_no_writer_waiting(path: Path) -> None:
    with connect_duckdb(path, lock_timeout_seconds=5) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    with (
        connect_duckdb(path, read_only=True, lock_timeout_seconds=5) as reader,
        connect_duckdb(path, lock_timeout_seconds=0.1) as writer,
    ):
        writer.execute("INSERT INTO t VALUES (2)")
        assert reader.execute("FROM t").fetchall() == [(1,), (2,)]


def test_what_was_not_committed_is_gone(path: Path) -> None:
    with connect_duckdb(path, lock_timeout_seconds=5) as connection:
        connection.begin()
        connection.execute("INSERT INTO t VALUES (1)")
    with connect_duckdb(path, lock_timeout_seconds=5) as connection:
        assert connection.execute("FROM t").fetchall() == []


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM nowhere", PermanentError),
        ("SELECT nothing FROM t", PermanentError),
        ("SELEC 1", PermanentError),
        ("INSERT INTO t VALUES (1), (1)", DataError),
        ("SELECT CAST('x' AS INTEGER)", DataError),
    ],
)
def test_errors_of_the_block_are_mapped(path: Path, sql: str, expected: type[Exception]) -> None:
    with (
        pytest.raises(expected, match=r"file\.duckdb") as caught,
        connect_duckdb(path, lock_timeout_seconds=5) as connection,
    ):
        connection.execute(sql)
    assert type(caught.value) is expected
    assert isinstance(caught.value.__cause__, duckdb.Error)


def test_a_conflict_of_transactions_is_transient(path: Path) -> None:
    with connect_duckdb(path, lock_timeout_seconds=5) as first:
        first.execute("INSERT INTO t VALUES (1)")
        first.begin()
        first.execute("DELETE FROM t")
        with (
            pytest.raises(TransientError, match="Conflict"),
            connect_duckdb(path, lock_timeout_seconds=5) as second,
        ):
            second.execute("DELETE FROM t")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text.duckdb"
    path.write_text("no database " * 1000)
    with (
        pytest.raises(PermanentError, match="not a valid DuckDB database"),
        connect_duckdb(path, lock_timeout_seconds=5),
    ):
        pytest.fail("must not open")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(PermanentError, match="cannot be created"),
        connect_duckdb(tmp_path / "file" / "x.duckdb", lock_timeout_seconds=5),
    ):
        pytest.fail("must not open")


def blocks_kept(connection: duckdb.DuckDBPyConnection) -> int:
    query = "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'"
    [(found,)] = connection.execute(query).fetchall()
    return int(found)


@pytest.mark.parametrize("written_here", [False, True])
def test_blocks_of_a_file_that_is_only_read_are_forgotten(path: Path, written_here: bool) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE wide AS SELECT hash(i) AS h FROM range(4000000) AS t(i)")
    if written_here:
        with connect_duckdb(path, lock_timeout_seconds=5) as writer:
            writer.execute("INSERT INTO t VALUES (1)")
    with connect_duckdb(path, read_only=True, lock_timeout_seconds=5) as connection:
        limit = connection.execute("SELECT current_setting('memory_limit')").fetchall()
        reader = connection.sql("FROM wide").to_arrow_reader(50_000)
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            if rows % 1_000_000 == 0:
                forget_blocks(connection, path)
        reader.close()
        assert rows == 4_000_000
        forget_blocks(connection, path)
        kept = blocks_kept(connection)
        assert kept > 24 * 2**20 if written_here else kept <= 16 * 2**20
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() == limit

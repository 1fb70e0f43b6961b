"""How a DuckDB file is opened, and what its errors mean for the caller.

One process at a time may hold a DuckDB file, readers included. So a connection is opened late and
closed soon, and a file that another process holds is waited for.
"""

import os
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from pipeline_platform.connections.duckdb_kept_open import file_used, let_go_of_reader
from pipeline_platform.errors import DataError, PermanentError, PipelineError, TransientError

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5

# Files that this process writes. They are never opened read-only: a long read would keep the same
# process's heartbeat from writing to the drive table in the same file.
_written: set[Path] = set()


@contextmanager
def connect_duckdb(
    path: Path, *, read_only: bool = False, lock_timeout_seconds: float
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a DuckDB file, with its session in UTC; closed on leaving, rolled back.
    In `duckdb_kept_open` the file itself stays open a little longer.

    Waits at most `lock_timeout_seconds` for a file that another process holds, then raises
    TransientError. A writer creates the file and its folder; a reader of a missing file gets
    PermanentError. `read_only` gives a writing connection where this process already has the
    file open for writing. A DuckDB error that leaves the block is mapped by `duckdb_error`.
    """
    connection = _open(path, read_only, time.monotonic() + lock_timeout_seconds)
    reads_only = read_only and path not in _written
    try:
        file_used(path, read_only=reads_only)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        yield connection
    except duckdb.Error as error:
        raise duckdb_error(error, path) from error
    finally:
        file_used(path, read_only=reads_only)
        connection.close()


@contextmanager
def bounded_memory(connection: duckdb.DuckDBPyConnection, limit_bytes: int) -> Iterator[None]:
    """Within the block DuckDB holds at most so much of its files in memory, or its own limit.

    Rows may be written in another order than they are read: keeping it would need more.
    """
    # Settings of the whole process's open file, so they do not wait for this connection's
    # transaction, nor fail with it.
    settings = connection.cursor()
    try:
        ((own,),) = settings.execute("SELECT current_setting('memory_limit')").fetchall()
        settings.execute(f"SET memory_limit = '{min(limit_bytes, _bytes_of(own))}B'")
        settings.execute("SET preserve_insertion_order = false")
        yield
    finally:
        settings.execute("RESET memory_limit")
        settings.execute("RESET preserve_insertion_order")
        settings.close()


def _bytes_of(size: str) -> int:
    """`18.8 GiB` in bytes, as DuckDB writes its settings."""
    number, unit = size.split()
    powers = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
    return int(float(number) * 1024 ** powers.index(unit))


def forget_blocks(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Let go of the blocks that DuckDB keeps of a file that is only read; a query may go on.

    Of a file that this process writes nothing is forgotten: its loads need the memory.
    """
    if path in _written:
        return
    beside = connection.cursor()
    try:
        # Enough for what a running query holds; where it is not, DuckDB refuses and all stays.
        with suppress(duckdb.Error):
            ((threads,),) = beside.execute("SELECT current_setting('threads')").fetchall()
            beside.execute(f"SET memory_limit = '{8 * max(2, int(threads))}MB'")
    finally:
        beside.execute("RESET memory_limit")
        beside.close()


def duckdb_error(error: duckdb.Error, path: Path) -> PipelineError:
    """The platform's error for a DuckDB one; only the first line of its text is kept."""
    text = str(error).strip().partition("\n")[0].rstrip(".") + "."
    message = f"DuckDB file {path}: {text}"
    if _is_lock(error):
        return TransientError(
            f"The DuckDB file {path} is held by another process. {text}",
            hint="DuckDB lets one process at a time have a file: end the other one, run one "
            "window at a time (max_concurrent_runs: 1), or use PostgreSQL.",
        )
    if isinstance(error, (duckdb.TransactionException, duckdb.InterruptException)):
        return TransientError(message, hint="Another transaction was faster; try again.")
    if "Out of Memory" in text:
        return TransientError(message, hint="Make the window smaller if it happens again.")
    if isinstance(error, duckdb.HTTPException) or _is_busy_here(error):
        return TransientError(message, hint="Try again.")
    if isinstance(error, (duckdb.DataError, duckdb.IntegrityError)):
        return DataError(message, hint="Compare the rows with the table's columns.")
    if "not a valid DuckDB database" in text and _is_empty(path):
        return PermanentError(
            f"The DuckDB file {path} is empty: a process ended while it was being created.",
            hint="Delete it; it is created anew.",
        )
    if "does not exist" in text:
        return PermanentError(message, hint="Check the names of file, schema, table and columns.")
    return PermanentError(message, hint="See DuckDB's own message before trying again.")


def _open(path: Path, read_only: bool, deadline: float) -> duckdb.DuckDBPyConnection:
    if read_only and not path.exists():
        raise PermanentError(
            f"The DuckDB file {path} does not exist.",
            hint="Check `path`; relative paths count from the project folder.",
        )
    if not read_only:
        if not path.exists():
            _create(path)
        _written.add(path)
        let_go_of_reader(path)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return _open_now(path, read_only and path not in _written)
        except duckdb.Error as error:
            left = deadline - time.monotonic()
            if not (_is_lock(error) or _is_busy_here(error)) or left <= 0:
                raise duckdb_error(error, path) from error
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _open_now(path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(path, read_only=read_only)
    except duckdb.ConnectionException as error:
        if not (read_only and _is_busy_here(error)):
            raise
    return duckdb.connect(path)


def _create(path: Path) -> None:
    """A new, empty database at `path`, unless another process was faster.

    DuckDB creates a file before it locks and fills it: a process that looks at that moment, or any
    process after a kill at that moment, finds a file that is no database. So it gets its name last.
    """
    _make_folder(path.parent)
    unnamed = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        duckdb.connect(unnamed).close()
        with suppress(FileExistsError):
            os.link(unnamed, path)
    except OSError:
        return  # no hard links in this file system: DuckDB creates the file itself
    except duckdb.Error as error:
        raise duckdb_error(error, path) from error
    finally:
        unnamed.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentError(
            f"The folder {folder} of the DuckDB file cannot be created: {error.strerror}.",
            hint="Check `path` and the permissions of the folder above.",
        ) from error


def _is_empty(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_size == 0
    return False


def _is_lock(error: duckdb.Error) -> bool:
    """Another process holds the file."""
    return isinstance(error, duckdb.IOException) and "Could not set lock on file" in str(error)


def _is_busy_here(error: duckdb.Error) -> bool:
    """This process has the file open in the other mode, or a thread is just closing it."""
    text = str(error)
    return "different configuration" in text or "Unique file handle conflict" in text

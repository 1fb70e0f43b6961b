"""Keeps DuckDB files open between two uses of the same step.

Opening and closing a file costs more than most statements of a small window. But one process at a
time may hold a file, so what nobody uses for a moment is closed.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

IDLE_SECONDS = 0.25


@dataclass
class _Kept:
    connection: duckdb.DuckDBPyConnection
    read_only: bool
    used_at: float


class _KeptFiles:
    """One spare connection per file while any step of this process is in `duckdb_kept_open`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Path, _Kept] = {}
        self._steps = 0
        self._last_step_ended = threading.Event()

    def enter(self) -> None:
        with self._lock:
            self._steps += 1
            if self._steps == 1:
                self._last_step_ended = threading.Event()
                threading.Thread(
                    target=self._close_idle, args=(self._last_step_ended,),
                    name="idle DuckDB files", daemon=True,
                ).start()  # fmt: skip

    def leave(self) -> None:
        with self._lock:
            self._steps -= 1
            if self._steps == 0:
                self._last_step_ended.set()
                self._close(list(self._kept))

    def used(self, path: Path, *, read_only: bool) -> None:
        with self._lock:
            if path in self._kept:
                self._kept[path].used_at = time.monotonic()
            elif self._steps:
                # A cursor would not do: DuckDB finds an open file by its connections only.
                with suppress(duckdb.Error):  # open in the other mode: another reader's business
                    spare = duckdb.connect(path, read_only=read_only)
                    self._kept[path] = _Kept(spare, read_only, time.monotonic())

    def let_go_of_reader(self, path: Path) -> None:
        with self._lock:
            if path in self._kept and self._kept[path].read_only:
                self._close([path])

    def _close_idle(self, ended: threading.Event) -> None:
        while not ended.wait(IDLE_SECONDS / 2):
            with self._lock:
                before = time.monotonic() - IDLE_SECONDS
                self._close([path for path, kept in self._kept.items() if kept.used_at < before])

    def _close(self, paths: list[Path]) -> None:
        for path in paths:
            self._kept.pop(path).connection.close()


_files = _KeptFiles()


@contextmanager
def duckdb_kept_open() -> Iterator[None]:
    """Inside, a file stays open for up to IDLE_SECONDS after its last use, in any thread.

    On leaving it is closed at once, unless another step of this process still runs.
    """
    _files.enter()
    try:
        yield
    finally:
        _files.leave()


def file_used(path: Path, *, read_only: bool) -> None:
    """A connection to the file was just opened, or is about to be closed; it is open now."""
    _files.used(path, read_only=read_only)


def let_go_of_reader(path: Path) -> None:
    """Close a spare read-only connection, beside which the file could not be opened to write."""
    _files.let_go_of_reader(path)

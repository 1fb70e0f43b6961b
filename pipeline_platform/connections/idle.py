"""Open connections that nobody uses now, kept for the next use in the same process.

A login takes longer than most statements, and a window takes dozens of them.
"""

import os
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


@dataclass(frozen=True)
class _Entry(Generic[Connection]):
    key: Hashable = field(repr=False)  # there may be a password in it
    kept_at: float
    process: int
    connection: Connection


class IdleConnections(Generic[Connection]):
    """Each is used by one thread at a time, and closed when nobody used it for `seconds`.

    What `close` raises is left out. A forked process leaves those of its parent alone.
    """

    def __init__(self, seconds: float, close: Callable[[Connection], None]) -> None:
        self._seconds = seconds
        self._close = close
        self._lock = threading.Lock()
        self._closer: threading.Thread | None = None
        self._kept: list[_Entry[Connection]] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def take(self, key: Hashable) -> Connection | None:
        """The one with this key that was used last, or None."""
        since = time.monotonic() - self._seconds
        with self._lock:
            for entry in reversed(self._kept):
                ours = entry.key == key and entry.process == os.getpid()
                if ours and entry.kept_at > since:
                    self._kept.remove(entry)
                    return entry.connection
        return None

    def keep(self, key: Hashable, connection: Connection) -> None:
        """For the next one who takes it; closed at once where no thread could close it later."""
        entry = _Entry(key, time.monotonic(), os.getpid(), connection)
        with self._lock:
            if self._closer is None:
                closer = threading.Thread(
                    target=self._close_idle, name="idle connections", daemon=True
                )
                with suppress(RuntimeError):
                    closer.start()
                    self._closer = closer
            if self._closer is not None:
                self._kept.append(entry)
                return
        self._close_quietly(entry)

    def close_older(self, seconds: float = 0.0) -> int:
        """Close this process's connections that are unused for so long; how many are left."""
        before = time.monotonic() - seconds
        with self._lock:
            ours = [entry for entry in self._kept if entry.process == os.getpid()]
            old = [entry for entry in ours if entry.kept_at <= before]
            self._kept = [entry for entry in self._kept if entry not in old]
            left = len(ours) - len(old)
            if not left:
                self._closer = None
        for entry in old:
            self._close_quietly(entry)
        return left

    def _close_quietly(self, entry: _Entry[Connection]) -> None:
        with suppress(Exception):
            self._close(entry.connection)

    def _close_idle(self) -> None:
        left = 1
        while left:
            time.sleep(self._seconds / 2)
            left = self.close_older(self._seconds)

    def _forked(self) -> None:
        """One thread goes on in a new process: no other would give the lock back."""
        self._lock = threading.Lock()
        self._closer = None

"""Keeps sessions of PostgreSQL open for a moment, for the next question of the same process.

A small window asks the server some thirty times. A session costs the server a process, and a login
over TLS several round trips: more than most of the questions do.
"""

import atexit
import os
import selectors
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]

IDLE_SECONDS = 1.0
"""So long a session is kept that nobody uses."""
ANSWER_SECONDS = 2.0
"""A kept session has so long to show that it is alive, before a new one is opened instead."""

_Key = tuple[Any, ...]


class _KeptSessions:
    """Idle sessions by their settings, each used by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: defaultdict[_Key, list[tuple[float, Session]]] = defaultdict(list)
        self._closer: threading.Thread | None = None

    def take(self, key: _Key) -> "Session | None":
        """The one that was used last, if it still answers."""
        while True:
            with self._lock:
                if not self._idle[key]:
                    return None
                _, session = self._idle[key].pop()
            if _answers(session):
                return session
            session.close()

    def keep(self, key: _Key, session: "Session") -> None:
        """For the next use."""
        with self._lock:
            self._idle[key].append((time.monotonic(), session))
            if self._closer is None:
                self._closer = threading.Thread(
                    target=self._close_idle, name="idle PostgreSQL sessions", daemon=True
                )
                self._closer.start()

    def close(self, *, unused_since: float = float("inf")) -> int:
        """Close those of this process that nobody used since a moment; how many are left."""
        old: list[Session] = []
        with self._lock:
            for key, kept in self._idle.items():
                # Those of the process that this one was forked from are not ours to end.
                if key[0] == os.getpid():
                    old += [session for used_at, session in kept if used_at < unused_since]
                    kept[:] = [one for one in kept if one[0] >= unused_since]
            left = sum(map(len, self._idle.values()))
            if not left:
                self._closer = None
        for session in old:
            session.close()
        return left

    def _close_idle(self) -> None:
        left = 1
        while left:
            time.sleep(IDLE_SECONDS / 2)
            left = self.close(unused_since=time.monotonic() - IDLE_SECONDS)


_sessions = _KeptSessions()
atexit.register(_sessions.close)


@contextmanager
def session_of(
    settings: Mapping[str, Any], connect: "Callable[[], Session]"
) -> "Iterator[Session]":
    """A kept session with equal settings, or a new one of `connect`.

    Leaving the block commits, and keeps the session for `IDLE_SECONDS`. An exception rolls back,
    and closes it. A kept session that does not answer any more is replaced by a new one.
    """
    key = (os.getpid(), *sorted(settings.items()))
    session = _sessions.take(key) or connect()
    try:
        yield session
        if not session.closed:
            session.commit()
    except BaseException:
        with suppress(Exception):  # the session may be gone, its transaction with it
            session.rollback()
        session.close()
        raise
    if _is_as_new(session):
        _sessions.keep(key, session)
    else:
        session.close()


def close_kept_sessions() -> None:
    """Close all that nobody uses now."""
    _sessions.close()


def _is_as_new(session: "Session") -> bool:
    """Whether it may be kept; what a user may have set is as it was at its beginning then."""
    from psycopg.pq import TransactionStatus

    if session.closed or session.info.transaction_status != TransactionStatus.IDLE:
        return False
    session.autocommit = False
    session.read_only = None
    session.isolation_level = None
    return True


def _answers(session: "Session") -> bool:
    """Ask nothing, and see whether that is answered in time. libpq itself would wait for ever."""
    from psycopg import Error
    from psycopg.pq import ExecStatus

    wire = session.pgconn
    until = time.monotonic() + ANSWER_SECONDS
    try:
        wire.send_query(b"")
        with selectors.DefaultSelector() as ready:
            ready.register(wire.socket, selectors.EVENT_READ)
            while wire.flush() or wire.is_busy():
                if not ready.select(max(until - time.monotonic(), 0)):
                    return False
                wire.consume_input()
        is_alive = True
        while (result := wire.get_result()) is not None:
            is_alive &= result.status == ExecStatus.EMPTY_QUERY
        return is_alive
    except Error:
        return False

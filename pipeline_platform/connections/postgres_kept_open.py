"""Keeps sessions of PostgreSQL open for a moment, for the next question of the same process.

A small window asks the server some thirty times. A session costs the server a process, and a login
over TLS several round trips: more than most of the questions do.
"""

import atexit
import selectors
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pipeline_platform.connections.idle import IdleConnections

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]

IDLE_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""A kept session has so long to show that it is alive, before a new one is opened instead."""
RESET = b"DISCARD ALL"

_idle: "IdleConnections[Session]" = IdleConnections(IDLE_SECONDS, lambda session: session.close())
atexit.register(_idle.close_older)


@contextmanager
def session_of(
    settings: Mapping[str, Any], connect: "Callable[[], Session]"
) -> "Iterator[Session]":
    """A kept session with equal settings, or a new one of `connect`.

    Leaving the block commits, and keeps the session for `IDLE_SECONDS`. An exception rolls back,
    and closes it. A kept session is as new at its next use, whatever functions and triggers of the
    database set in it; one that does not answer any more is replaced by a new one.
    """
    key = tuple(sorted(settings.items()))
    session = _kept(key) or connect()
    try:
        yield session
        if not session.closed:
            session.commit()
    except BaseException:
        with suppress(Exception):  # the session may be gone, its transaction with it
            session.rollback()
        session.close()
        raise
    if _may_be_kept(session):
        _idle.keep(key, session)
    else:
        session.close()


def close_kept_sessions() -> None:
    """Close all that nobody uses now."""
    _idle.close_older()


def _kept(key: Hashable) -> "Session | None":
    while (session := _idle.take(key)) is not None:
        is_good = False
        try:
            is_good = _is_reset(session)
        finally:
            if not is_good:
                session.close()
        if is_good:
            return session
    return None


def _may_be_kept(session: "Session") -> bool:
    """Whether it may be; what its user may have set at the client is as at its beginning then."""
    from psycopg.pq import TransactionStatus

    if session.closed or session.info.transaction_status != TransactionStatus.IDLE:
        return False
    session.autocommit = False
    session.read_only = None
    session.isolation_level = None
    return True


def _is_reset(session: "Session") -> bool:
    """Reset what was set at the server; False if that is not answered in time.

    Settings, temporary tables and locks of a session outlive its transactions. libpq itself would
    wait for ever.
    """
    from psycopg import Error
    from psycopg.pq import ExecStatus

    wire = session.pgconn
    until = time.monotonic() + ANSWER_SECONDS
    try:
        wire.send_query(RESET)
        is_done = True
        with selectors.DefaultSelector() as ready:
            ready.register(wire.socket, selectors.EVENT_READ)
            while True:
                while wire.flush() or wire.is_busy():
                    if not ready.select(max(until - time.monotonic(), 0)):
                        return False
                    wire.consume_input()
                result = wire.get_result()
                if result is None:
                    return is_done
                is_done &= result.status == ExecStatus.COMMAND_OK
    except (Error, OSError, ValueError):
        return False

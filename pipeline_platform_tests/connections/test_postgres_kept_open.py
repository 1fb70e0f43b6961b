"""A session serves again for a moment; what is wrong with it is never the next user's problem."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline_platform.config.connections import PostgresConnection
from pipeline_platform.connections import postgres_kept_open
from pipeline_platform.connections.idle import IdleConnections
from pipeline_platform.connections.postgres import connect_postgres
from pipeline_platform.connections.postgres_kept_open import (
    ANSWER_SECONDS,
    IDLE_SECONDS,
    close_kept_sessions,
)
from pipeline_platform.errors import PermanentError
from pipeline_platform_tests.servers.postgres import Database

NAME = "test of kept sessions"
Session = psycopg.Connection[tuple[Any, ...]]


class Server:
    """One database, used by the platform, and looked at from outside."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._config = PostgresConnection.model_validate(database.as_config())

    @contextmanager
    def session(
        self, name: str = NAME, *, autocommit: bool = False, **changes: Any
    ) -> Iterator[Session]:
        config = self._config.model_copy(update=changes)
        with connect_postgres(
            config, Path(), application_name=name, autocommit=autocommit
        ) as session:
            yield session

    def pid(self, name: str = NAME, **changes: Any) -> int:
        """Use a session; the number of its process at the server."""
        with self.session(name, **changes) as session:
            session.execute("SELECT 1")
            return session.info.backend_pid

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._database.connect() as session:
            return session.execute(statement.encode()).fetchall()

    def pids(self) -> list[int]:
        found = self.query(
            f"SELECT pid FROM pg_stat_activity WHERE application_name = '{NAME}' ORDER BY 1"
        )
        return [pid for (pid,) in found]


@pytest.fixture
def server(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Sessions stay for long, however slow the machine is."""
    patient: IdleConnections[Session] = IdleConnections(60.0, lambda session: session.close())
    monkeypatch.setattr(postgres_kept_open, "_idle", patient)
    yield Server(postgres)
    close_kept_sessions()


def test_the_next_use_has_the_same_session(server: Server) -> None:
    first = server.pid()
    assert server.pid() == first
    assert server.pids() == [first]


def test_other_settings_are_another_session(server: Server) -> None:
    first = server.pid()
    assert server.pid(lock_timeout_seconds=7.0) != first
    assert server.pid("another name") != first
    assert server.pid() == first


def test_it_ends_when_nobody_uses_it_for_a_moment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with server.session():
        assert len(server.pids()) == 1
    deadline = time.monotonic() + 10 * IDLE_SECONDS
    while server.pids():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.pid()
    close_kept_sessions()
    assert server.pids() == []


def test_one_thread_at_a_time_has_it(server: Server) -> None:
    together = threading.Barrier(4)
    seen: list[int] = []

    def use() -> None:
        with server.session() as session:
            together.wait(30)
            seen.append(session.info.backend_pid)
            together.wait(30)

    for _ in range(2):
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(seen) == 8
    assert set(seen[:4]) == set(seen[4:])
    assert len(set(seen)) == 4


def test_what_a_user_sets_is_gone_at_the_next(server: Server) -> None:
    with server.session(autocommit=True) as session:
        first = session.info.backend_pid
        session.read_only = True
        session.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    with server.session() as session:
        assert session.info.backend_pid == first
        assert not session.autocommit
        assert session.read_only is None
        session.execute("CREATE TABLE t (a INTEGER)")
        [(level,)] = session.execute("SHOW transaction_isolation").fetchall()
        assert level == "read committed"
    assert server.query("SELECT count(*) FROM t") == [(0,)]


def test_what_functions_of_the_database_set_is_gone_at_the_next(server: Server) -> None:
    """Settings, temporary tables and locks outlive the transaction that a trigger made them in."""
    with server.session() as session:
        first = session.info.backend_pid
        before = session.execute("SELECT name, setting FROM pg_settings ORDER BY 1").fetchall()
        session.execute("SELECT set_config('search_path', 'pg_catalog', false)")
        session.execute("CREATE TEMP TABLE x AS SELECT 1 AS a")
        session.execute("SELECT pg_advisory_lock(7)")
        session.execute("LISTEN news")
    with server.session() as session:
        assert session.info.backend_pid == first
        assert session.execute("SELECT to_regclass('pg_temp.x')").fetchall() == [(None,)]
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert session.execute(locks).fetchall() == [(0,)]
        assert session.execute("SELECT count(*) FROM pg_listening_channels()").fetchall() == [(0,)]
        now = session.execute("SELECT name, setting FROM pg_settings ORDER BY 1").fetchall()
        assert now == before


def test_an_error_rolls_back_and_ends_the_session(server: Server) -> None:
    with server.session() as session:
        session.execute("CREATE TABLE t (a INTEGER)")

    def insert(error: BaseException | None) -> None:
        with server.session() as session:
            session.execute("INSERT INTO t VALUES (1)")
            if error is not None:
                raise error
            session.execute("SELECT nothing")

    for error, expected in ((None, PermanentError), (KeyboardInterrupt(), KeyboardInterrupt)):
        first = server.pid()
        with pytest.raises(expected):
            insert(error)
        assert server.query("SELECT count(*) FROM t") == [(0,)]
        assert server.pid() != first


def test_one_that_its_user_closed_is_not_kept(server: Server) -> None:
    with server.session() as session:
        first = session.info.backend_pid
        session.close()
    assert server.pid() != first


def test_one_that_the_server_ended_is_replaced(server: Server) -> None:
    first = server.pid()
    server.query(f"SELECT pg_terminate_backend({first}, 10000)")
    second = server.pid()
    assert second != first
    assert server.pid() == second


def test_one_that_does_not_answer_is_replaced_in_time(server: Server) -> None:
    """Such a session takes what it is sent and keeps silent, as behind a link that hangs."""
    first = server.pid()
    os.kill(first, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert server.pid() != first
        assert ANSWER_SECONDS <= time.monotonic() - began < ANSWER_SECONDS + 5
    finally:
        os.kill(first, signal.SIGCONT)


def test_a_forked_process_has_its_own(server: Server) -> None:
    """Also one that was forked at the moment at which another thread had the lock."""
    first = server.pid()
    with postgres_kept_open._idle._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                os._exit(0 if server.pid() != first else 3)
            except BaseException:
                os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert server.pid() == first


def test_nothing_is_prepared(server: Server) -> None:
    """A proxy that shares the server's sessions would not find it again."""
    for _ in range(10):
        with server.session() as session:
            session.execute("SELECT %s", [1])
            assert session.execute("SELECT * FROM pg_prepared_statements").fetchall() == []

"""Who gets a kept connection, and when it is closed; the databases' own tests have the rest."""

import os
import signal
import threading
import time

import pytest

from pipeline_platform.connections.idle import IdleConnections

A_WHILE = 60.0
A_MOMENT = 0.1


class Fake:
    """Remembers that it was closed."""

    closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture
def idle() -> IdleConnections[Fake]:
    return IdleConnections(A_WHILE, Fake.close)


def wait_until_closed(connection: Fake) -> None:
    deadline = time.monotonic() + 20
    while not connection.closed:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_last_one_of_a_key_is_taken_once(idle: IdleConnections[Fake]) -> None:
    first, last, other = Fake(), Fake(), Fake()
    for key, connection in (("a", first), ("a", last), ("b", other)):
        idle.keep(key, connection)
    assert [idle.take("a") for _ in range(3)] == [last, first, None]
    assert idle.take("c") is None
    assert idle.take("b") is other
    assert [one.closed for one in (first, last, other)] == [False] * 3


def test_those_that_are_old_are_closed_and_counted(
    monkeypatch: pytest.MonkeyPatch, idle: IdleConnections[Fake]
) -> None:
    old, young = Fake(), Fake()
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    idle.keep("a", old)
    now[0] += A_MOMENT
    idle.keep("a", young)
    assert idle.close_older(A_MOMENT / 2) == 1
    assert (old.closed, young.closed) == (True, False)
    assert idle.close_older() == 0
    assert young.closed
    assert idle.take("a") is None


def test_one_that_is_in_use_is_not_closed(idle: IdleConnections[Fake]) -> None:
    one, other = Fake(), Fake()
    idle.keep("a", one)
    idle.keep("a", other)
    assert idle.take("a") is other
    assert idle.close_older() == 0
    assert (one.closed, other.closed) == (True, False)
    assert idle.take("a") is None
    idle.keep("a", other)
    assert idle.close_older() == 0
    assert other.closed


def test_what_nobody_uses_is_closed_by_itself_and_never_taken() -> None:
    idle: IdleConnections[Fake] = IdleConnections(A_MOMENT, Fake.close)
    for _ in range(2):  # the thread that closes has ended in between
        one, other = Fake(), Fake()
        idle.keep("a", one)
        wait_until_closed(one)
        assert idle.take("a") is None
        idle.keep("a", other)
        wait_until_closed(other)


def test_one_that_does_not_close_leaves_the_others_to_be_closed() -> None:
    def close(connection: Fake) -> None:
        connection.close()
        if connection is bad:
            raise RuntimeError("it does not close")

    idle: IdleConnections[Fake] = IdleConnections(A_MOMENT, close)
    bad, good, later = Fake(), Fake(), Fake()
    idle.keep("a", bad)
    idle.keep("a", good)
    wait_until_closed(good)
    idle.keep("a", later)
    wait_until_closed(later)
    assert bad.closed


def test_where_no_thread_can_start_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, idle: IdleConnections[Fake]
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        refused = Fake()
        idle.keep("a", refused)
    assert refused.closed
    assert idle.take("a") is None
    kept = Fake()
    idle.keep("a", kept)
    assert idle.take("a") is kept


def test_a_key_with_a_password_is_never_shown(idle: IdleConnections[Fake]) -> None:
    idle.keep(("password", "hunter2"), Fake())
    assert "hunter2" not in repr(idle._kept)


def test_one_that_is_too_old_is_not_taken_before_it_is_closed(
    monkeypatch: pytest.MonkeyPatch, idle: IdleConnections[Fake]
) -> None:
    idle.keep("a", Fake())
    later = time.monotonic() + A_WHILE
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert idle.take("a") is None


def test_threads_never_share_one() -> None:
    idle: IdleConnections[Fake] = IdleConnections(A_WHILE, Fake.close)
    in_use: set[int] = set()
    shared: list[int] = []

    def use() -> None:
        for _ in range(2_000):
            connection = idle.take("a") or Fake()
            if id(connection) in in_use:
                shared.append(id(connection))
            in_use.add(id(connection))
            in_use.discard(id(connection))
            idle.keep("a", connection)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert shared == []
    assert idle.close_older(A_WHILE) <= len(threads)


def test_a_forked_process_leaves_its_parent_s_alone(idle: IdleConnections[Fake]) -> None:
    """Also if another thread had the lock at that moment."""
    connection = Fake()
    idle.keep("a", connection)
    with idle._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            left = (idle.take("a"), idle.close_older(), connection.closed)
            os._exit(0 if left == (None, 0, False) else 3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert idle.take("a") is connection

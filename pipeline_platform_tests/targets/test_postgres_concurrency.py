"""PostgreSQL as target under real concurrency and real connection loss."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_platform.errors import ClaimLostError, PermanentError, TransientError
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.movement import LoadResult, TargetCounts, WindowSlice
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.servers.postgres import Database
from pipeline_platform_tests.targets.lossy_proxy import LossyProxy
from pipeline_platform_tests.targets.staged import (
    HOUR,
    SCHEMA,
    START,
    WINDOW,
    Staging,
    at_epoch,
    rows_of,
)
from pipeline_platform_tests.targets.test_postgres import PostgresDatabase
from pipeline_platform_tests.targets.warehouse import ROWS, content, stop_at

CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE application_name = 'pipeline_platform target' AND datname = current_database() "
    "AND state LIKE 'idle in transaction%'"
)


@pytest.fixture
def warehouse(postgres: Database) -> PostgresDatabase:
    return PostgresDatabase(postgres)


@pytest.fixture
def target(warehouse: PostgresDatabase) -> Target:
    target = warehouse.target()
    target.prepare(SCHEMA)
    return target


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path)


@pytest.fixture
def proxy(warehouse: PostgresDatabase) -> Iterator[LossyProxy]:
    with LossyProxy(warehouse.database.port) as proxy:
        yield proxy


def outcome(future: "Future[LoadResult]") -> int | type[Exception]:
    """The epoch that committed, or the class of what was raised."""
    error = future.exception(60)
    if error is None:
        return future.result().commit.epoch
    assert isinstance(error, Exception)
    return type(error)


def test_eight_prepare_at_once(warehouse: PostgresDatabase) -> None:
    barrier = threading.Barrier(8)

    def prepare() -> None:
        barrier.wait(30)
        warehouse.target().prepare(SCHEMA)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(prepare) for _ in range(8)]:
            done.result(60)
    indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'analytics'"
    assert warehouse.execute(indexes) == [(3,)]


def test_of_many_epochs_the_highest_stands(
    warehouse: PostgresDatabase, target: Target, staging: Staging
) -> None:
    epochs = range(1, 11)
    requests = [staging.request(rows_of(20 + n, first=1000 * n), epoch=n) for n in epochs]
    barrier = threading.Barrier(len(requests))

    def load(index: int) -> LoadResult:
        barrier.wait(30)
        return target.load(requests[index])

    for _ in range(3):
        with ThreadPoolExecutor(len(requests)) as pool:
            outcomes = [
                outcome(future) for future in [pool.submit(load, n) for n in range(len(requests))]
            ]
        assert outcomes[-1] == 10
        assert all(
            result in (epoch, ClaimLostError)
            for epoch, result in zip(epochs, outcomes, strict=True)
        )
        assert warehouse.ids() == list(range(10_000, 10_030))
        row = target.commit_row(WINDOW)
        assert row is not None
        assert (row.epoch, row.target_rows) == (10, 30)
        warehouse.execute("TRUNCATE analytics.orders, analytics.orders_window_commits")


@pytest.mark.fault_row(4)
def test_a_paused_load_is_refused_after_a_newer_one(
    warehouse: PostgresDatabase, target: Target, staging: Staging
) -> None:
    """The zombie stops just before its transaction, wakes up after the newer run's commit."""
    asleep, wake = threading.Event(), threading.Event()
    main = threading.get_ident()

    def pause(name: str) -> None:
        if name == "load.before_begin" and threading.get_ident() != main:
            asleep.set()
            assert wake.wait(60)

    zombie = staging.request(rows_of(5, first=500), epoch=1)
    with fault_hook(pause), ThreadPoolExecutor(1) as pool:
        late = pool.submit(target.load, zombie)
        assert asleep.wait(60)
        target.load(staging.request(ROWS, epoch=2))
        target.store_audit(WINDOW, 2, "PASS")
        before = warehouse.everything()
        wake.set()
        assert outcome(late) is ClaimLostError
    assert warehouse.everything() == before


def test_a_newer_load_waits_for_the_one_under_way(
    warehouse: PostgresDatabase, target: Target, staging: Staging
) -> None:
    asleep, wake = threading.Event(), threading.Event()

    def pause() -> None:
        asleep.set()
        assert wake.wait(60)

    stop = stop_at("load.after_verify", pause)
    with fault_hook(stop), ThreadPoolExecutor(2) as pool:
        older = pool.submit(target.load, staging.request(rows_of(5, first=500), epoch=1))
        assert asleep.wait(60)
        newer = pool.submit(target.load, staging.request(ROWS, epoch=2))
        assert target.count(WINDOW) == TargetCounts(0, 0)
        wake.set()
        assert [outcome(older), outcome(newer)] == [1, 2]
    assert warehouse.ids() == list(range(23))


def test_twenty_windows_at_once(
    warehouse: PostgresDatabase, target: Target, staging: Staging
) -> None:
    windows = [WindowSlice("orders", START + n * HOUR, START + (n + 1) * HOUR) for n in range(20)]
    requests = [
        staging.request(rows_of(n + 1, window, 100 * n), window=window)
        for n, window in enumerate(windows)
    ]
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(target.load, request) for request in requests]
        assert {outcome(future) for future in futures} == {1}
    for n, window in enumerate(windows):
        assert target.count(window) == TargetCounts(n + 1, n + 1)
    assert len(warehouse.ids()) == 210


def test_first_loads_of_overlapping_windows(
    warehouse: PostgresDatabase, target: Target, staging: Staging
) -> None:
    """However they interleave, never are both in; the loser may have been a deadlock's victim."""
    for attempt in range(4):
        pipeline = f"p{attempt}"
        day = START + timedelta(days=attempt)
        whole = WindowSlice(pipeline, day, day + 2 * HOUR)
        part = WindowSlice(pipeline, day + HOUR, day + 2 * HOUR)
        barrier = threading.Barrier(2)

        def wait(name: str, barrier: threading.Barrier = barrier) -> None:
            point = "load.after_fence" if attempt % 2 else "load.before_commit_row"  # noqa: B023
            if name == point:
                barrier.wait(30)

        with fault_hook(wait), ThreadPoolExecutor(2) as pool:
            futures = [
                pool.submit(target.load, staging.request(rows_of(6, window), window=window))
                for window in (whole, part)
            ]
            outcomes = [outcome(future) for future in futures]
        assert outcomes.count(1) == 1
        assert {PermanentError, TransientError} & set(outcomes)
        loaded = [target.count(whole), target.count(part)][outcomes.index(1)]
        assert loaded == TargetCounts(6, 6)
        names = f"SELECT count(*) FROM analytics.orders WHERE _pipeline_name = '{pipeline}'"
        assert warehouse.execute(names) == [(6,)]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.fault_row(3)
def test_the_connection_breaks_during_the_commit(
    moment: str,
    warehouse: PostgresDatabase,
    target: Target,
    staging: Staging,
    proxy: LossyProxy,
) -> None:
    through = warehouse.target(port=proxy.port)
    request = staging.request(ROWS)
    proxy.arm("after" if moment == "after" else "before")
    if moment == "after":
        result = through.load(request)
        assert result.details["outcome_resolved"]
        row = target.commit_row(WINDOW)
        assert row is not None
        assert content(result.commit) == content(row)
        assert warehouse.ids() == list(range(23))
        proxy.arm("after")
        assert through.delete_window(WINDOW, 1) == 23
    else:
        with pytest.raises(TransientError, match="did not commit"):
            through.load(request)
        assert warehouse.ids() == []
        through.load(at_epoch(request, 2))
        proxy.arm("before")
        with pytest.raises(TransientError):
            through.store_audit(WINDOW, 2, "PASS")
        proxy.arm("before")
        with pytest.raises(TransientError):
            through.delete_window(WINDOW, 3)
        assert warehouse.ids() == list(range(23))
    assert proxy.cuts >= 2


@pytest.mark.parametrize(
    "point",
    ["load.after_fence", "load.after_delete", "load.after_insert", "load.after_verify",
     "load.before_commit"],
)  # fmt: skip
@pytest.mark.fault_row(24)
def test_the_server_ends_the_session(
    point: str, warehouse: PostgresDatabase, target: Target, staging: Staging
) -> None:
    target.load(staging.request(ROWS))
    rows = warehouse.everything()[0]
    with (
        fault_hook(stop_at(point, lambda: _cut(warehouse))),
        pytest.raises(TransientError),
    ):
        target.load(staging.request(rows_of(9, first=500), epoch=2))
    assert warehouse.everything()[0] == rows
    target.load(staging.request(rows_of(9, first=500), epoch=3))
    assert warehouse.ids() == list(range(500, 509))


def _cut(warehouse: PostgresDatabase) -> None:
    assert warehouse.execute(CUT) == [(1,)]

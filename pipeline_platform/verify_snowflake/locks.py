"""Locks and transactions: what the fences of target and drive table stand on."""

# ruff: noqa: S608  (every name is quoted by Scratch.name)

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pipeline_platform.connections.snowflake_session import SnowflakeSession
from pipeline_platform.errors import PermanentError, TransientError
from pipeline_platform.verify_snowflake.points import DisprovedError, Point, expect
from pipeline_platform.verify_snowflake.scratch import Scratch

_WAIT_SECONDS = 3.0
_PATIENCE_SECONDS = 120.0
_WAITS = "locks that wait: a conflict is an error at once"


@contextmanager
def _locked_table(scratch: Scratch) -> Iterator[tuple[str, SnowflakeSession]]:
    """A table with one row (1, 0), which an open transaction has set to (1, 1)."""
    table = scratch.name("locked")
    with scratch.session() as holder:
        holder.run(f"CREATE OR REPLACE TABLE {table} (id NUMBER(9, 0), n NUMBER(9, 0))")
        holder.changed(f"INSERT INTO {table} VALUES (1, 0)")
        holder.run("BEGIN")
        holder.changed(f"UPDATE {table} SET n = n + 1")
        yield table, holder
        if holder.in_transaction:
            holder.run("ROLLBACK")


def _update_waits(scratch: Scratch) -> str:
    with (
        _locked_table(scratch) as (table, holder),
        scratch.session() as waiter,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(waiter.changed, f"UPDATE {table} SET n = n + 10")
        time.sleep(_WAIT_SECONDS)
        waited = not waiting.done()
        holder.run("COMMIT")
        waiting.result(_PATIENCE_SECONDS)
        expect(waited, "the second UPDATE did not wait for the first one's transaction")
        [(n,)] = holder.rows(f"SELECT n FROM {table}")
    looked_anew = "looked at the row anew" if n == 11 else f"lost the first one's change (n = {n})"
    return f"the second UPDATE waited, then {looked_anew}; the platform relies on neither"


def _later_statements_see(scratch: Scratch) -> str:
    """The heart of both write locks: lock first, then look."""
    rounds = 5
    with (
        _locked_table(scratch) as (table, holder),
        scratch.session() as waiter,
        ThreadPoolExecutor(1) as pool,
    ):

        def lock_and_look() -> list[tuple[int, ...]]:
            waiter.run("BEGIN")
            waiter.changed(f"UPDATE {table} SET n = n WHERE id = 1")
            seen = waiter.rows(f"SELECT count(*) FROM {table}")
            waiter.run("COMMIT")
            return seen

        for rows in range(2, rounds + 2):
            if not holder.in_transaction:
                holder.run("BEGIN")
                holder.changed(f"UPDATE {table} SET n = n WHERE id = 1")
            waiting = pool.submit(lock_and_look)
            time.sleep(0.5)
            holder.changed(f"INSERT INTO {table} VALUES ({rows}, 0)")
            holder.run("COMMIT")
            [(seen,)] = waiting.result(_PATIENCE_SECONDS)
            expect(seen == rows, f"after the lock came free {seen} rows were seen, not {rows}")
    return f"{rounds} times a row committed just before the lock came free was seen"


def _insert_does_not_wait(scratch: Scratch) -> str:
    with _locked_table(scratch) as (table, _), scratch.session() as other:
        began = time.monotonic()
        other.changed(f"INSERT INTO {table} VALUES (2, 0)")
        seconds = time.monotonic() - began
    expect(seconds < 30, f"the INSERT took {seconds:.0f} s beside an open UPDATE")
    return f"beside an open UPDATE an INSERT took {seconds:.1f} s"


def _lock_timeout(scratch: Scratch) -> str:
    with _locked_table(scratch) as (table, _):
        began = time.monotonic()
        try:
            with scratch.session(lock_timeout_seconds=2) as waiter:
                waiter.changed(f"UPDATE {table} SET n = 5")
        except TransientError as error:
            seconds = time.monotonic() - began
            expect(seconds < 60, f"the wait ended after {seconds:.0f} s, not after 2")
            return f"transient, after {seconds:.1f} s: {error.message}"
    raise DisprovedError("an UPDATE went through a lock that somebody else held")


def _closing_frees(scratch: Scratch) -> str:
    with _locked_table(scratch) as (table, holder):
        holder.abandon()
        holder.in_transaction = False
        with scratch.session(lock_timeout_seconds=60) as other:
            other.changed(f"UPDATE {table} SET n = 7")
            expect(other.rows(f"SELECT n FROM {table}") == [(7,)], "the closed one's UPDATE stayed")
    return "a connection that is closed inside a transaction loses its lock and its changes"


def _ddl_is_refused(scratch: Scratch) -> str:
    with _locked_table(scratch) as (table, holder):
        try:
            holder.run(f"CREATE TABLE {table}_2 (id NUMBER(9, 0))")
        except PermanentError as error:
            return error.message
    raise DisprovedError("DDL was sent inside a transaction")


def _ddl_commits(scratch: Scratch) -> str:
    with _locked_table(scratch) as (table, holder):
        with holder.connection.cursor() as cursor:  # past the guard
            cursor.execute(
                f"CREATE OR REPLACE TABLE {scratch.name('created_meanwhile')} (id NUMBER(9, 0))"
            )
        holder.run("ROLLBACK")
        expect(holder.rows(f"SELECT n FROM {table}") == [(1,)], "DDL did not commit")
    return "DDL commits the transaction around it, so the guard is needed"


POINTS = (
    Point("an UPDATE waits for another transaction's UPDATE", _update_waits, _WAITS),
    Point("after a lock, later statements see what came before", _later_statements_see, _WAITS),
    Point("an INSERT does not wait for an UPDATE", _insert_does_not_wait),
    Point("a lock that does not come free is transient, after LOCK_TIMEOUT", _lock_timeout),
    Point("a closed connection gives its lock back", _closing_frees),
    Point("DDL inside a transaction is refused by the platform", _ddl_is_refused),
    Point("DDL inside a transaction commits it", _ddl_commits, "DDL that commits"),
)

"""Rows 2 and 4: death right after COMMIT, and workers that sleep while others take over.

Row 3, a connection that breaks during COMMIT, is in the contracts of the targets.
"""

import pytest

from pipeline_platform_tests.faults.pair import Pair

AFTER_COMMIT = [
    "postgres-postgres", "elasticsearch-postgres", "elasticsearch-duckdb", "postgres-snowflake",
]  # fmt: skip


@pytest.mark.fault_row(2)
@pytest.mark.parametrize("pair", AFTER_COMMIT, indirect=True)
def test_row_02_what_is_committed_is_not_loaded_again(pair: Pair) -> None:
    key = pair.new_window()
    died = pair.run(key, "load.after_commit:kill")
    assert died.code == -9
    assert not pair.after_the_fault(key, [pair.oracle[key]])
    before = committed_at(pair, key)
    resumed = pair.run(key)
    assert resumed.code == 0, pair.log()
    assert "load.after_fence" not in resumed.points
    assert committed_at(pair, key) == before
    assert pair.reads(key) == 1
    assert not pair.look([key])


def committed_at(pair: Pair, key: str) -> object:
    with pair.warehouse.open() as query:
        return query(
            "SELECT committed_at FROM analytics.orders_window_commits "
            f"WHERE CAST(window_start AS TIMESTAMP) = TIMESTAMP '{key} 00:00:00'"
        )


@pytest.mark.fault_row(4)
@pytest.mark.parametrize(
    ("pair", "asleep_at"),
    [
        ("postgres-postgres", "stage.after_batch"),
        ("elasticsearch-postgres", "stage.after_batch"),
        ("postgres-postgres", "stage.before_manifest"),
        ("elasticsearch-postgres", "load.before_begin"),
        ("postgres-postgres", "audit.before_verdict"),
        ("postgres-snowflake", "load.before_begin"),
    ],
    indirect=["pair"],
)
def test_row_04_a_worker_that_slept_changes_nothing(pair: Pair, asleep_at: str) -> None:
    """SIGSTOP; the lease ends (by SQL); another run moves the window; SIGCONT."""
    key = pair.new_window()
    asleep = pair.run(key, f"{asleep_at}:stop")
    assert asleep.code is None, pair.log()
    with pair.warehouse.open() as query:
        query(pair.warehouse.expire_leases)
    pair.add_late(key)
    assert pair.run_elsewhere(key).code == 0, pair.log()
    assert not pair.look([key])

    woken = pair.go_on()
    assert woken.code == 1
    assert "ClaimLostError" in pair.log()
    assert not pair.look([key])

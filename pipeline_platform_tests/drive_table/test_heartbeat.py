"""The heartbeat's thread on a real store whose heartbeat can be made to fail."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_platform.config.systems import DuckDBState
from pipeline_platform.drive_table.duckdb import DuckDBStore
from pipeline_platform.drive_table.heartbeat import WaitingClaims, heartbeat
from pipeline_platform.drive_table.store import LEASE_SECONDS, Claim
from pipeline_platform.errors import ClaimLostError, TransientError
from pipeline_platform_tests.drive_table.examples import a_record, claimed


class FailingStore(DuckDBStore):
    """The real store; `failing` makes its heartbeats fail like a database that is away."""

    failing = False
    asked = 0

    def heartbeat(self, claim: Claim, lease_seconds: float = LEASE_SECONDS) -> Claim:
        self.asked += 1
        if self.failing:
            raise TransientError("the database is away")
        return super().heartbeat(claim, lease_seconds)


@pytest.fixture
def store(tmp_path: Path) -> FailingStore:
    store = FailingStore(DuckDBState(path="state.duckdb"), base_dir=tmp_path)
    store.migrate()
    return store


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lost(still_ours: Callable[[], None]) -> bool:
    try:
        still_ours()
    except ClaimLostError:
        return True
    return False


def beating() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_it_extends_the_lease_and_leaves_no_thread(store: FailingStore) -> None:
    claim = claimed(store, a_record())
    with heartbeat(store, claim, every_seconds=0.02) as pulse:
        assert beating()
        first = pulse.claim
        until(lambda: pulse.claim.lease_until > first.lease_until)
        pulse.still_ours()
    assert not beating()
    assert store.look_up(claim.key).claim_of("run-1") == pulse.claim
    asked = store.asked
    time.sleep(0.06)
    assert store.asked == asked


def test_an_error_of_the_work_leaves_no_thread(store: FailingStore) -> None:
    claim = claimed(store, a_record())
    with pytest.raises(RuntimeError), heartbeat(store, claim, every_seconds=0.02):
        raise RuntimeError
    assert not beating()


def test_the_first_beat_brings_an_expired_lease_back(store: FailingStore) -> None:
    claim = claimed(store, a_record(), lease_seconds=0)
    with heartbeat(store, claim) as pulse:
        pulse.still_ours()
        assert store.claim(a_record(), "run-2") is None


def test_a_claim_lost_before_is_noticed_at_once(store: FailingStore) -> None:
    claim = claimed(store, a_record())
    with pytest.raises(ClaimLostError), heartbeat(store, replace(claim, epoch=7)):
        pytest.fail("the body must not run")
    assert not beating()


def test_the_worker_learns_that_another_run_took_over(store: FailingStore) -> None:
    claim = claimed(store, a_record())
    with heartbeat(store, claim, every_seconds=0.02) as pulse:
        store.save(claim, None, None, release=True)
        claimed(store, a_record(), "run-2")
        until(lambda: lost(pulse.still_ours))
        with pytest.raises(ClaimLostError, match="epoch 1 is gone"):
            pulse.still_ours()
        until(lambda: not beating())


@pytest.mark.fault_row(22)
def test_it_outlives_errors_while_the_lease_lasts(store: FailingStore) -> None:
    claim = claimed(store, a_record())
    with heartbeat(store, claim, every_seconds=0.02, lease_seconds=60) as pulse:
        store.failing = True
        asked = store.asked
        until(lambda: store.asked > asked + 2)
        pulse.still_ours()
        store.failing = False
        before = pulse.claim
        until(lambda: pulse.claim.lease_until > before.lease_until)


def test_a_lease_that_ran_out_is_lost(store: FailingStore) -> None:
    claim = claimed(store, a_record())
    with heartbeat(store, claim, every_seconds=0.02, lease_seconds=1.0) as pulse:
        store.failing = True
        until(lambda: lost(pulse.still_ours))
        with pytest.raises(ClaimLostError, match="could not be reached"):
            pulse.still_ours()
        until(lambda: not beating())


def test_a_claim_that_waits_is_kept_until_the_next_step_takes_it(store: FailingStore) -> None:
    claim = claimed(store, a_record(), lease_seconds=0.4)
    waiting = WaitingClaims()
    waiting.hold(store, claim, every_seconds=0.02, lease_seconds=0.4)
    until(lambda: store.asked > 3)
    time.sleep(0.4)
    assert store.claim(a_record(), "run-2") is None
    waiting.take("run-2", claim.key)
    assert beating()
    waiting.take("run-1", claim.key)
    assert not beating()
    waiting.take("run-1", claim.key)


def test_a_claim_that_waits_in_vain_is_given_up(store: FailingStore) -> None:
    """A run that fails elsewhere frees the window by another way; nothing beats on for it."""
    claim = claimed(store, a_record())
    WaitingClaims().hold(store, claim, every_seconds=0.02)
    store.save(claim, None, None, release=True)
    until(lambda: not beating())

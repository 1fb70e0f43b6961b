"""Claims: one winner, and what a loser may not do."""

import time
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from pipeline_platform.drive_table.store import Claim, DriveStore
from pipeline_platform.errors import ClaimLostError
from pipeline_platform.record import PipelineRecord
from pipeline_platform_tests.drive_table.examples import (
    SHORT,
    Raw,
    a_record,
    a_row,
    claimed,
    key_of,
    together,
)


class ClaimContract:
    """Part of `DriveStoreContract`."""

    def test_claim_registers_a_new_record(self, store: DriveStore) -> None:
        claim = store.claim(replace(a_record(), source_name="s"), "run-1", lease_seconds=300)
        assert claim is not None
        assert (claim.key, claim.epoch, claim.owner) == (key_of(), 1, "run-1")
        left = claim.lease_until - store.now()
        assert timedelta(seconds=240) < left <= timedelta(seconds=300)
        stored = store.record(key_of())
        assert stored is not None
        assert (stored.epoch, stored.owner, stored.source_name) == (1, "run-1", "s")
        assert stored.lease_until == claim.lease_until

    def test_a_held_window_is_not_claimed(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        assert store.claim(a_record(), "run-2") is None
        assert store.claim(a_record(), "run-1") is None
        assert store.look_up(key_of()).claim_of("run-1") == claim
        assert store.look_up(key_of()).claim_of("run-2") is None

    def test_a_released_window_is_claimed_at_the_next_epoch(self, store: DriveStore) -> None:
        store.save(claimed(store, a_record()), None, None, release=True)
        assert store.look_up(key_of()).claim_of("run-1") is None
        assert claimed(store, a_record(), "run-2").epoch == 2

    def test_an_expired_lease_is_taken_over(self, store: DriveStore) -> None:
        claimed(store, a_record(), lease_seconds=SHORT)
        time.sleep(0.01)
        assert claimed(store, a_record(), "run-2").epoch == 2

    def test_epoch_goes_above_what_others_have_seen(self, store: DriveStore) -> None:
        claim = store.claim(a_record(), "run-1", at_least_epoch=41)
        assert claim is not None
        assert claim.epoch == 42
        store.save(claim, None, None, release=True)
        again = store.claim(a_record(), "run-2", at_least_epoch=7)
        assert again is not None
        assert again.epoch == 43

    @pytest.mark.fault_row(5)
    def test_many_threads_one_winner(self, store: DriveStore) -> None:
        for round_ in range(3):
            record = a_record(round_)

            def claim(number: int, record: PipelineRecord = record) -> Claim | None:
                return store.claim(record, f"run-{number}")

            results = together([partial(claim, number) for number in range(8)])
            winners = [result for result in results if result is not None]
            assert len(winners) == 1
            assert winners[0].epoch == 1
            assert store.look_up(record.key).claim_of(winners[0].owner) == winners[0]

    def test_heartbeat_extends(self, store: DriveStore) -> None:
        claim = claimed(store, a_record(), lease_seconds=SHORT)
        time.sleep(0.01)
        extended = store.heartbeat(claim, 120)
        assert extended.lease_until > store.now() + timedelta(seconds=60)
        assert store.claim(a_record(), "run-2") is None

    @pytest.mark.fault_row(4, 22)
    def test_a_lost_claim_writes_nothing(self, store: DriveStore, raw: Raw) -> None:
        lost = claimed(store, a_record(), lease_seconds=SHORT)
        time.sleep(0.01)
        winner = claimed(store, a_record(), "run-2")
        before = store.record(key_of())
        late = replace(a_record(), source_count=666)
        for act in (
            lambda: store.heartbeat(lost),
            lambda: store.save(lost, late, a_row(late, lost.epoch)),
            lambda: store.save(lost, None, a_row(late, lost.epoch), release=True),
            lambda: store.save(replace(lost, owner="run-2"), late, None),
            lambda: store.save(replace(winner, owner="run-1"), late, None),
        ):
            with pytest.raises(ClaimLostError, match="orders"):
                act()
        assert store.record(key_of()) == before
        assert store.look_up(key_of()).runs == ()

    def test_save_refuses_the_record_of_another_window(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        with pytest.raises(ValueError, match="claim is on"):
            store.save(claim, a_record(1), None)

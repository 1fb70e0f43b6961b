"""Records: register, rebuild, pending."""

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform_tests.drive_table.examples import (
    SHORT,
    a_record,
    claimed,
    hours,
    key_of,
)


class RecordContract:
    """Part of `DriveStoreContract`."""

    def test_the_clock_is_the_databases_in_utc(self, store: DriveStore) -> None:
        assert store.now().tzinfo is timezone.utc
        assert abs(store.now() - datetime.now(timezone.utc)) < timedelta(minutes=1)

    def test_register_inserts_what_is_new_only(self, store: DriveStore) -> None:
        assert store.register([a_record(0), a_record(1), a_record(0)]) == 2
        changed = replace(a_record(1), source_name="changed")
        assert store.register([a_record(hour) for hour in range(2, 450)] + [changed]) == 448
        stored = store.record(key_of(1))
        assert stored is not None
        assert stored.source_name is None
        assert stored.record_first_created_time is not None
        assert (stored.pipeline_status, stored.epoch, stored.owner) == ("PENDING", 0, None)
        assert store.register([]) == 0

    def test_ids_are_unique(self, store: DriveStore) -> None:
        store.register(a_record(hour) for hour in range(20))
        ids = {record.id for record in store.pending("orders", 100)}
        assert len(ids) == 20
        assert None not in ids

    def test_record_of_an_unknown_key(self, store: DriveStore) -> None:
        assert store.record(key_of()) is None
        assert store.latest_record("orders") is None
        assert store.look_up(key_of()).claim_of("run-1") is None

    def test_pending_is_oldest_first_free_and_of_this_pipeline(self, store: DriveStore) -> None:
        store.register([a_record(hour) for hour in (3, 1, 2, 0)] + [a_record(0, "other")])
        held = claimed(store, a_record(1))
        done = claimed(store, a_record(2))
        store.save(done, replace(a_record(2), pipeline_status="COMPLETED"), None, release=True)
        assert hours(store.pending("orders", 10)) == [0, 3]
        assert hours(store.pending("orders", 1)) == [0]
        store.save(held, None, None, release=True)
        assert hours(store.pending("orders", 10)) == [0, 1, 3]

    def test_pending_has_windows_whose_lease_expired(self, store: DriveStore) -> None:
        claimed(store, a_record(), lease_seconds=SHORT)
        time.sleep(0.01)
        assert hours(store.pending("orders", 10)) == [0]

    def test_latest_record_whatever_its_status(self, store: DriveStore) -> None:
        store.register([a_record(0), a_record(7), a_record(3)])
        claim = claimed(store, a_record(7))
        store.save(claim, replace(a_record(7), pipeline_status="COMPLETED"), None)
        latest = store.latest_record("orders")
        assert latest is not None
        assert latest.key == key_of(7)

    def test_rebuild_keeps_identity_and_history(self, store: DriveStore) -> None:
        claim = claimed(store, a_record())
        store.save(claim, replace(a_record(), retry_attempt=2), None, release=True)
        before = store.record(key_of())
        assert store.rebuild(replace(a_record(), config_hash="new", retry_attempt=0))
        after = store.record(key_of())
        assert before is not None
        assert after is not None
        assert after.config_hash == "new"
        assert (after.id, after.epoch, after.retry_attempt) == (before.id, 1, 2)

    def test_rebuild_leaves_held_completed_and_unknown_records(self, store: DriveStore) -> None:
        new = replace(a_record(), config_hash="new")
        assert not store.rebuild(new)
        claim = claimed(store, a_record())
        assert not store.rebuild(new)
        store.save(claim, replace(a_record(), pipeline_status="COMPLETED"), None, release=True)
        assert not store.rebuild(new)

"""Migrations."""

import multiprocessing
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ConfigurationError
from pipeline_platform_tests.drive_table.examples import (
    Raw,
    a_record,
    hours,
    key_of,
)


def migrate_in_process(state: StateSystem, base_dir: Path, start: datetime) -> None:
    """The body of one of the processes that start together."""
    time.sleep(max(0.0, (start - datetime.now(timezone.utc)).total_seconds()))
    store = build_store(state, base_dir=base_dir)
    store.migrate()
    store.register([a_record(hour) for hour in range(3)])


class SchemaContract:
    """Part of `DriveStoreContract`."""

    starting_together: ClassVar[int] = 8

    def test_processes_that_start_together_migrate_once(
        self, unmigrated: DriveStore, state: StateSystem, base_dir: Path, raw: Raw
    ) -> None:
        start = datetime.now(timezone.utc) + timedelta(seconds=1)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        processes = [
            context.Process(target=migrate_in_process, args=(state, base_dir, start))
            for _ in range(self.starting_together)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + 200
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        assert [process.exitcode for process in processes] == [0] * self.starting_together
        assert raw("SELECT version FROM {}schema_migrations")[1] == [(1,)]
        assert hours(unmigrated.pending("orders", 10)) == [0, 1, 2]

    def test_migrate_again_changes_nothing(self, store: DriveStore) -> None:
        store.register([a_record()])
        store.migrate()
        assert store.record(key_of()) is not None

    @pytest.mark.fault_row(22)
    def test_a_newer_schema_is_refused(self, store: DriveStore, raw: Raw) -> None:
        raw("INSERT INTO {}schema_migrations VALUES (99, 'later', CURRENT_TIMESTAMP)")
        with pytest.raises(ConfigurationError, match="version 99"):
            store.migrate()

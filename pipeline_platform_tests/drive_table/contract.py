"""What every drive store must show; a store's test file gives the fixtures and inherits."""

from pathlib import Path

import pytest

from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform_tests.drive_table.contract_claims import ClaimContract
from pipeline_platform_tests.drive_table.contract_queries import QueryContract
from pipeline_platform_tests.drive_table.contract_records import RecordContract
from pipeline_platform_tests.drive_table.contract_runs import RunContract
from pipeline_platform_tests.drive_table.contract_schema import SchemaContract


class DriveStoreTests:
    """Subclasses give the fixtures `state` and `base_dir`."""

    @pytest.fixture
    def unmigrated(self, state: StateSystem, base_dir: Path) -> DriveStore:
        return build_store(state, base_dir=base_dir)

    @pytest.fixture
    def store(self, unmigrated: DriveStore) -> DriveStore:
        unmigrated.migrate()
        return unmigrated


class DriveStoreContract(
    DriveStoreTests, RecordContract, ClaimContract, RunContract, SchemaContract, QueryContract
):
    """Subclasses give `raw` too (see `examples.Raw`)."""

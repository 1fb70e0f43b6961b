"""The drive store on the Snowflake test server; what that cannot show is in `snowflake_check`."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.snowflake import SnowflakeState
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import PermanentError
from pipeline_platform_tests.drive_table.contract import DriveStoreContract
from pipeline_platform_tests.drive_table.examples import Raw, a_record, claimed, key_of
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase

# The test server takes no quote in the name of a schema.
SCHEMA = "my 100% state"


def parsed(value: Any) -> Any:
    """ARRAY comes as JSON text."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


class TestSnowflakeStore(DriveStoreContract):
    starting_together = 3  # each of them imports the driver

    @pytest.fixture
    def base_dir(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.fixture
    def state(self, snowflake_database: SnowflakeDatabase) -> SnowflakeState:
        config = {**snowflake_database.as_config(), "schema": SCHEMA, "type": "snowflake"}
        return SnowflakeState.model_validate({**config, "lock_timeout_seconds": 30})

    @pytest.fixture
    def raw(self, snowflake_database: SnowflakeDatabase) -> Raw:
        def execute(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            with snowflake_database.connect() as connection, connection.cursor() as cursor:
                cursor.execute(sql.replace("{}", f'"{SCHEMA}".'))
                columns = [column.name.lower() for column in cursor.description or ()]
                return columns, [tuple(map(parsed, row)) for row in cursor.fetchall()]

        return execute

    def test_reading_what_was_never_migrated(self, unmigrated: DriveStore) -> None:
        with pytest.raises(PermanentError, match="does not exist"):
            unmigrated.record(key_of())

    def test_without_its_row_the_write_lock_protects_nothing(
        self, store: DriveStore, raw: Raw
    ) -> None:
        raw("DELETE FROM {}pipeline_write_lock")
        with pytest.raises(PermanentError, match="nobody can write to the drive table"):
            store.register([a_record()])
        assert store.record(key_of()) is None

    def test_a_doubled_row_of_the_write_lock_does_no_harm(
        self, store: DriveStore, raw: Raw
    ) -> None:
        raw("INSERT INTO {}pipeline_write_lock SELECT * FROM {}pipeline_write_lock")
        claimed(store, a_record())
        assert store.claim(a_record(), "run-2") is None

    def test_types_are_snowflakes(self, store: DriveStore, raw: Raw) -> None:
        columns = (
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_name IN ('PIPELINE_EXECUTION_LOG', 'PIPELINE_RECORDS')"
        )
        types: dict[str, str] = dict(raw(columns)[1])
        assert types["AUDIT_PHASE"] == "VARIANT"
        assert types["PIPELINE_START_TIMESTAMP"] == "TIMESTAMP_TZ"
        assert types["LEASE_UNTIL"] == "TIMESTAMP_TZ"
        assert types["SOURCE_COUNT"] == "NUMBER"

    def test_name(self, store: DriveStore, state: SnowflakeState) -> None:
        assert store.name == f"snowflake {state.account}/{state.database} {SCHEMA}"

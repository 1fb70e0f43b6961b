"""Staged files in a bucket: read by Snowflake itself, or put through this machine."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_platform.errors import VerificationError
from pipeline_platform.movement import TargetCounts
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.servers.s3 import S3Bucket
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase
from pipeline_platform_tests.targets.contract_bucket import BucketContract
from pipeline_platform_tests.targets.recorded import recording
from pipeline_platform_tests.targets.snowflake_schema import (
    SnowflakeSchema,
    assert_equal,
    types_of_the_test_server,
)
from pipeline_platform_tests.targets.staged import SCHEMA, WINDOW, Staging, rows_of
from pipeline_platform_tests.targets.warehouse import OTHER_ROWS, ROWS, Warehouse


class TestThroughAnInternalStage(BucketContract):
    # fakesnow folds a letter like ö wrongly when it matches the columns of a file.
    HOSTILE_NAMES = BucketContract.HOSTILE_NAMES[:-1]

    @pytest.fixture
    def warehouse(self, snowflake_database: SnowflakeDatabase) -> SnowflakeSchema:
        return SnowflakeSchema(snowflake_database)

    def every_type(self) -> pa.Table:
        return types_of_the_test_server()

    def assert_equal(self, warehouse: Warehouse, table: pa.Table) -> None:
        assert_equal(warehouse, table)

    def test_more_files_than_are_on_disk_at_once(
        self, warehouse: SnowflakeSchema, bucket_staging: Staging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = warehouse.target(put_parallel=2)
        target.prepare(SCHEMA)
        request = bucket_staging.request(ROWS)
        sent = recording(monkeypatch)
        target.load(request)
        assert len(request.files) == 4
        assert sum(text.startswith("PUT") for text in sent) == 2
        assert sum(text.startswith("COPY") for text in sent) == 1
        assert warehouse.ids() == list(range(23))


class TestThroughAnExternalStage:
    @pytest.fixture
    def warehouse(
        self, snowflake_database: SnowflakeDatabase, s3_bucket: S3Bucket
    ) -> SnowflakeSchema:
        if snowflake_database.server.is_real:
            pytest.skip("a real account reaches no bucket of this machine")
        schema = SnowflakeSchema(snowflake_database)
        schema.execute("CREATE SCHEMA stages")
        schema.execute(f"CREATE STAGE stages.bucket URL = 's3://{s3_bucket.name}/stage/'")
        return schema

    @pytest.fixture
    def bucket_staging(self, tmp_path: Path, s3_bucket: S3Bucket) -> Staging:
        return Staging(tmp_path, s3_bucket.as_config())

    @pytest.fixture
    def target(self, warehouse: SnowflakeSchema) -> Target:
        target = warehouse.target(external_stage="stages.bucket")
        target.prepare(SCHEMA)
        return target

    def test_no_row_passes_the_worker(
        self,
        warehouse: SnowflakeSchema,
        target: Target,
        bucket_staging: Staging,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Each file is opened once, for its footer."""
        assert all(check.passed for check in target.check())
        request = bucket_staging.request(ROWS)
        opened: list[str] = []

        def opens(location: str) -> pa.NativeFile:
            opened.append(location)
            return bucket_staging.stage.open(location)

        sent = recording(monkeypatch)
        details = target.load(replace(request, open=opens)).details
        assert opened == list(request.files)
        assert not [text for text in sent if text.startswith("PUT")]
        assert details["rows_copied"] == 23
        assert details["put_seconds"] == 0
        assert warehouse.ids() == list(range(23))
        assert warehouse.load_tables() == []

    def test_every_type(self, warehouse: SnowflakeSchema, bucket_staging: Staging) -> None:
        table = types_of_the_test_server()
        target = warehouse.target(external_stage="stages.bucket")
        target.prepare(table.schema)
        details = target.load(bucket_staging.request(table)).details
        assert details["columns_verified"] == len(table.schema)
        assert_equal(warehouse, table)

    def test_many_files_cost_no_more_statements(
        self, target: Target, bucket_staging: Staging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent = recording(monkeypatch)
        counts = []
        for epoch, rows in enumerate((ROWS, rows_of(120)), 1):
            request = bucket_staging.request(rows, epoch=2 * epoch)
            target.load(replace(request, epoch=2 * epoch - 1))
            sent.clear()
            target.load(request)
            counts.append(len(sent))
        assert counts[0] == counts[1]

    def test_a_file_that_is_gone(
        self,
        warehouse: SnowflakeSchema,
        target: Target,
        bucket_staging: Staging,
        s3_bucket: S3Bucket,
    ) -> None:
        target.load(bucket_staging.request(OTHER_ROWS))
        before = warehouse.everything()
        request = bucket_staging.request(ROWS, epoch=2)
        key = request.files[1].removeprefix(f"s3://{s3_bucket.name}/")
        s3_bucket.server.client().delete_object(Bucket=s3_bucket.name, Key=key)
        with pytest.raises(VerificationError, match="cannot be read"):
            target.load(request)
        assert warehouse.everything() == before

    def test_an_empty_window(
        self, warehouse: SnowflakeSchema, target: Target, bucket_staging: Staging
    ) -> None:
        target.load(bucket_staging.request(ROWS))
        target.load(bucket_staging.request([], epoch=2))
        assert target.count(WINDOW) == TargetCounts(0, 0)

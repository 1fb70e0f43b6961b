"""What a target that reads staged files must do when they lie in a bucket."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_platform.errors import ClaimLostError, TransientError, VerificationError
from pipeline_platform.movement import TargetCounts
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.servers.s3 import S3Bucket
from pipeline_platform_tests.targets.staged import START, WINDOW, Staging, at_epoch, every_type
from pipeline_platform_tests.targets.warehouse import OTHER_ROWS, ROWS, TargetTests, Warehouse


class BucketContract(TargetTests):
    HOSTILE_NAMES: tuple[str, ...] = (
        "select", 'a"b', "x.y", "100%", "$1", "{files}", "new\nline", "größe",
    )  # fmt: skip

    @pytest.fixture
    def bucket_staging(self, tmp_path: Path, s3_bucket: S3Bucket) -> Staging:
        return Staging(tmp_path, s3_bucket.as_config())

    def every_type(self) -> pa.Table:
        """Staged columns of all types that the database holds."""
        return every_type()

    @abstractmethod
    def assert_equal(self, warehouse: Warehouse, table: pa.Table) -> None:
        """`analytics.orders` holds exactly these values."""

    def test_loads_every_type_from_a_bucket(
        self, warehouse: Warehouse, bucket_staging: Staging
    ) -> None:
        table = self.every_type()
        target = warehouse.target()
        target.prepare(table.schema)
        request = bucket_staging.request(table)
        assert request.files[0].startswith("s3://")
        assert target.load(request).details["columns_verified"] == len(table.schema)
        target.load(at_epoch(request, 2))
        self.assert_equal(warehouse, table)

    def test_loads_hostile_names_from_a_bucket(
        self, warehouse: Warehouse, bucket_staging: Staging
    ) -> None:
        names = ["created_at", *self.HOSTILE_NAMES]
        values = [pa.array([START], pa.timestamp("us", "UTC")), *(pa.array([n]) for n in names[1:])]
        table = pa.table(dict(zip(names, values, strict=True)))
        target = warehouse.target(query_field=QueryField("created_at"))
        target.prepare(table.schema)
        target.load(bucket_staging.request(table))
        [row] = warehouse.execute("SELECT * FROM analytics.orders")
        assert list(row[1 : len(names)]) == names[1:]

    def test_an_empty_window_from_a_bucket(
        self, warehouse: Warehouse, target: Target, bucket_staging: Staging
    ) -> None:
        target.load(bucket_staging.request(ROWS))
        target.load(bucket_staging.request([], epoch=2))
        assert target.count(WINDOW) == TargetCounts(0, 0)

    @pytest.mark.parametrize("file", [0, 1, 3])
    def test_a_claim_that_is_lost_between_files_of_a_bucket(
        self, warehouse: Warehouse, target: Target, bucket_staging: Staging, file: int
    ) -> None:
        target.load(bucket_staging.request(OTHER_ROWS))
        before = warehouse.everything()
        request = bucket_staging.request(ROWS, epoch=2)
        opened: list[str] = []

        def still_ours() -> None:
            if len(set(opened)) == len(request.files) and opened.count(request.files[file]) > 1:
                raise ClaimLostError("gone")

        def opens(location: str) -> pa.NativeFile:
            opened.append(location)
            return bucket_staging.stage.open(location)

        lost = replace(request, still_ours=still_ours, open=opens)
        with pytest.raises(ClaimLostError, match="gone"):
            target.load(lost)
        assert warehouse.everything() == before

    @pytest.mark.parametrize(
        ("error", "seen"),
        [
            (FileNotFoundError("gone"), VerificationError),
            (TransientError("the service is away"), TransientError),
        ],
    )
    def test_a_file_that_cannot_be_read_any_more(
        self,
        warehouse: Warehouse,
        target: Target,
        bucket_staging: Staging,
        error: Exception,
        seen: type[Exception],
    ) -> None:
        target.load(bucket_staging.request(OTHER_ROWS))
        before = warehouse.everything()
        request = bucket_staging.request(ROWS, epoch=2)
        begun: list[str] = []

        def opens(location: str) -> pa.NativeFile:
            if begun and location == request.files[2]:
                raise error
            return bucket_staging.stage.open(location)

        broken = replace(request, still_ours=lambda: begun.append("load"), open=opens)
        with pytest.raises(seen):
            target.load(broken)
        assert begun
        assert warehouse.everything() == before
        target.load(replace(request, epoch=3))
        assert warehouse.ids() == list(range(23))

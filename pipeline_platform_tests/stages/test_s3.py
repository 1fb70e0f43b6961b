"""The stage contract on a real S3 service."""

from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.stages import build_stage
from pipeline_platform.stages.base import Stage
from pipeline_platform_tests.servers.s3 import S3Bucket
from pipeline_platform_tests.stages.contract import StageContract


class TestS3Stage(StageContract):
    """Folders of `tmp_path` stand for prefixes of the test's bucket."""

    @pytest.fixture(autouse=True)
    def _bucket(self, s3_bucket: S3Bucket) -> None:
        self.bucket = s3_bucket

    def make_stage(self, tmp_path: Path, **settings: Any) -> Stage:
        place = {"prefix": f"{tmp_path.name}/stage", **self.bucket.as_config()}
        config = S3Stage(type="s3", **{**place, **settings})
        return build_stage(config, base_dir=tmp_path)

    def archive_root(self, tmp_path: Path) -> str:
        return f"s3://{self.bucket.name}/archive/old"

    def make_archive(self, tmp_path: Path) -> Stage:
        return self.make_stage(tmp_path, prefix="archive/old/")

    def read(self, tmp_path: Path, relative: str) -> bytes:
        return self.bucket.get(f"{tmp_path.name}/stage/{relative}")

    def overwrite(self, tmp_path: Path, relative: str, data: bytes | None) -> None:
        key = f"{tmp_path.name}/stage/{relative}"
        if data is None:
            self.bucket.client().delete_object(Bucket=self.bucket.name, Key=key)
        else:
            self.bucket.put(key, data)

    def paths(self, tmp_path: Path) -> list[str]:
        root = f"{tmp_path.name}/stage/"
        uploads = self.bucket.client().list_multipart_uploads(Bucket=self.bucket.name)
        unfinished = [each["Key"] for each in uploads.get("Uploads", ())]
        return sorted(key.removeprefix(root) for key in [*self.bucket.keys(root), *unfinished])

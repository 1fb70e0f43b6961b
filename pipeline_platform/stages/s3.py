"""The stage in a bucket of an S3 service."""

from pathlib import Path

from pipeline_platform.config.s3 import S3Stage as S3StageConfig
from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.stages.files import FileStage
from pipeline_platform.stages.s3_storage import S3Storage

_SCHEME = "s3://"


class S3Stage(FileStage):
    """`s3://<bucket>/<prefix>/<pipeline>/<window start, UTC>/run<epoch>/`."""

    def __init__(self, system: S3StageConfig, *, base_dir: Path) -> None:
        self._bucket = S3Bucket(system, base_dir)
        super().__init__(S3Storage(self._bucket, system.prefix), system)

    def archive_storage(self, archive_root: str) -> S3Storage:
        """`s3://bucket/prefix`, reached with the same credentials, or a prefix of this bucket."""
        if not archive_root.startswith(_SCHEME):
            if "://" in archive_root or archive_root.startswith("/"):
                raise ConfigurationError(
                    f"{archive_root} is no place in a bucket.",
                    hint="Give s3://bucket/prefix, or a prefix of the stage's own bucket.",
                )
            return S3Storage(self._bucket, archive_root)
        bucket, _, prefix = archive_root.removeprefix(_SCHEME).partition("/")
        return S3Storage(self._bucket.other(bucket), prefix)

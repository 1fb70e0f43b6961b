"""Stages and storages in a bucket, for the tests of S3."""

from pathlib import Path
from typing import Any

from pipeline_platform.config.s3 import S3Stage as S3StageConfig
from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.stages.s3 import S3Stage
from pipeline_platform.stages.s3_storage import S3Storage
from pipeline_platform_tests.servers import s3
from pipeline_platform_tests.servers.toxiproxy import Relay

# What is written in pieces of many parts.
MEBIBYTE = bytes(range(256)) * 4096


class Storage(S3Storage):
    """With its client at hand, for hooks into single requests."""

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        super().__init__(bucket, prefix)
        self.events = bucket.client.meta.events


def stage_config(place: s3.S3Bucket, **settings: Any) -> S3StageConfig:
    return S3StageConfig(type="s3", **{"prefix": "stage", **place.as_config(), **settings})


def stage_in(place: s3.S3Bucket, **settings: Any) -> S3Stage:
    return S3Stage(stage_config(place, **settings), base_dir=Path())


def storage_in(place: s3.S3Bucket, **settings: Any) -> Storage:
    return Storage(S3Bucket(stage_config(place, **settings), Path()), "stage")


def through(relay: Relay, **settings: Any) -> dict[str, Any]:
    """Settings of a connection that a relay may disturb, and that gives up soon."""
    return {
        "endpoint_url": f"http://{relay.address}",
        "connect_timeout_seconds": 0.5,
        "read_timeout_seconds": 0.5,
        "max_attempts": 2,
        **settings,
    }


def unfinished(bucket: s3.S3Bucket) -> list[str]:
    """Keys of uploads that were begun."""
    found = bucket.client().list_multipart_uploads(Bucket=bucket.name)
    return [upload["Key"] for upload in found.get("Uploads", ())]

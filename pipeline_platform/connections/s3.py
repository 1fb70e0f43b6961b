"""How a bucket is reached.

`dagster_aws` and boto3 belong to the extra `pipeline-platform[s3]`; this file is imported when a
config names an s3 stage.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from dagster_aws.s3 import S3Resource

from pipeline_platform.config.s3 import S3Connection
from pipeline_platform.config.secrets import SecretReference
from pipeline_platform.connections.named_file import named_file
from pipeline_platform.connections.s3_errors import s3_errors

# Uploads and read-ahead of a stage that writes one file and reads another.
CONNECTIONS = 16


class BoundedS3Resource(S3Resource):
    """Dagster's S3 resource with what it cannot be given: time limits, path style, an authority.

    Shows no credential as text.
    """

    connect_timeout_seconds: float
    read_timeout_seconds: float
    path_style: bool
    ca_certs: str | None

    def get_client(self) -> Any:
        """A client; threads may share it."""
        session = boto3.session.Session(profile_name=self.profile_name)
        return session.client(
            "s3",
            region_name=self.region_name,
            endpoint_url=self.endpoint_url,
            verify=self.ca_certs,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            config=Config(
                connect_timeout=self.connect_timeout_seconds,
                read_timeout=self.read_timeout_seconds,
                retries={"mode": "standard", "total_max_attempts": self.max_attempts},
                s3={"addressing_style": "path" if self.path_style else "auto"},
                max_pool_connections=CONNECTIONS,
                tcp_keepalive=True,
            ),
        )

    def __repr__(self) -> str:
        return f"BoundedS3Resource(endpoint_url={self.endpoint_url!r})"

    __str__ = __repr__


class S3Bucket:
    """A bucket of a connection. The client is made, and secrets are read, when first used."""

    def __init__(
        self, connection: S3Connection, base_dir: Path, *, bucket: str | None = None
    ) -> None:
        self.connection = connection
        self.name = bucket or connection.bucket
        self._base_dir = base_dir
        self._making = threading.Lock()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The boto3 client. ConfigurationError: a secret's variable or ca_certs is missing."""
        with self._making:
            if self._client is None:
                with s3_errors(self.connection, f"S3 bucket {self.name}"):
                    self._client = _resource(self.connection, self._base_dir).get_client()
            return self._client

    @property
    def encryption(self) -> dict[str, str]:
        """Arguments of every call that begins an object."""
        wanted = {
            "ServerSideEncryption": self.connection.server_side_encryption,
            "SSEKMSKeyId": self.connection.kms_key_id,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def checksum(self) -> dict[str, str]:
        """Arguments of calls that send bytes, unless AWS_REQUEST_CHECKSUM_CALCULATION or the AWS
        configuration says `when_required`, for services that know no checksums."""
        if self.client.meta.config.request_checksum_calculation == "when_required":
            return {}
        return {"ChecksumAlgorithm": "CRC32"}

    @contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Map what goes wrong with an object."""
        with s3_errors(self.connection, f"s3://{self.name}/{key}"):
            yield

    def other(self, bucket: str) -> "S3Bucket":
        """Another bucket of the same connection."""
        return S3Bucket(self.connection, self._base_dir, bucket=bucket)


def _resource(connection: S3Connection, base_dir: Path) -> BoundedS3Resource:
    _silence_headers()
    return BoundedS3Resource(
        region_name=connection.region,
        endpoint_url=connection.endpoint_url,
        profile_name=connection.profile,
        aws_access_key_id=_value(connection.access_key_id),
        aws_secret_access_key=_value(connection.secret_access_key),
        aws_session_token=_value(connection.session_token),
        max_attempts=connection.max_attempts,
        connect_timeout_seconds=connection.connect_timeout_seconds,
        read_timeout_seconds=connection.read_timeout_seconds,
        path_style=connection.path_style,
        ca_certs=_authority(connection, base_dir),
    )


def _value(secret: SecretReference | None) -> str | None:
    return None if secret is None else secret.resolve()


def _authority(connection: S3Connection, base_dir: Path) -> str | None:
    given = connection.ca_certs
    return None if given is None else named_file(base_dir, given, "ca_certs")


def _silence_headers() -> None:
    """At DEBUG botocore logs the headers of requests, and with them a session token."""
    logger = logging.getLogger("botocore")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)

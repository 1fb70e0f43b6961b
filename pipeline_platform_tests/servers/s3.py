"""An S3 service as tests use it: clients and fresh buckets."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from typing_extensions import Self

ENDPOINT = "PIPELINE_PLATFORM_S3_ENDPOINT"
ACCESS_KEY = "PIPELINE_PLATFORM_S3_ACCESS_KEY"
SECRET_KEY = "PIPELINE_PLATFORM_S3_SECRET_KEY"
REGION = "PIPELINE_PLATFORM_S3_REGION"
DEFAULT_REGION = "us-east-1"


class S3Server:
    """What is the same for a service that tests started and for one somewhere else.

    `with` starts it, where it is ours to start, and at the end closes its clients.
    """

    def __init__(
        self,
        endpoint_url: str,
        *,
        access_key: str,
        secret_key: str,
        region: str = DEFAULT_REGION,
        ca_file: Path | None = None,
    ) -> None:
        self.endpoint_url = endpoint_url
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region
        self.ca_file = ca_file
        self._clients: list[Any] = []
        self._own: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._clients:
            self._clients.pop().close()
        self._own = None

    def client(self, **config: Any) -> Any:
        """A boto3 client, closed with the server; without options it is always the same one."""
        if self._own is not None and not config:
            return self._own
        usual = {"s3": {"addressing_style": "path"}, "connect_timeout": 10, "read_timeout": 60}
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            verify=str(self.ca_file) if self.ca_file else None,
            config=Config(**{**usual, **config}),
        )
        self._clients.append(client)
        if not config:
            self._own = client
        return client

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that a bucket's `as_config()` refers to, with their values."""
        return {ACCESS_KEY: self.access_key, SECRET_KEY: self.secret_key}

    def new_bucket(self) -> "S3Bucket":
        """A fresh, empty bucket."""
        name = f"pipeline-platform-test-{uuid.uuid4().hex[:12]}"
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        place = {} if self.region == DEFAULT_REGION else elsewhere
        self.client().create_bucket(Bucket=name, **place)
        return S3Bucket(self, name)


@dataclass(frozen=True)
class S3Bucket:
    """One bucket; `as_config` is the connection part of a config section."""

    server: S3Server
    name: str

    def client(self, **config: Any) -> Any:
        return self.server.client(**config)

    def as_config(self) -> dict[str, Any]:
        """Its credentials are references to `server.environment`."""
        trust = {"ca_certs": str(self.server.ca_file)} if self.server.ca_file else {}
        return {
            "bucket": self.name,
            "endpoint_url": self.server.endpoint_url,
            "region": self.server.region,
            "access_key_id": f"env:{ACCESS_KEY}",
            "secret_access_key": f"env:{SECRET_KEY}",
            "path_style": True,
            **trust,
        }

    def keys(self, prefix: str = "") -> list[str]:
        """Keys in it, sorted."""
        pages = self.client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=prefix)
        return sorted(each["Key"] for page in found for each in page.get("Contents", ()))

    def put(self, key: str, body: bytes) -> None:
        self.client().put_object(Bucket=self.name, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        content: bytes = self.client().get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def drop(self) -> None:
        """Remove the bucket with all that is in it, unfinished uploads too."""
        client = self.client()
        uploads = client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())
        for upload in uploads:
            client.abort_multipart_upload(
                Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
            )
        for key in self.keys():
            client.delete_object(Bucket=self.name, Key=key)
        client.delete_bucket(Bucket=self.name)


def own_s3() -> S3Server | None:
    """The service that the environment names, if it names one."""
    if ENDPOINT not in os.environ:
        return None
    return S3Server(
        os.environ[ENDPOINT],
        access_key=os.environ[ACCESS_KEY],
        secret_key=os.environ[SECRET_KEY],
        region=os.environ.get(REGION, DEFAULT_REGION),
    )

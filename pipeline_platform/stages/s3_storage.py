"""Files as objects of a bucket. An object is visible whole or not at all."""

import io
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from botocore.exceptions import ClientError

from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.connections.s3_errors import answered, error_code
from pipeline_platform.errors import ConfigurationError, PermanentError
from pipeline_platform.stages.s3_object import READ_THREADS, S3Object
from pipeline_platform.stages.s3_upload import S3Upload
from pipeline_platform.stages.storage import ByteSink, segments

_DELETE_AT_ONCE = 1_000
_LONGEST_PAUSE_SECONDS = 5.0


class S3Storage:
    """A prefix of a bucket."""

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = "/".join(segments(prefix.strip("/"))) + "/" if prefix.strip("/") else ""
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="s3-reader")
        self.name = f"s3://{bucket.name}/{self._prefix}".rstrip("/")

    @contextmanager
    def create(self, path: str) -> Iterator[ByteSink]:
        """Parts are sent while the block writes; the object appears when it ends."""
        with S3Upload(self._bucket, self._key(path)) as upload:
            yield upload
            upload.finish()

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """False too when this very call wrote it and the answer got lost."""
        key = self._key(path)
        pause = 0.1
        for left in reversed(range(self._bucket.connection.max_attempts)):
            with self._bucket.errors(key):
                try:
                    self._bucket.client.put_object(
                        Bucket=self._bucket.name,
                        Key=key,
                        Body=io.BytesIO(data),
                        IfNoneMatch="*",
                        **self._bucket.encryption,
                    )
                    return True
                except ClientError as error:
                    if error_code(error) == "PreconditionFailed":
                        return False
                    # Another put of the same key is under way: it may win or fail.
                    if error_code(error) != "ConditionalRequestConflict" or not left:
                        raise
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def open(self, path: str) -> pa.NativeFile:
        """Read in blocks, ahead of a sequential reader; see `S3Object`."""
        return pa.PythonFile(S3Object(self._bucket, self._key(path), self._readers), mode="r")

    def names(self, folder: str) -> list[str]:
        """Objects and prefixes directly below."""
        prefix = self._key(folder) + "/"
        found: set[str] = set()
        for page in self._pages("list_objects_v2", Prefix=prefix, Delimiter="/"):
            found |= {entry["Key"].removeprefix(prefix) for entry in page.get("Contents", [])}
            below = page.get("CommonPrefixes", [])
            found |= {entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in below}
        return sorted(found - {""})

    def delete(self, path: str) -> bool:
        """S3 does not say whether there was an object, so it is asked before."""
        key = self._key(path)
        where = {"Bucket": self._bucket.name, "Key": key}
        with self._bucket.errors(key):
            try:
                self._bucket.client.head_object(**where)
                there = True
            except ClientError as error:
                if error_code(error) not in ("404", "NoSuchKey"):
                    raise
                there = False
            self._bucket.client.delete_object(**where)
        return there

    def delete_folder(self, folder: str) -> int:
        """Also ends unfinished uploads below it."""
        prefix = self._key(folder) + "/"
        aborted = 0
        for page in self._pages("list_multipart_uploads", Prefix=prefix):
            for upload in page.get("Uploads", []):
                aborted += self._abort(upload["Key"], upload["UploadId"])
        deleted = 0
        for page in self._pages("list_objects_v2", Prefix=prefix):
            keys = [entry["Key"] for entry in page.get("Contents", [])]
            for first in range(0, len(keys), _DELETE_AT_ONCE):
                deleted += self._delete_all(prefix, keys[first : first + _DELETE_AT_ONCE])
        return aborted + deleted

    def location(self, path: str) -> str:
        """`s3://bucket/key`."""
        return f"s3://{self._bucket.name}/{self._key(path)}"

    def path(self, location: str) -> str:
        """Of `s3://bucket/key`."""
        root = f"s3://{self._bucket.name}/{self._prefix}"
        if not location.startswith(root):
            raise ConfigurationError(f"{location} is not in the stage {self.name}.")
        return location.removeprefix(root)

    def _key(self, path: str) -> str:
        return self._prefix + "/".join(segments(path))

    def _pages(self, operation: str, **arguments: str) -> Iterator[dict[str, Any]]:
        with self._bucket.errors(arguments["Prefix"]):
            pages = self._bucket.client.get_paginator(operation)
            for page in pages.paginate(Bucket=self._bucket.name, **arguments):
                answered(page, "IsTruncated")
                yield page

    def _abort(self, key: str, upload_id: str) -> int:
        with self._bucket.errors(key):
            try:
                self._bucket.client.abort_multipart_upload(
                    Bucket=self._bucket.name, Key=key, UploadId=upload_id
                )
            except ClientError as error:
                if error_code(error) != "NoSuchUpload":
                    raise
                return 0
        return 1

    def _delete_all(self, prefix: str, keys: list[str]) -> int:
        with self._bucket.errors(prefix):
            answer = self._bucket.client.delete_objects(
                Bucket=self._bucket.name,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
            )
        if left := answer.get("Errors"):
            first = left[0]
            raise PermanentError(
                f"s3://{self._bucket.name}/{first.get('Key')} and {len(left) - 1} more objects "
                f"were not deleted: {first.get('Message')} ({first.get('Code')}).",
                hint="Grant s3:DeleteObject on the bucket's objects.",
            )
        return len(keys)

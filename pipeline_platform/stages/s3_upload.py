"""One new object of a bucket, sent in parts while it is being written."""

import io
import logging
import secrets
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from typing_extensions import Self

from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.connections.s3_errors import answered, error_code, s3_error
from pipeline_platform.errors import PipelineError, TransientError

# At most PART_THREADS + 1 parts are in memory. 10,000 parts are S3's limit, so 78 GiB a file.
PART_BYTES = 8 << 20
PART_THREADS = 4

# Beside the time limits from byte to byte: a part takes at most ten read timeouts.
SLOWEST = 10

# Which upload an object came from; found again where the answer to its end got lost.
_MARK = "pipeline-platform-upload"
_CONFIRM_PAUSES_SECONDS = (0.0, 0.5, 1.5)

_log = logging.getLogger(__name__)


class S3Upload:
    """A sink whose object appears with `finish`; leaving the block by an error leaves nothing.

    An object of at most one part is put at once. Each part, and each object that is put, carries
    a checksum that the service compares.
    """

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._where = {"Bucket": bucket.name, "Key": key}
        self._mark = secrets.token_hex(16)
        self._new = {"Metadata": {_MARK: self._mark}, **bucket.encryption}
        self._part = self._new_part()
        self._bytes = 0
        self._upload_id: str | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._sending: deque[Future[dict[str, Any]]] = deque()
        self._sent: list[dict[str, Any]] = []

    def write(self, data: bytes | memoryview, /) -> int:
        """Waits for the oldest part while all threads are busy; raises what went wrong with it."""
        view = memoryview(data).cast("B")
        size = view.nbytes
        while view.nbytes:
            if self._part.tell() == PART_BYTES:
                self._send()
            taken = self._part.write(view[: PART_BYTES - self._part.tell()])
            self._bytes += taken
            view = view[taken:]
        return size

    def finish(self) -> None:
        """Make the object visible. Raises unless it is known to be there."""
        if self._upload_id is None:
            with self._bucket.errors(self._key):
                self._bucket.client.put_object(
                    **self._where,
                    **self._new,
                    **self._bucket.checksum,
                    Body=self._part.from_start(),
                )
            return
        self._send()
        while self._sending:
            self._sent.append(self._sending.popleft().result())
        with self._bucket.errors(self._key):
            try:
                ended = self._bucket.client.complete_multipart_upload(
                    **self._where, UploadId=self._upload_id, MultipartUpload={"Parts": self._sent}
                )
                answered(ended, "ETag")
            except (ClientError, BotoCoreError) as error:
                if not self._is_there(error):
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        if error is not None and self._upload_id is not None:
            self._abort(self._upload_id)

    def _send(self) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(PART_THREADS, thread_name_prefix="s3-part")
            self._upload_id = self._begin()
        if len(self._sending) == PART_THREADS:
            self._sent.append(self._sending.popleft().result())
        number = len(self._sent) + len(self._sending) + 1
        self._sending.append(self._threads.submit(self._send_part, number, self._part))
        self._part = self._new_part()

    def _new_part(self) -> "_Part":
        return _Part(SLOWEST * self._bucket.connection.read_timeout_seconds)

    def _begin(self) -> str:
        with self._bucket.errors(self._key):
            begun = self._bucket.client.create_multipart_upload(
                **self._where, **self._new, **self._bucket.checksum
            )
            return str(answered(begun, "UploadId"))

    def _send_part(self, number: int, part: "_Part") -> dict[str, Any]:
        with self._bucket.errors(self._key):
            sent = self._bucket.client.upload_part(
                **self._where,
                **self._bucket.checksum,
                UploadId=self._upload_id,
                PartNumber=number,
                Body=part.from_start(),
            )
            entry = {"PartNumber": number, "ETag": answered(sent, "ETag")}
        part.close()
        if "ChecksumCRC32" in sent:
            entry["ChecksumCRC32"] = sent["ChecksumCRC32"]
        return entry

    def _is_there(self, error: Exception) -> bool:
        """Whether the upload did end although the answer got lost, or says that it is gone."""
        if isinstance(error, ClientError) and error_code(error) == "InvalidPart":
            return False
        if not isinstance(s3_error(error, self._bucket.connection, self._key), TransientError):
            return False
        for pause in _CONFIRM_PAUSES_SECONDS:
            time.sleep(pause)
            try:
                found = self._bucket.client.head_object(**self._where)
            except ClientError:
                continue
            marked = found.get("Metadata", {}).get(_MARK) == self._mark
            return bool(marked and found.get("ContentLength") == self._bytes)
        return False

    def _abort(self, upload_id: str) -> None:
        """What is left of it is removed when the attempt is cleaned."""
        try:
            with self._bucket.errors(self._key):
                self._bucket.client.abort_multipart_upload(**self._where, UploadId=upload_id)
        except PipelineError as error:
            _log.warning("An unfinished upload is left over: %s", error)


class _Part(io.BytesIO):
    """Bytes that must be read, from the start on, within a time limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._deadline = 0.0

    def from_start(self) -> Self:
        self.seek(0)
        return self

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Each try begins at the start."""
        self._deadline = time.monotonic() + self._seconds
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        """TimeoutError after the deadline, which ends the try as a broken connection does."""
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"a part was not sent within {self._seconds:g} s")
        return super().read(size)

"""One object of a bucket as a seekable file, read in blocks."""

import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError

from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.connections.s3_errors import BROKEN_ANSWERS, answered, error_code
from pipeline_platform.errors import VerificationError

# A Parquet footer, or a whole manifest, comes with the first request.
TAIL_BYTES = 256 << 10
BLOCK_BYTES = 4 << 20
READ_THREADS = 4
READ_BYTES = 1 << 20
# Beside the time limits from byte to byte: a block takes at most ten read timeouts.
SLOWEST = 10
# Blocks asked for beyond the one that a sequential reader is at, and blocks kept at most.
BLOCKS_AHEAD = 3
BLOCKS_KEPT = BLOCKS_AHEAD + 2

_GONE = ("NoSuchKey", "404")
_NO_RANGE = ("InvalidRange", "416")
_REPLACED = ("PreconditionFailed", "412", *_NO_RANGE)


class _EmptyError(Exception):
    """An object without bytes has no range."""


class S3Object:
    """What `pyarrow.PythonFile` needs of a file. Memory is bounded by BLOCKS_KEPT blocks.

    FileNotFoundError if there is no object. Every request names the version that the first one
    saw: an object that is replaced or deleted meanwhile is a VerificationError.
    """

    closed = False

    def __init__(self, bucket: S3Bucket, key: str, threads: ThreadPoolExecutor) -> None:
        self._bucket = bucket
        self._key = key
        self._threads = threads
        self._position = 0
        self._last_block = -1
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._etag = ""
        self._tail = b""
        self._size = 0
        try:
            answer, self._tail = self._get(f"bytes=-{TAIL_BYTES}")
        except _EmptyError:
            return
        self._etag = answer["ETag"]
        # A service may give a small object whole.
        _, _, size = str(answer.get("ContentRange", "")).rpartition("/")
        self._size = int(size) if size else len(self._tail)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; fewer at the end only."""
        end = self._size if size < 0 else min(self._position + size, self._size)
        pieces = []
        while self._position < end:
            piece = self._piece(end)
            pieces.append(piece)
            self._position += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of every file."""
        start = (0, self._position, self._size)[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Position in bytes."""
        return self._position

    def close(self) -> None:
        """Forget the blocks, those on their way too."""
        self.closed = True
        for block in self._blocks.values():
            block.cancel()
        self._blocks.clear()

    def flush(self) -> None:
        """Nothing to do."""

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Never."""
        return False

    def _piece(self, end: int) -> bytes:
        tail_from = self._size - len(self._tail)
        if self._position >= tail_from:
            return self._tail[self._position - tail_from : end - tail_from]
        number, start = divmod(self._position, BLOCK_BYTES)
        stop = min(end - number * BLOCK_BYTES, BLOCK_BYTES)
        block = self._block(number)
        return block if (start, stop) == (0, len(block)) else block[start:stop]

    def _block(self, number: int) -> bytes:
        sequential = number in (self._last_block, self._last_block + 1)
        self._last_block = number
        wanted = range(number, number + 1 + (BLOCKS_AHEAD if sequential else 0))
        for each in wanted:
            if each * BLOCK_BYTES >= self._size - len(self._tail):
                break
            if each not in self._blocks:
                self._blocks[each] = self._threads.submit(self._fetch, each)
            self._blocks.move_to_end(each)
        while len(self._blocks) > BLOCKS_KEPT:
            _, dropped = self._blocks.popitem(last=False)
            dropped.cancel()
        return self._blocks[number].result()

    def _fetch(self, number: int) -> bytes:
        first = number * BLOCK_BYTES
        last = min(first + BLOCK_BYTES, self._size) - 1
        _, data = self._get(f"bytes={first}-{last}")
        if len(data) != last - first + 1:
            raise self._changed("was replaced")
        return data

    def _get(self, byte_range: str) -> tuple[dict[str, Any], bytes]:
        """One range. botocore tries requests again, but not answers that break off."""
        arguments = {"Bucket": self._bucket.name, "Key": self._key, "Range": byte_range}
        if self._etag:
            arguments["IfMatch"] = self._etag
        pause = 0.1
        for left in reversed(range(self._bucket.connection.max_attempts)):
            with self._bucket.errors(self._key):
                try:
                    answer = self._bucket.client.get_object(**arguments)
                except ClientError as error:
                    raise self._error(error) from None
                try:
                    with answer["Body"] as body:
                        data = self._read(body)
                    answered(answer, "ETag")
                    if len(data) == answered(answer, "ContentLength"):
                        return answer, data
                    raise IncompleteReadError(
                        actual_bytes=len(data), expected_bytes=answer["ContentLength"]
                    )
                except BROKEN_ANSWERS:
                    if not left or self.closed:
                        raise
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        raise AssertionError("unreachable")

    def _read(self, body: Any) -> bytes:
        """All bytes, within ten read timeouts."""
        seconds = SLOWEST * self._bucket.connection.read_timeout_seconds
        deadline = time.monotonic() + seconds
        pieces = []
        while piece := body.read(READ_BYTES):
            pieces.append(piece)
            if time.monotonic() > deadline:
                raise ReadTimeoutError(endpoint_url=f"s3://{self._bucket.name}/{self._key}")
        return b"".join(pieces)

    def _error(self, error: ClientError) -> Exception:
        code = error_code(error)
        if not self._etag:
            if code in _NO_RANGE:
                return _EmptyError()
            if code in _GONE:
                return FileNotFoundError(f"s3://{self._bucket.name}/{self._key}")
            return error  # type: ignore[no-any-return]
        if code in _GONE:
            return self._changed("was deleted")
        if code in _REPLACED:
            return self._changed("was replaced")
        return error  # type: ignore[no-any-return]

    def _changed(self, what: str) -> VerificationError:
        return VerificationError(
            f"s3://{self._bucket.name}/{self._key} {what} while it was read.",
            hint="Something else changes the stage; the window is extracted again.",
        )

"""Staged files are what their manifest says, byte for byte."""

import hashlib

from pipeline_platform.errors import VerificationError
from pipeline_platform.movement import StagedFile
from pipeline_platform.stages.storage import Storage

_CHUNK_BYTES = 4 << 20


def verify_file(storage: Storage, path: str, expected: StagedFile) -> None:
    """VerificationError unless the file is there with its bytes and sha256."""
    digest = hashlib.sha256()
    size = 0
    try:
        with storage.open(path) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        raise _differs(storage, path, "is missing", expected, None, None) from None
    if size != expected.bytes:
        what = f"has {size} bytes instead of {expected.bytes}"
        raise _differs(storage, path, what, expected, size, None)
    if digest.hexdigest() != expected.sha256:
        raise _differs(storage, path, "has another content", expected, size, digest.hexdigest())


def copy_file(source: Storage, target: Storage, path: str) -> None:
    """Copy below the same relative path; an existing copy is replaced."""
    try:
        stream = source.open(path)
    except FileNotFoundError as error:
        raise VerificationError(
            f"The staged file {source.location(path)} is missing.",
            hint="The attempt is not whole; nothing of it was deleted.",
        ) from error
    with stream, target.create(path) as sink:
        while chunk := stream.read(_CHUNK_BYTES):
            sink.write(chunk)


def _differs(
    storage: Storage,
    path: str,
    what: str,
    expected: StagedFile,
    size: int | None,
    sha256: str | None,
) -> VerificationError:
    return VerificationError(
        f"The file {storage.location(path)} {what}.",
        hint="It was changed or damaged after it was written; the window is extracted again.",
        facts={
            "file": expected.path,
            "expected_bytes": expected.bytes,
            "observed_bytes": size,
            "expected_sha256": expected.sha256,
            "observed_sha256": sha256,
        },
    )

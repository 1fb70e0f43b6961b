"""Files in a folder of this machine, written so that a crash leaves no half file visible."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipeline_platform.errors import ConfigurationError, PermanentError, TransientError
from pipeline_platform.stages.storage import ByteSink, segments

_TEMPORARY = ".tmp-"
_BUFFER_BYTES = 1 << 20
_CREATE_TRIES = 5
_TRANSIENT = (errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT)
_HINTS = {
    errno.ENOSPC: "Free space on the disk; the next run starts the window's extraction again.",
    errno.EDQUOT: "Raise the quota; the next run starts the window's extraction again.",
    errno.EACCES: "Give the user that runs Dagster write permission.",
    errno.EPERM: "The file system must allow hard links and writing for this user.",
    errno.EROFS: "The file system is mounted read-only.",
    errno.EOPNOTSUPP: "The file system must support hard links.",
}


class LocalStorage:
    """A root folder; it is created when first written to. Files are private to their owner."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.name = str(self._root)

    @contextmanager
    def create(self, path: str) -> Iterator[ByteSink]:
        """Write to a temporary name, make it durable, then rename."""
        final = self._path(path)
        with self._errors(path):
            stream, temporary = self._temporary(final)
        try:
            yield _MappedStream(stream, self, path)
            with self._errors(path):
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
                temporary.replace(final)
                _sync_folder(final.parent)
        finally:
            # After a failed write closing tries to write again.
            with suppress(OSError):
                stream.close()
            with suppress(OSError):
                temporary.unlink()

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """A hard link is the step that fails where the name is taken."""
        final = self._path(path)
        with self._errors(path):
            stream, temporary = self._temporary(final)
            try:
                with stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                try:
                    os.link(temporary, final)
                except FileExistsError:
                    return False
                _sync_folder(final.parent)
                return True
            finally:
                temporary.unlink(missing_ok=True)

    def open(self, path: str) -> pa.NativeFile:
        """FileNotFoundError stays one; other failures are mapped."""
        with self._errors(path, missing_is_mine=False):
            return pa.OSFile(str(self._path(path)), "rb")

    def names(self, folder: str) -> list[str]:
        """Empty for a folder that is not there."""
        with self._errors(folder):
            try:
                found = os.listdir(self._path(folder))
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name for name in found if not name.startswith(_TEMPORARY))

    def delete(self, path: str) -> bool:
        """The removal is durable before this returns."""
        file = self._path(path)
        with self._errors(path):
            try:
                file.unlink()
            except FileNotFoundError:
                return False
            _sync_folder(file.parent)
        return True

    def delete_folder(self, folder: str) -> int:
        """Also removes the folder above if this was the last one in it."""
        place = self._path(folder)
        removed = 0
        with self._errors(folder):
            if not place.is_dir():
                return 0
            for entry in list(os.scandir(place)):
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
                    removed += 1
            with suppress(FileNotFoundError):
                place.rmdir()
            with suppress(OSError):
                place.parent.rmdir()
        return removed

    def location(self, path: str) -> str:
        """Absolute path."""
        return str(self._path(path))

    def path(self, location: str) -> str:
        """Of an absolute path."""
        try:
            return Path(location).relative_to(self._root).as_posix()
        except ValueError:
            raise ConfigurationError(f"{location} is not in the stage {self._root}.") from None

    def _path(self, path: str) -> Path:
        full = self._root.joinpath(*segments(path))
        if not full.resolve().is_relative_to(self._root):
            raise ConfigurationError(f"{full} is a link that leads out of {self._root}.")
        return full

    def _temporary(self, final: Path) -> tuple[BinaryIO, Path]:
        """A new private file beside `final`; the folder may vanish meanwhile (a cleaning run)."""
        temporary = final.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        for remaining in reversed(range(_CREATE_TRIES)):
            _make_folder(final.parent)
            try:
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileNotFoundError:
                if not remaining:
                    raise
            else:
                return os.fdopen(handle, "wb", buffering=_BUFFER_BYTES), temporary
        raise AssertionError("unreachable")

    @contextmanager
    def _errors(self, path: str, *, missing_is_mine: bool = True) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if not missing_is_mine:
                raise
            raise self.error(error, path) from error
        except OSError as error:
            raise self.error(error, path) from error

    def error(self, error: OSError, path: str) -> TransientError | PermanentError:
        """The platform's error for one of the operating system."""
        kind = TransientError if error.errno in _TRANSIENT else PermanentError
        return kind(
            f"The stage file {self._root}/{path}: {error.strerror or error}.",
            hint=_HINTS.get(error.errno or 0, "Check the folder and its disk."),
        )


class _MappedStream:
    """A stream whose failed writes are errors of the platform."""

    def __init__(self, stream: BinaryIO, storage: LocalStorage, path: str) -> None:
        self._stream = stream
        self._storage = storage
        self._path = path

    def write(self, data: bytes | memoryview, /) -> int:
        try:
            return self._stream.write(data)
        except OSError as error:
            raise self._storage.error(error, self._path) from error


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What a file stage needs of the place that keeps its files.

A new kind of place (an object store) is one class with these operations; Parquet, manifest and
summaries stay as they are.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from pipeline_platform.errors import ConfigurationError


class ByteSink(Protocol):
    """What a new file is written through; a failed write is an error of the platform."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Write all of `data`."""
        ...


class Storage(Protocol):
    """Files below one root. Paths are relative, with `/`, checked by `segments`.

    Raises TransientError for what a retry may heal, PermanentError otherwise (no space, no
    permission).
    """

    name: str
    """Shown to people; never a secret."""

    def create(self, path: str) -> AbstractContextManager[ByteSink]:
        """A stream into a new file.

        The file appears under its name, whole and durable, when the block ends, and never if the
        block raises. An existing file is replaced.
        """
        ...

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write a whole, durable file at once; False, and nothing written, if there is one."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """A seekable stream of an existing file; FileNotFoundError if there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of finished files and of folders directly in a folder, ascending."""
        ...

    def delete(self, path: str) -> bool:
        """Remove a file, durably; False if there was none."""
        ...

    def delete_folder(self, folder: str) -> int:
        """Remove a folder and its files, unfinished ones too; returns how many files."""
        ...

    def location(self, path: str) -> str:
        """Where a reader outside the platform finds the file: a local path or a URI."""
        ...

    def path(self, location: str) -> str:
        """The path of a location; ConfigurationError for one that is not below the root."""
        ...


def segments(path: str) -> list[str]:
    """The parts of a relative path; ConfigurationError for one that could lead elsewhere."""
    parts = path.split("/")
    for part in parts:
        if part in ("", ".", "..") or any(sign in part for sign in "\\:\x00"):
            raise ConfigurationError(f"The path {path!r} could lead out of the stage.")
    return parts

"""What a stage must do."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from pipeline_platform.movement import (
    AttemptPath,
    Manifest,
    Prerequisite,
    Snapshot,
    StillOurs,
    WindowSlice,
)


class Stage(Protocol):
    """Where a window rests between source and target: Parquet files and a manifest per attempt."""

    name: str
    """Shown to people, e.g. `data/stage`; never a secret."""

    def check(self) -> Sequence[Prerequisite]:
        """Writable."""
        ...

    def attempts(self, window: WindowSlice) -> list[int]:
        """Epochs that have an attempt path for this window, ascending, whole or not."""
        ...

    def write(
        self,
        attempt: AttemptPath,
        snapshot: Snapshot,
        *,
        pipeline_id: str,
        query_field: str,
        config_hashes: dict[str, str],
        still_ours: StillOurs,
    ) -> Manifest:
        """Write all batches, then the manifest, put-if-absent.

        Memory is bounded by one batch and one row group. Raises VerificationError without writing
        a manifest unless rows + rejected = snapshot count exactly; raises ClaimLostError when
        `still_ours` does, which is asked before each batch and before the manifest.
        """
        ...

    def open_manifest(self, attempt: AttemptPath) -> Manifest | None:
        """The attempt's manifest; None if there is none or its own hash does not fit."""
        ...

    def manifests(self, pipeline_name: str) -> Iterator[Manifest]:
        """Whole manifests of all windows and attempts of the pipeline, oldest window first."""
        ...

    def verify(self, manifest: Manifest) -> None:
        """Compare bytes and sha256 of every file; VerificationError names the one that differs."""
        ...

    def count(self, manifest: Manifest) -> int:
        """Rows counted from the files' own footers, not from the manifest."""
        ...

    def locations(self, manifest: Manifest) -> tuple[str, ...]:
        """Locations of the files, in order: local paths, or URIs that `open` can read."""
        ...

    def open(self, location: str) -> pa.NativeFile:
        """A seekable stream of one of `locations`; FileNotFoundError if the file is gone."""
        ...

    def scan(self, manifest: Manifest) -> Iterator[pa.RecordBatch]:
        """Rows in order, batch by batch."""
        ...

    def delete(self, attempt: AttemptPath) -> int:
        """Remove the attempt path, manifest first; returns the number of files removed."""
        ...

    def archive(self, attempt: AttemptPath, archive_root: str) -> str:
        """Copy a whole attempt below `archive_root`, verify it, return where; then delete it.

        `archive_root` is as it stands in the config, e.g. a folder relative to the project's.
        """
        ...

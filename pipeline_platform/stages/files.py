"""A stage made of Parquet files and a manifest, wherever they are stored."""

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_platform.config.system_fields import StageFields
from pipeline_platform.errors import (
    ConfigurationError,
    PermanentError,
    PipelineError,
    VerificationError,
)
from pipeline_platform.fault_points import fault_point
from pipeline_platform.movement import (
    AttemptPath,
    Manifest,
    Prerequisite,
    Snapshot,
    StagedFile,
    StillOurs,
    WindowSlice,
)
from pipeline_platform.stages.attempt import (
    MANIFEST_NAME,
    attempt_folder,
    pipeline_folder,
    write_attempt,
)
from pipeline_platform.stages.integrity import copy_file, verify_file
from pipeline_platform.stages.manifest import decode_manifest
from pipeline_platform.stages.storage import Storage

SCAN_ROWS = 65_536
_WINDOW = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_RUN = re.compile(r"run(0|[1-9][0-9]*)")
_PROBE = ".probe"


class FileStage(ABC):
    """All of the stage's contract but the storage operations; see `stages/base.py`."""

    def __init__(self, storage: Storage, settings: StageFields) -> None:
        self._storage = storage
        self._settings = settings
        self.name = storage.name

    @abstractmethod
    def archive_storage(self, archive_root: str) -> Storage:
        """The storage that an archive root names."""

    def check(self) -> Sequence[Prerequisite]:
        """A file can be put, listed, read and removed, and a second put finds it."""
        name = "stage writable"
        folder = f"{_PROBE}-{uuid.uuid4().hex}"
        probe = f"{folder}/{_PROBE}"
        try:
            first = self._storage.put_if_absent(probe, _PROBE.encode())
            try:
                second = self._storage.put_if_absent(probe, _PROBE.encode())
                listed = self._storage.names(folder)
                with self._storage.open(probe) as stream:
                    found = stream.read()
            finally:
                self._storage.delete_folder(folder)
        except PipelineError as error:
            return [Prerequisite.failed(name, error)]
        if listed != [_PROBE] or found != _PROBE.encode():
            detail = f"{self.name} does not show at once what was put"
            return [Prerequisite(name, False, detail, "Choose a consistent storage.")]
        if first and second:
            hint = "Choose a storage with conditional writes."
            return [Prerequisite(name, False, f"{self.name} replaces files silently", hint)]
        return [Prerequisite(name, True, self.name)]

    def attempts(self, window: WindowSlice) -> list[int]:
        """Epochs with a folder, ascending; whether they are whole is another question."""
        folder, _, _ = attempt_folder(AttemptPath(window, 0)).rpartition("/")
        return _epochs(self._storage, folder)

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
        """See `write_attempt`."""
        return write_attempt(
            self._storage,
            self._settings,
            attempt,
            snapshot,
            pipeline_id=pipeline_id,
            query_field=query_field,
            config_hashes=config_hashes,
            still_ours=still_ours,
        )

    def open_manifest(self, attempt: AttemptPath) -> Manifest | None:
        """None too for a manifest that speaks of another window or attempt."""
        return _manifest_of(self._storage, attempt)

    def manifests(self, pipeline_name: str) -> Iterator[Manifest]:
        """Attempts of one window by ascending epoch."""
        windows = self._storage.names(pipeline_folder(pipeline_name))
        for window in filter(_WINDOW.fullmatch, windows):
            for epoch in _epochs(self._storage, f"{pipeline_name}/{window}"):
                folder = f"{pipeline_name}/{window}/run{epoch}"
                manifest = _read_manifest(self._storage, folder)
                if manifest is not None and manifest.attempt.relative == folder:
                    yield manifest

    def verify(self, manifest: Manifest) -> None:
        """The rejected rows' file is compared as well."""
        for path, file in _files(manifest):
            verify_file(self._storage, path, file)

    def count(self, manifest: Manifest) -> int:
        """VerificationError for a file that is missing or has no readable footer."""
        rows = 0
        for path, _ in _data_files(manifest):
            with _parquet_file(self._storage, path) as file:
                rows += file.metadata.num_rows
        return rows

    def locations(self, manifest: Manifest) -> tuple[str, ...]:
        """Local paths or URIs."""
        return tuple(self._storage.location(path) for path, _ in _data_files(manifest))

    def open(self, location: str) -> pa.NativeFile:
        """ConfigurationError for a location that is not of this stage."""
        return self._storage.open(self._storage.path(location))

    def scan(self, manifest: Manifest) -> Iterator[pa.RecordBatch]:
        """VerificationError for a file that cannot be read or has other columns."""
        for path, _ in _data_files(manifest):
            with _parquet_file(self._storage, path) as file:
                if not file.schema_arrow.remove_metadata().equals(manifest.schema):
                    raise VerificationError(
                        f"The staged file {self._storage.location(path)} has other columns than "
                        "its manifest.",
                        hint="The window is extracted again.",
                    )
                try:
                    yield from file.iter_batches(batch_size=SCAN_ROWS)
                except (pa.ArrowException, OSError) as error:
                    raise _unreadable(self._storage, path) from error

    def delete(self, attempt: AttemptPath) -> int:
        """Safe to repeat, and after a crash in the middle."""
        folder = attempt_folder(attempt)
        fault_point("clean.before_delete")
        manifest = self._storage.delete(f"{folder}/{MANIFEST_NAME}")
        fault_point("clean.after_manifest")
        removed = int(manifest) + self._storage.delete_folder(folder)
        fault_point("clean.after_delete")
        return removed

    def archive(self, attempt: AttemptPath, archive_root: str) -> str:
        """Safe to repeat: what a crash left half copied is copied again.

        Raises PermanentError if there is no whole manifest here nor in the archive,
        VerificationError if a copy differs or the archive holds another manifest.
        """
        archive = self.archive_storage(archive_root)
        folder = attempt_folder(attempt)
        place = archive.location(folder)
        if place == self._storage.location(folder):
            raise ConfigurationError(
                f"The archive {archive_root} is the stage itself.",
                hint="Choose another phases.stage_cleaning.archive_location.",
            )
        manifest = _manifest_of(self._storage, attempt)
        if manifest is not None:
            self._copy(manifest, archive)
        elif _manifest_of(archive, attempt) is None:
            raise PermanentError(
                f"{self._storage.location(folder)} holds no whole manifest.",
                hint="Only whole attempts are archived; delete this one instead.",
            )
        self.delete(attempt)
        return place

    def _copy(self, manifest: Manifest, archive: Storage) -> None:
        for path, file in _files(manifest):
            copy_file(self._storage, archive, path)
            verify_file(archive, path, file)
        path = f"{attempt_folder(manifest.attempt)}/{MANIFEST_NAME}"
        with self._storage.open(path) as stream:
            data = stream.read()
        if not archive.put_if_absent(path, data):
            there = _manifest_of(archive, manifest.attempt)
            if there is None or there.hash != manifest.hash:
                raise VerificationError(
                    f"The archive holds another manifest at {archive.location(path)}.",
                    hint="Compare the two and move one away.",
                )


def _epochs(storage: Storage, window_folder: str) -> list[int]:
    names = storage.names(window_folder)
    return sorted(int(found[1]) for name in names if (found := _RUN.fullmatch(name)))


def _manifest_of(storage: Storage, attempt: AttemptPath) -> Manifest | None:
    manifest = _read_manifest(storage, attempt_folder(attempt))
    return manifest if manifest is not None and manifest.attempt == attempt else None


def _read_manifest(storage: Storage, folder: str) -> Manifest | None:
    try:
        with storage.open(f"{folder}/{MANIFEST_NAME}") as stream:
            return decode_manifest(stream.read())
    except FileNotFoundError:
        return None


def _data_files(manifest: Manifest) -> list[tuple[str, StagedFile]]:
    folder = attempt_folder(manifest.attempt)
    return [(f"{folder}/{file.path}", file) for file in manifest.files]


def _files(manifest: Manifest) -> list[tuple[str, StagedFile]]:
    files = _data_files(manifest)
    if manifest.rejected_file is not None:
        folder = attempt_folder(manifest.attempt)
        files.append((f"{folder}/{manifest.rejected_file.path}", manifest.rejected_file))
    return files


def _parquet_file(storage: Storage, path: str) -> pq.ParquetFile:
    try:
        # Without pre_buffer=False memory grows with the file.
        return pq.ParquetFile(storage.open(path), pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(storage, path) from error


def _unreadable(storage: Storage, path: str) -> VerificationError:
    return VerificationError(
        f"The staged file {storage.location(path)} is missing or damaged.",
        hint="The window is extracted again.",
    )

"""Parquet files of one attempt, written batch by batch with bounded memory."""

import hashlib
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from typing_extensions import Self

from pipeline_platform.config.system_fields import StageFields
from pipeline_platform.errors import PermanentError
from pipeline_platform.movement import StagedFile
from pipeline_platform.stages.storage import ByteSink, Storage

# Wide rows end a row group by size before they end it by number.
MAX_GROUP_BYTES = 128 << 20
SAMPLE_ROWS = 10_000

# A load may name a thousand files of a window. So many have the size that the config wants, then
# every hundred twice that of the hundred before, up to 64 times: a terabyte in a thousand files.
FILES_OF_WANTED_SIZE = 500
GROWTH_EVERY = 100
GREATEST_GROWTH = 64


class HashedSink:
    """Counts and hashes what passes through; file-like enough for pyarrow."""

    closed = False

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._sha256 = hashlib.sha256()
        self.bytes = 0
        self.discarding = False

    def write(self, data: bytes | memoryview, /) -> int:
        """Write, count and hash."""
        size = memoryview(data).nbytes
        if self.discarding:
            return size
        self._sink.write(data)
        self._sha256.update(data)
        self.bytes += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes

    def writable(self) -> bool:
        """Always."""
        return True

    def flush(self) -> None:
        """Nothing: the storage makes the file durable when it ends."""

    def close(self) -> None:
        """Nothing: the storage owns the stream."""

    def staged(self, path: str, rows: int) -> StagedFile:
        """The manifest's entry of what was written."""
        return StagedFile(path=path, bytes=self.bytes, rows=rows, sha256=self._sha256.hexdigest())


class ParquetFiles:
    """Writes `part-00000-<token>.parquet`, ... into a folder.

    A file is cut at `rows_per_file` exactly, and at the end of the row group that reaches
    `bytes_per_file`; `file_growth` says how windows of more than 500 files go on. Holds at most
    one row group and one batch. Leaving the block by an exception leaves no unfinished file;
    finished ones stay for whoever cleans the attempt. Without any row there is one empty file, so
    that every reader finds the columns.
    """

    def __init__(
        self, storage: Storage, folder: str, schema: pa.Schema, settings: StageFields, token: str
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._schema = schema
        self._settings = settings
        self._token = token
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._file: _OpenFile | None = None
        self._stack = ExitStack()
        self.files: list[StagedFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.abandon()
        self._stack.__exit__(kind, error, traceback)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows; they are written once a row group or a file is full."""
        settings = self._settings
        start = 0
        while start < batch.num_rows:
            in_file = self._file.rows if self._file is not None else 0
            room = min(
                settings.rows_per_group - self._pending_rows,
                settings.rows_per_file * self._growth - in_file - self._pending_rows,
            )
            piece = batch.slice(start, room)
            start += piece.num_rows
            self._pending.append(piece)
            self._pending_rows += piece.num_rows
            self._pending_bytes += piece.nbytes
            if piece.num_rows == room or self._pending_bytes >= MAX_GROUP_BYTES:
                self._write_group()

    def finish(self) -> tuple[StagedFile, ...]:
        """Write what is pending, close the last file, and return all of them in order."""
        if self._pending or not (self.files or self._file):
            self._write_group()
        self._end_file()
        return tuple(self.files)

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._pending, self._schema)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if self._file is None:
            self._begin_file(repeating_columns(table))
        assert self._file is not None
        self._file.write(table)
        settings = self._settings
        if (
            self._file.rows >= settings.rows_per_file * self._growth
            or self._file.bytes >= settings.bytes_per_file * self._growth
        ):
            self._end_file()

    @property
    def _growth(self) -> int:
        return file_growth(len(self.files))

    def _begin_file(self, dictionaries: list[str]) -> None:
        name = f"part-{len(self.files):05d}-{self._token}.parquet"
        sink = self._stack.enter_context(self._storage.create(f"{self._folder}/{name}"))
        compression = self._settings.compression
        self._file = _OpenFile(name, sink, self._schema, compression, dictionaries)

    def _end_file(self) -> None:
        if self._file is None:
            return
        staged = self._file.close()
        self._file = None
        self._stack.close()
        self.files.append(staged)


class _OpenFile:
    def __init__(
        self,
        name: str,
        sink: ByteSink,
        schema: pa.Schema,
        compression: str,
        dictionaries: list[str],
    ) -> None:
        self.rows = 0
        self._name = name
        self._sink = HashedSink(sink)
        self._writer = _parquet(
            pq.ParquetWriter,
            self._sink,
            schema,
            compression=compression,
            use_dictionary=dictionaries,
        )

    @property
    def bytes(self) -> int:
        return self._sink.bytes

    def write(self, table: pa.Table) -> None:
        if table.num_rows:
            _parquet(self._writer.write_table, table, row_group_size=table.num_rows)
        self.rows += table.num_rows

    def close(self) -> StagedFile:
        _parquet(self._writer.close)
        return self._sink.staged(self._name, self.rows)

    def abandon(self) -> None:
        """A writer that is not closed would write its footer when it is collected."""
        self._sink.discarding = True
        with suppress(Exception):
            self._writer.close()


def file_growth(files: int) -> int:
    """How many times the wanted size the next file has, after so many files."""
    doublings = max(0, (files - FILES_OF_WANTED_SIZE) // GROWTH_EVERY + 1)
    return int(min(2**doublings, GREATEST_GROWTH))


def repeating_columns(table: pa.Table) -> list[str]:
    """Columns worth a dictionary, judged by the first rows.

    Measured: a column of distinct values costs three times the time and more space with one, a
    column of few values half again as much without.
    """
    sample = table.slice(0, SAMPLE_ROWS)
    return [name for name in table.schema.names if _repeats(sample.column(name))]


def _repeats(column: pa.ChunkedArray) -> bool:
    try:
        return bool(pc.count_distinct(column).as_py() * 4 <= len(column))
    except pa.ArrowNotImplementedError:
        return False  # nested types and the like


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that Parquet gives back: a few types are stored as wider ones (seconds as ms)."""
    buffer = pa.BufferOutputStream()
    _parquet(pq.write_table, schema.remove_metadata().empty_table(), buffer)
    return pq.read_schema(pa.BufferReader(buffer.getvalue())).remove_metadata()


def _parquet(call: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except pa.ArrowException as error:
        raise PermanentError(
            f"The rows cannot be written as Parquet: {str(error).partition(chr(10))[0]}.",
            hint="Leave the column out with source_system.exclude_columns, or cast it in a view.",
        ) from error

"""The staged Parquet files as a load reads them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline_platform.errors import DataError, VerificationError
from pipeline_platform.movement import LoadRequest, OpenFile, open_local
from pipeline_platform.targets.columns import plain_type

BATCH_ROWS = 65_536


def check_files(request: LoadRequest, *, keeps_nanoseconds: bool = False) -> None:
    """Every file can be opened and has the manifest's columns; before anything is touched.

    Also refuses nanoseconds that the target's microseconds would drop. VerificationError for a
    missing, torn or foreign file, DataError for the nanoseconds.
    """
    manifest = request.manifest
    if len(request.files) != len(manifest.files):
        raise VerificationError(
            f"{len(request.files)} files are to be loaded, the manifest names "
            f"{len(manifest.files)}.",
            hint="The next attempt stages the window again.",
        )
    fine: list[str] = []
    if not keeps_nanoseconds:
        fine = [field.name for field in manifest.schema if in_nanoseconds(field.type)]
    for location in request.files:
        with open_file(location, request.open) as file:
            if file.schema_arrow.names != manifest.schema.names:
                raise VerificationError(
                    f"The staged file {location} does not have the manifest's columns.",
                    hint="The next attempt stages the window again.",
                )
            if fine:
                _refuse_lost_digits(file, fine, location)


def is_local(location: str) -> bool:
    """A path of this machine, not a URI."""
    return "://" not in location


def largest_row_group(request: LoadRequest) -> int:
    """Bytes of the largest row group of the files, uncompressed; 0 without one."""
    largest = 0
    for location in request.files:
        with open_file(location, request.open) as file:
            groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
            largest = max([largest, *(group.total_byte_size for group in groups)])
    return largest


@contextmanager
def open_file(location: str, open_location: OpenFile = open_local) -> Iterator[pq.ParquetFile]:
    """One staged file; VerificationError if it is missing or cannot be read."""
    try:
        # Buffering ahead would hold the whole file.
        with (
            open_location(location) as stream,
            pq.ParquetFile(stream, pre_buffer=False) as file,
        ):
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise VerificationError(
            f"The staged file {location} cannot be read: {type(error).__name__}.",
            hint="The next attempt stages the window again.",
        ) from error


def batches(file: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The file's rows; memory is bounded by one row group."""
    return iter(file.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False))


def in_nanoseconds(staged: pa.DataType) -> bool:
    """A time of day or a timestamp that counts nanoseconds."""
    staged = plain_type(staged)
    is_time = pa.types.is_timestamp(staged) or pa.types.is_time64(staged)
    return bool(is_time and staged.unit == "ns")


def _refuse_lost_digits(file: pq.ParquetFile, names: list[str], location: str) -> None:
    first = 0
    for batch in batches(file, names):
        for name in names:
            ticks = pc.cast(batch.column(name), pa.int64())
            whole = pc.multiply(pc.divide(ticks, 1000), 1000)
            if not pc.all(pc.equal(ticks, whole), min_count=0).as_py():
                raise DataError(
                    f"Column {name!r} has nanoseconds that the target's microseconds would drop "
                    f"({location}, rows {first} to {first + batch.num_rows - 1}).",
                    hint="Round them in a view of the source.",
                )
        first += batch.num_rows

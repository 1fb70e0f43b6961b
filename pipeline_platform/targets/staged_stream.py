"""The rows of a load as one Arrow stream, for a database that reads Arrow."""

from collections.abc import Generator
from types import TracebackType

import pyarrow as pa
from typing_extensions import Self

from pipeline_platform.movement import LoadRequest
from pipeline_platform.targets.staged_files import batches, open_file


class StagedStream:
    """All files of a load, one after another; memory is bounded by one row group.

    Asks `still_ours` before each file. The database sees only a text of what goes wrong in here;
    `error` is the error itself. Leaving the block closes the file that is open.
    """

    def __init__(self, request: LoadRequest) -> None:
        self._request = request
        self._batches = self._read()
        self.error: Exception | None = None
        self.reader = pa.RecordBatchReader.from_batches(request.manifest.schema, self._batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._batches.close()

    def _read(self) -> Generator[pa.RecordBatch, None, None]:
        request = self._request
        try:
            for location in request.files:
                request.still_ours()
                with open_file(location, request.open) as file:
                    yield from batches(file)
        except Exception as error:
            self.error = error
            raise

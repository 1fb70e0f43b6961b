"""What sources, stages and targets hand to each other about one window (pure).

Rows travel as Arrow record batches; everything here describes them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

from pipeline_platform.errors import PipelineError, TransientError

PIPELINE_COLUMN = "_pipeline_name"
WINDOW_COLUMN = "_pipeline_window_start"

# What the commit row of a given-up window says in place of a verdict.
RESTATED = "RESTATED"

# Called between batches; raises ClaimLostError when the run must not go on.
StillOurs = Callable[[], None]

# Opens the location of a staged file; the caller closes. OSError if there is none.
OpenFile = Callable[[str], pa.NativeFile]


def _always_ours() -> None:
    """For callers without a claim to lose."""


def open_local(location: str) -> pa.NativeFile:
    """A file of this machine."""
    return pa.OSFile(location)


@dataclass(frozen=True)
class WindowSlice:
    """One window of one pipeline as connectors see it: UTC instants, `[start, end)`."""

    pipeline_name: str
    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.pipeline_name} [{self.start.isoformat()}, {self.end.isoformat()})"


@dataclass(frozen=True)
class Prerequisite:
    """One check that `pre_validation` and `validate` list with its result."""

    name: str
    passed: bool
    detail: str
    hint: str = ""
    transient: bool = False
    """A failure that time may heal, e.g. a refused connection."""

    @classmethod
    def failed(cls, name: str, error: PipelineError) -> "Prerequisite":
        """The check that an error ended."""
        transient = isinstance(error, TransientError)
        return cls(name, False, error.message, error.hint, transient)


@dataclass(frozen=True)
class RejectedRecord:
    """A row that was read and may not be staged; `record` is its JSON text."""

    reason: str
    record: str


@dataclass(frozen=True)
class SourceBatch:
    """Rows that passed and rows that were refused, as they came from the source."""

    rows: pa.RecordBatch
    rejected: tuple[RejectedRecord, ...] = ()


@dataclass
class Snapshot:
    """One frozen view of the window at the source.

    `count` and `change_value` come from the same view as the batches; `exact` says the source can
    do that, `stable` that it can not and that the count before, the rows read and the count after
    must agree (`recount` gives the last). `batches` is read once. Every batch has `schema`, whose
    field names are the safe column names; `original_names` maps them back.
    """

    kind: Literal["exact", "stable"]
    count: int
    schema: pa.Schema
    batches: Iterator[SourceBatch]
    change_value: str | None = None
    original_names: dict[str, str] = field(default_factory=dict)
    recount: Callable[[], int] | None = None


@dataclass(frozen=True)
class ColumnSummary:
    """Content check of one staged column, the same in every engine.

    nulls: rows that are NULL. total: an exact sum as decimal text, by the column's type:
    integers and decimals their value; timestamps microseconds since 1970 UTC; dates days; times
    microseconds; booleans the number of true; text and binary the number of UTF-8 bytes; None for
    floating point and nested types and where no row has a value. minimum and maximum: only for
    floating point (repr text, NaN left out), where a sum depends on the order of addition.
    """

    nulls: int
    total: str | None = None
    minimum: str | None = None
    maximum: str | None = None


@dataclass(frozen=True)
class StagedFile:
    """One Parquet file; `path` is relative to the attempt path."""

    path: str
    bytes: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class AttemptPath:
    """The stage folder that exactly one run writes: `<root>/<pipeline>/<start>/run<epoch>/`."""

    window: WindowSlice
    epoch: int

    @property
    def relative(self) -> str:
        """Path below the stage root."""
        start = self.window.start.strftime("%Y%m%dT%H%M%SZ")
        return f"{self.window.pipeline_name}/{start}/run{self.epoch}"


@dataclass(frozen=True)
class Manifest:
    """What one attempt staged. Written last and put-if-absent: no manifest, no data.

    rows + rejected = snapshot_count, exactly. `hash` is the sha256 of the stored bytes.
    """

    pipeline_name: str
    window_start: datetime
    window_end: datetime
    epoch: int
    pipeline_id: str
    created_at: datetime
    query_field: str
    snapshot_kind: Literal["exact", "stable"]
    snapshot_count: int
    change_value: str | None
    rows: int
    rejected: int
    rejected_reasons: dict[str, int]
    files: tuple[StagedFile, ...]
    rejected_file: StagedFile | None
    schema: pa.Schema
    original_names: dict[str, str]
    columns: dict[str, ColumnSummary]
    config_hashes: dict[str, str]
    hash: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of all Parquet files."""
        return sum(file.bytes for file in self.files)

    @property
    def attempt(self) -> AttemptPath:
        """Where the files lie."""
        window = WindowSlice(self.pipeline_name, self.window_start, self.window_end)
        return AttemptPath(window, self.epoch)


@dataclass(frozen=True)
class CommitRow:
    """One row per window beside the target table, written only inside fenced transactions.

    `manifest_hash` is None until a load committed. Counts are rows.
    """

    pipeline_name: str
    window_start: datetime
    window_end: datetime
    epoch: int
    manifest_hash: str | None = None
    config_hashes: dict[str, str] = field(default_factory=dict)
    change_value: str | None = None
    source_rows: int | None = None
    stage_rows: int | None = None
    target_rows: int | None = None
    audit_result: str | None = None
    committed_at: datetime | None = None
    audited_at: datetime | None = None
    updated_at: datetime | None = None

    def gives_up(self, epoch: int) -> bool:
        """Whether what the run of this epoch staged was replaced by windows cut differently."""
        return self.audit_result == RESTATED and epoch <= self.epoch


@dataclass(frozen=True)
class TargetCounts:
    """Rows of a window in the target, counted in two ways that must agree."""

    by_window_column: int
    by_query_field: int


@dataclass(frozen=True)
class LoadRequest:
    """One load: replace the window's rows by those of the manifest, at this epoch.

    files: locations of the manifest's Parquet files, in order: local paths, or URIs that `open`
    reads with the stage's credentials.
    """

    manifest: Manifest
    epoch: int
    files: tuple[str, ...]
    tolerance_percent: Decimal
    adopt: bool = False
    restate: bool = False
    max_shrink_percent: Decimal | None = None
    """How much of the rows before a restated window may lose; None: all."""
    still_ours: StillOurs = _always_ours
    """Asked between files and once more before the commit."""
    config_hashes: dict[str, str] | None = None
    """Of the config that loads; the target may have changed since staging. None: the manifest's."""
    open: OpenFile = open_local
    """The stage's way to read one of `files`."""


@dataclass(frozen=True)
class LoadResult:
    """What one committed load did; `details` are numbers for metadata and the drive row."""

    commit: CommitRow
    counts: TargetCounts
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)

"""Writing one attempt: rows, rejected rows, then the manifest that makes them count."""

import json
import re
import secrets
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timezone

import pyarrow as pa

from pipeline_platform.config.system_fields import StageFields
from pipeline_platform.errors import (
    ConfigurationError,
    PermanentError,
    VerificationError,
)
from pipeline_platform.fault_points import fault_point
from pipeline_platform.movement import (
    AttemptPath,
    Manifest,
    RejectedRecord,
    Snapshot,
    SourceBatch,
    StagedFile,
    StillOurs,
)
from pipeline_platform.stages.manifest import encode_manifest
from pipeline_platform.stages.one_behind import OneBehind
from pipeline_platform.stages.parquet import HashedSink, ParquetFiles, stored_schema
from pipeline_platform.stages.storage import Storage
from pipeline_platform.stages.summary import SummaryOfColumns
from pipeline_platform.tolerance import compare_hop

MANIFEST_NAME = "manifest.json"
_PIPELINE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def pipeline_folder(pipeline_name: str) -> str:
    """Path below the stage root; ConfigurationError for a name that is not one folder's."""
    if not _PIPELINE_NAME.fullmatch(pipeline_name):
        raise ConfigurationError(
            f"{pipeline_name!r} is no name for a folder.",
            hint="Pipeline names are lower-case letters, digits and underscores.",
        )
    return pipeline_name


def attempt_folder(attempt: AttemptPath) -> str:
    """Path below the stage root; ConfigurationError as for `pipeline_folder`."""
    pipeline_folder(attempt.window.pipeline_name)
    return attempt.relative


def write_attempt(
    storage: Storage,
    settings: StageFields,
    attempt: AttemptPath,
    snapshot: Snapshot,
    *,
    pipeline_id: str,
    query_field: str,
    config_hashes: dict[str, str],
    still_ours: StillOurs,
) -> Manifest:
    """Write all rows of the snapshot, and the manifest last.

    Raises VerificationError, without a manifest, unless staged + rejected rows are exactly the
    snapshot's count (and the count after, for a `stable` snapshot), or if the attempt path has a
    manifest already. Files get names of their own, so that not even a second writer to the same
    path touches files of the first.
    """
    folder = attempt_folder(attempt)
    manifest_path = f"{folder}/{MANIFEST_NAME}"
    if MANIFEST_NAME in storage.names(folder):
        raise _taken(storage, manifest_path)
    token = secrets.token_hex(4)
    schema = _staged_schema(snapshot.schema)
    summaries = SummaryOfColumns(schema)
    with (
        ParquetFiles(storage, folder, schema, settings, token) as files,
        _RejectedFile(storage, folder, token) as rejected,
        OneBehind() as behind,
    ):

        def take(batch: SourceBatch) -> None:
            staged = _staged_rows(batch, snapshot.schema, schema)
            summaries.add(staged)
            files.add(staged)
            rejected.add(batch.rejected)

        for batch in snapshot.batches:
            still_ours()
            behind.run(take, batch)
            fault_point("stage.after_batch")
        behind.wait()
        staged_files = files.finish()
        rejected_file = rejected.finish()
    rows = sum(file.rows for file in staged_files)
    _require_whole(attempt, snapshot, rows, rejected.rows)
    manifest, data = encode_manifest(
        Manifest(
            pipeline_name=attempt.window.pipeline_name,
            window_start=attempt.window.start,
            window_end=attempt.window.end,
            epoch=attempt.epoch,
            pipeline_id=pipeline_id,
            created_at=datetime.now(timezone.utc),
            query_field=query_field,
            snapshot_kind=snapshot.kind,
            snapshot_count=snapshot.count,
            change_value=snapshot.change_value,
            rows=rows,
            rejected=rejected.rows,
            rejected_reasons=dict(sorted(rejected.reasons.items())),
            files=staged_files,
            rejected_file=rejected_file,
            schema=schema,
            original_names=snapshot.original_names,
            columns=summaries.result(),
            config_hashes=config_hashes,
        )
    )
    still_ours()
    fault_point("stage.before_manifest")
    put_manifest(storage, manifest_path, data)
    return manifest


def put_manifest(storage: Storage, path: str, data: bytes) -> None:
    """Put if absent. The same bytes there already are success: an earlier answer got lost."""
    if storage.put_if_absent(path, data):
        return
    with storage.open(path) as stream:
        if stream.read() != data:
            raise _taken(storage, path)


class _RejectedFile:
    """JSON lines of refused rows; the file begins with the first of them."""

    def __init__(self, storage: Storage, folder: str, token: str) -> None:
        self._storage = storage
        self._name = f"rejected-{token}.jsonl"
        self._folder = folder
        self._sink: HashedSink | None = None
        self._stack = ExitStack()
        self.rows = 0
        self.reasons: Counter[str] = Counter()

    def __enter__(self) -> "_RejectedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def add(self, records: tuple[RejectedRecord, ...]) -> None:
        if not records:
            return
        if self._sink is None:
            path = f"{self._folder}/{self._name}"
            self._sink = HashedSink(self._stack.enter_context(self._storage.create(path)))
        for record in records:
            line = json.dumps({"reason": record.reason, "record": record.record})
            self._sink.write(line.encode() + b"\n")
            self.reasons[record.reason] += 1
        self.rows += len(records)

    def finish(self) -> StagedFile | None:
        self._stack.close()
        return None if self._sink is None else self._sink.staged(self._name, self.rows)


def _staged_schema(schema: pa.Schema) -> pa.Schema:
    if not schema.names or len(set(schema.names)) != len(schema.names):
        raise PermanentError(
            "The source gave no column, or two of one name.",
            hint="Check include_columns and exclude_columns, or the connector.",
        )
    return stored_schema(schema)


def _staged_rows(batch: SourceBatch, given: pa.Schema, stored: pa.Schema) -> pa.RecordBatch:
    if not batch.rows.schema.equals(given):
        raise PermanentError(
            f"The source gave a batch with other columns than its snapshot: {batch.rows.schema}",
            hint="Its table changed while it was read, or the connector is wrong.",
        )
    return batch.rows if given.equals(stored) else batch.rows.cast(stored)


def _require_whole(attempt: AttemptPath, snapshot: Snapshot, rows: int, rejected: int) -> None:
    hop = compare_hop(snapshot.count, rows + rejected, 0, "source to stage")
    facts = hop.facts() | {"rejected": rejected}
    if rows + rejected != snapshot.count:
        raise VerificationError(
            f"{attempt.window}: {rows} rows staged and {rejected} rejected, but the snapshot "
            f"counted {snapshot.count}.",
            hint="The window is extracted again.",
            facts=facts,
        )
    if snapshot.kind == "exact":
        return
    if snapshot.recount is None:
        raise PermanentError("A stable snapshot needs a recount.", hint="Correct the connector.")
    after = snapshot.recount()
    if after != snapshot.count:
        raise VerificationError(
            f"{attempt.window}: the source had {snapshot.count} rows before the read and {after} "
            "after it.",
            hint="It changed meanwhile; the window is extracted again.",
            facts={**facts, "recounted": after},
        )


def _taken(storage: Storage, path: str) -> VerificationError:
    return VerificationError(
        f"{storage.location(path)} is there already, with another content.",
        hint="Another run wrote this attempt; the window is extracted again under a new epoch.",
    )

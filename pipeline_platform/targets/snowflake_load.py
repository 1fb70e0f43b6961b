"""The transient table that one attempt's files are copied into before the load transaction.

Snowflake locks whole tables and copies take long; so files are copied to a table of the attempt's
own, side by side with other windows, and the transaction only moves rows from there.
"""

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_platform.connections.snowflake_session import SnowflakeSession
from pipeline_platform.errors import VerificationError
from pipeline_platform.execution import pipeline_id
from pipeline_platform.fault_points import fault_point
from pipeline_platform.movement import LoadRequest, StagedFile, WindowSlice
from pipeline_platform.quoting import quote_snowflake
from pipeline_platform.targets.snowflake_types import sql_type
from pipeline_platform.targets.staged_files import is_local

FILES_PER_COPY = 1_000

_COPY_BYTES = 8 * 2**20

_NAME_CHARACTERS = 80
_NOT_PLAIN = re.compile(r"[^A-Z0-9_]")
# Snowflake wants a reference with any other character in quotes.
_BARE_STAGE = re.compile(r'[\w."%$/=@-]+', re.ASCII)

_CREATE = (
    "CREATE OR REPLACE TRANSIENT TABLE {load} ({columns}) DATA_RETENTION_TIME_IN_DAYS = 0 "
    "COMMENT = {comment}"
)
_PUT = "PUT {files} {stage} PARALLEL = {parallel} AUTO_COMPRESS = FALSE OVERWRITE = TRUE"
# Files are named, as that is the fastest way; each attempt has a path and a table of its own, so
# Snowflake's memory of what it has loaded is never in the way and FORCE never needed.
_COPY = (
    "COPY INTO {load} FROM {stage} FILES = ({files}) FILE_FORMAT = (TYPE = PARQUET "
    "USE_VECTORIZED_SCANNER = TRUE USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE) "
    "MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE ON_ERROR = ABORT_STATEMENT"
)
_DROP = "DROP TABLE IF EXISTS {load}"
_SHOW = "SHOW TABLES LIKE {pattern} IN SCHEMA {schema}"


@dataclass(frozen=True)
class LoadTable:
    """`<schema>.<table>_LOAD_<what>_<window>_RUN<epoch>`: plain upper case, whatever the names."""

    schema: str
    name: str

    @property
    def quoted(self) -> str:
        """As statements name it."""
        return f'{self.schema}."{self.name}"'

    @property
    def stage(self) -> str:
        """The table's own internal stage, which goes with the table."""
        return f"@{self.schema}.%{self.name}"


@dataclass
class Copied:
    """What copying did; seconds are elapsed ones."""

    bytes: int = 0
    put_seconds: float = 0.0
    copy_seconds: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)

    def details(self) -> dict[str, Any]:
        """For the load's result."""
        return {
            "bytes_copied": self.bytes,
            "rows_copied": sum(self.rows.values()),
            "put_seconds": round(self.put_seconds, 3),
            "copy_seconds": round(self.copy_seconds, 3),
        }


def load_table(schema: str, table: str, window: WindowSlice, epoch: int) -> LoadTable:
    """The load table of an attempt; `schema` comes quoted."""
    return LoadTable(schema, f"{_prefix(table, window)}{epoch}")


def create(session: SnowflakeSession, load: LoadTable, request: LoadRequest) -> None:
    """A new, empty table with a column of the staged name and type for each staged column."""
    manifest = request.manifest
    columns = ", ".join(f"{quote_snowflake(f.name)} {sql_type(f.type)}" for f in manifest.schema)
    run = pipeline_id(manifest.pipeline_name, manifest.window_start, request.epoch)
    comment = json.dumps({"app": "pipeline_platform", "run": run})
    session.run(_CREATE.format(load=load.quoted, columns=columns, comment=_literal(comment)))
    fault_point("copy.after_create")


def fill(
    session: SnowflakeSession,
    load: LoadTable,
    request: LoadRequest,
    *,
    external_stage: str | None,
    parallel: int,
) -> Copied:
    """Copy all files that have rows, from an external stage (quoted) or through the table's own.

    VerificationError where the rows that COPY counted per file are not the manifest's.
    """
    files = [file for file in request.manifest.files if file.rows]
    copied = Copied(bytes=sum(file.bytes for file in files))
    stage = load.stage
    if external_stage is not None:
        stage = f"@{external_stage}/{request.manifest.attempt.relative}/"
    elif files:
        began = time.monotonic()
        _put(session, load, request, parallel)
        copied.put_seconds = time.monotonic() - began
        fault_point("copy.after_put")
    began = time.monotonic()
    for first in range(0, len(files), FILES_PER_COPY):
        request.still_ours()
        part = files[first : first + FILES_PER_COPY]
        names = ", ".join(_literal(file.path) for file in part)
        statement = _COPY.format(load=load.quoted, stage=_reference(stage), files=names)
        for row in session.records(statement):
            if row.get("status") == "LOADED":
                copied.rows[_base_name(str(row["file"]))] = int(row["rows_loaded"])
    copied.copy_seconds = time.monotonic() - began
    fault_point("copy.after_copy")
    _compare(load, files, copied)
    return copied


def drop(session: SnowflakeSession, load: LoadTable) -> None:
    """Remove the table, and its stage with it."""
    session.run(_DROP.format(load=load.quoted))
    fault_point("copy.after_drop")


def drop_older(
    session: SnowflakeSession, schema: str, table: str, window: WindowSlice, epoch: int
) -> int:
    """Drop the load tables that attempts below this epoch left; returns how many.

    Only for a caller whose epoch is fenced: none of them can be of use to anybody any more.
    """
    prefix = _prefix(table, window)
    found = session.records(_SHOW.format(pattern=_literal(prefix + "%"), schema=schema))
    older = [
        LoadTable(schema, name)
        for name in (str(row["name"]) for row in found)
        if name.startswith(prefix)
        and (run := name.removeprefix(prefix)).isdecimal()
        and int(run) < epoch
    ]
    for load in older:
        drop(session, load)
    return len(older)


def drop_those(
    session: SnowflakeSession, schema: str, table: str, loads: Sequence[LoadTable]
) -> int:
    """Drop those of these load tables that are there; returns how many."""
    found = session.records(
        _SHOW.format(pattern=_literal(f"{_plain(table)}_LOAD_%"), schema=schema)
    )
    there = {str(row["name"]) for row in found}
    left = [load for load in dict.fromkeys(loads) if load.name in there]
    for load in left:
        drop(session, load)
    return len(left)


def _prefix(table: str, window: WindowSlice) -> str:
    """Readable in front, unmistakable behind: the digest stands for all that was cut."""
    identity = json.dumps([table, window.pipeline_name, str(window.start), str(window.end)])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12].upper()
    return f"{_plain(table)}_LOAD_{window.start:%Y%m%dT%H%M%S}_{digest}_RUN"


def _plain(table: str) -> str:
    plain = _NOT_PLAIN.sub("_", table.upper())[:_NAME_CHARACTERS]
    return f"_{plain}" if plain[0].isdigit() else plain


def _put(session: SnowflakeSession, load: LoadTable, request: LoadRequest, parallel: int) -> None:
    """Send the files to the table's stage: local ones by one statement, others in batches.

    Those of a bucket come by this machine's disk, at most `parallel` of them at a time.
    """
    named = [
        (file, location)
        for file, location in zip(request.manifest.files, request.files, strict=True)
        if file.rows
    ]
    local = all(is_local(location) for location in request.files)
    batch = len(named) if local else parallel
    for first in range(0, len(named), batch):
        request.still_ours()
        with _folder(named[first : first + batch], request) as folder:
            files = _literal(f"file://{folder}/*")
            stage = _reference(load.stage)
            session.run(_PUT.format(files=files, stage=stage, parallel=parallel))


@contextmanager
def _folder(named: Sequence[tuple[StagedFile, str]], request: LoadRequest) -> Iterator[Path]:
    """The files under plain names in a folder of their own: links, or copies from a bucket."""
    with tempfile.TemporaryDirectory(prefix="pipeline-platform-put-") as name:
        for file, location in named:
            place = Path(name) / file.path
            if is_local(location):
                place.symlink_to(Path(location).resolve())
                continue
            try:
                with request.open(location) as source, place.open("wb") as copy:
                    shutil.copyfileobj(source, copy, _COPY_BYTES)
            except OSError as error:
                raise VerificationError(
                    f"The staged file {location} cannot be read: {type(error).__name__}.",
                    hint="The next attempt stages the window again.",
                ) from error
        yield Path(name)


def _compare(load: LoadTable, files: Sequence[StagedFile], copied: Copied) -> None:
    wrong = [
        f"{file.path}: {copied.rows.get(file.path, 0)} of {file.rows}"
        for file in files
        if copied.rows.get(file.path) != file.rows
    ]
    if wrong or len(copied.rows) != len(files):
        raise VerificationError(
            f"Snowflake copied other numbers of rows into {load.name} than the manifest has: "
            f"{'; '.join(wrong[:10]) or 'files that it does not name'}. Nothing was changed.",
            hint="The files changed under the load; the next attempt starts from zero.",
            facts={"files": wrong[:100]},
        )


def _base_name(file: str) -> str:
    return file.rpartition("/")[2]


def _reference(stage: str) -> str:
    return stage if _BARE_STAGE.fullmatch(stage) else _literal(stage)


def _literal(text: str) -> str:
    """A text constant, where Snowflake takes no bound value."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

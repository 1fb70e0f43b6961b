"""COPY, PUT and REMOVE: what the load of a window relies on."""

# ruff: noqa: S608  (every name is quoted by Scratch.name)

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_platform.connections.snowflake_session import SnowflakeSession, query_tag
from pipeline_platform.verify_snowflake.points import (
    DisprovedError,
    NotApplicableError,
    Point,
    expect,
)
from pipeline_platform.verify_snowflake.scratch import Scratch

_PARQUET = (
    "FILE_FORMAT = (TYPE = PARQUET USE_VECTORIZED_SCANNER = {vectorized} USE_LOGICAL_TYPE = TRUE "
    "BINARY_AS_TEXT = FALSE) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE ON_ERROR = ABORT_STATEMENT"
)
_AMOUNT = pa.decimal128(20, 4)
_COLUMNS = "id NUMBER(19, 0), note VARCHAR, amount NUMBER(20, 4), seen_at TIMESTAMP_TZ(9)"


@dataclass(frozen=True)
class _Files:
    """A new table with two files, of 10 and 20 rows, in its own stage."""

    session: SnowflakeSession
    table: str
    stage: str
    names: tuple[str, ...]

    def copy(self, *, scanner: bool = True, force: bool = False) -> list[dict[str, Any]]:
        """What COPY tells of each file."""
        files = ", ".join(f"'{name}'" for name in self.names)
        options = _PARQUET.format(vectorized=str(scanner).upper())
        return self.session.records(
            f"COPY INTO {self.table} FROM {self.stage} FILES = ({files}) {options}"
            + (" FORCE = TRUE" if force else "")
        )

    def count(self) -> int:
        """Rows in the table."""
        [(rows,)] = self.session.rows(f"SELECT count(*) FROM {self.table}")
        return int(rows)

    def put(self, file: Path) -> None:
        """Send a file to the stage."""
        self.session.run(f"PUT 'file://{file}' {self.stage} AUTO_COMPRESS = FALSE OVERWRITE = TRUE")


@contextmanager
def _two_files(scratch: Scratch, table: str) -> Iterator[_Files]:
    stage = f"@{scratch.name()}.%{table.upper()}"
    names = tuple(f"{table}_{number}.parquet" for number in range(2))
    with scratch.session() as session:
        files = _Files(session, scratch.name(table), stage, names)
        session.run(f"CREATE OR REPLACE TABLE {files.table} ({_COLUMNS})")
        for name, rows in zip(names, (10, 20), strict=True):
            _write(scratch.folder / name, rows)
            files.put(scratch.folder / name)
        yield files


def _write(file: Path, rows: int) -> None:
    ids = pa.array(range(rows), pa.int64())
    notes = pa.array([None if i % 3 == 0 else f"it's ✓ {i}" for i in range(rows)], pa.string())
    amounts = pa.array([Decimal(i) + Decimal(i) / 10_000 for i in range(rows)], _AMOUNT)
    times = ids.cast(pa.timestamp("us", "UTC"))
    table = pa.table({"id": ids, "note": notes, "amount": amounts, "seen_at": times})
    pq.write_table(table, file, compression="zstd")


def _loaded(copied: Sequence[Mapping[str, Any]]) -> list[int]:
    return sorted(int(row["rows_loaded"]) for row in copied if row.get("status") == "LOADED")


def _counts_per_file(scratch: Scratch) -> str:
    with _two_files(scratch, "per_file") as files:
        copied = files.copy()
        expect(_loaded(copied) == [10, 20], f"COPY told {copied}")
        expect(files.count() == 30, "COPY's counts are not the table's")
    return "COPY told 10 and 20 rows of two files"


def _load_history(scratch: Scratch) -> str:
    with _two_files(scratch, "history") as files:
        files.session.run("BEGIN")
        options = _PARQUET.format(vectorized="TRUE")
        with files.session.connection.cursor() as cursor:  # past the guard; COPY is DML
            cursor.execute(f"COPY INTO {files.table} FROM {files.stage} {options}")
        files.session.run("ROLLBACK")
        expect(_loaded(files.copy()) == [10, 20], "a COPY that was rolled back is remembered")
        expect(not _loaded(files.copy()), "files were loaded a second time")
        expect(_loaded(files.copy(force=True)) == [10, 20], "FORCE does not load again")
        expect(files.count() == 60, "the counts do not add up")
    return "a COPY rolled back is not remembered, one committed is, and FORCE loads again"


def _broken_file(scratch: Scratch) -> str:
    with _two_files(scratch, "broken") as files:
        broken = scratch.folder / files.names[1]
        broken.write_bytes(b"PAR1 this is no Parquet PAR1")
        files.put(broken)
        try:
            files.copy()
        except Exception as error:
            expect(files.count() == 0, "rows of the file before a broken one stayed")
            return f"nothing is kept of a COPY that fails: {str(error)[:120]}"
    raise DisprovedError("a broken file was copied")


def _vectorized(scratch: Scratch) -> str:
    """Each file once by each scanner: every row must be there an even number of times."""
    with _two_files(scratch, "vectors") as files:
        files.copy(scanner=True)
        files.copy(scanner=False, force=True)
        odd = files.session.rows(
            f"SELECT id, note, amount, seen_at FROM {files.table} "
            "GROUP BY id, note, amount, seen_at HAVING MOD(COUNT(*), 2) <> 0"
        )
        rows = files.session.rows(f"SELECT * FROM {files.table} WHERE id = 7 LIMIT 1")
        expect(files.count() == 60, "the scanners gave other numbers of rows")
    expect(not odd, f"the two Parquet scanners differ in {odd[:3]}")
    return f"both Parquet scanners give the same rows, e.g. {rows[0]}"


def _remove(scratch: Scratch) -> str:
    with _two_files(scratch, "removed") as files:
        files.session.run(f"REMOVE {files.stage}/{files.names[0]}")
        left = [str(row["name"]) for row in files.session.records(f"LIST {files.stage}")]
    expect(len(left) == 1 and left[0].endswith(files.names[1]), f"the stage holds {left}")
    return "PUT and REMOVE work on the stage of a table"


def _external_stage(scratch: Scratch) -> str:
    """Snowflake itself writes a file below the stage's URL, reads it, and removes it."""
    if scratch.external_stage is None:
        raise NotApplicableError("no external stage is named (SNOWFLAKE_EXTERNAL_STAGE)")
    place = f"@{scratch.external_stage}/{scratch.schema}/"
    table = scratch.name("external")
    with scratch.session() as session:
        session.run(
            f"COPY INTO {place} FROM (SELECT SEQ4() AS ID FROM TABLE(GENERATOR(ROWCOUNT => 50))) "
            "FILE_FORMAT = (TYPE = PARQUET) HEADER = TRUE"
        )
        try:
            names = [str(row["name"]) for row in session.records(f"LIST {place}")]
            files = ", ".join("'" + name.rpartition("/")[2] + "'" for name in names)
            session.run(f"CREATE OR REPLACE TABLE {table} (id NUMBER(19, 0))")
            options = _PARQUET.format(vectorized="TRUE")
            copied = session.records(f"COPY INTO {table} FROM {place} FILES = ({files}) {options}")
        finally:
            session.run(f"REMOVE {place}")
    expect(sum(_loaded(copied)) == 50, f"COPY told {copied}")
    return f"50 rows were read through {scratch.external_stage} from {names[0].rpartition('/')[0]}"


def _query_tag(scratch: Scratch) -> str:
    with scratch.session() as session, query_tag(pipeline="verify", run=scratch.schema):
        session.rows("SELECT 'tagged'")
        try:
            found = session.rows(
                "SELECT query_tag FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY_BY_SESSION()) "
                "WHERE query_text = 'SELECT ''tagged''' AND query_tag <> ''"
            )
        except Exception as error:
            raise NotApplicableError(f"the query history cannot be read: {error}") from error
    expect(any(scratch.schema in str(tag) for (tag,) in found), f"the history has {found}")
    return f"the query history shows {found[0][0]}"


POINTS = (
    Point("COPY counts rows per file", _counts_per_file),
    Point("what COPY remembers", _load_history, "FORCE and a load history that rolls back"),
    Point("a COPY with a broken file keeps nothing", _broken_file, "a COPY that is all or nothing"),
    Point("the vectorized scanner", _vectorized, "the scanner"),
    Point("PUT and REMOVE", _remove, "REMOVE"),
    Point("an external stage", _external_stage, "unloading to a stage"),
    Point("QUERY_TAG in the query history", _query_tag, "a query history"),
)

"""Connectors of one's own, by import path, that wrap the real ones: they count, lose or refuse."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from pipeline_platform.config.systems import CustomSource, CustomTarget, SourceSystem, TargetSystem
from pipeline_platform.movement import (
    LoadRequest,
    Prerequisite,
    RejectedRecord,
    Snapshot,
    SourceBatch,
    WindowSlice,
)
from pipeline_platform.query_field import QueryField
from pipeline_platform.sources import build_source
from pipeline_platform.targets.columns import TargetTable
from pipeline_platform.targets.duckdb import DuckDBTableTarget
from pipeline_platform.targets.postgres import PostgresTableTarget
from pipeline_platform.targets.sql_table import Session, ours_values
from pipeline_platform.targets.sql_target import SqlTarget

READS = "reads.log"


class WatchedSource:
    """Options: `system`, the real source; `drop` or `reject`, a number of rows of each window."""

    def __init__(self, system: CustomSource, *, base_dir: Path) -> None:
        real: Any = TypeAdapter(SourceSystem).validate_python(system.options["system"])
        self._real = build_source(real, base_dir=base_dir)
        self._log = base_dir / READS
        self._drop = int(system.options.get("drop", 0))
        self._reject = int(system.options.get("reject", 0))
        self.name = self._real.name

    def check(self) -> Sequence[Prerequisite]:
        return self._real.check()

    def count(self, window: WindowSlice) -> int:
        return self._real.count(window)

    def change_value(self, window: WindowSlice) -> str | None:
        return self._real.change_value(window)

    @contextmanager
    def read(self, window: WindowSlice) -> Iterator[Snapshot]:
        with self._log.open("a") as log:
            log.write(f"{window.start.date().isoformat()}\n")
        with self._real.read(window) as snapshot:
            yield replace(snapshot, batches=self._spoiled(snapshot.batches))

    def _spoiled(self, batches: Iterator[SourceBatch]) -> Iterator[SourceBatch]:
        for first in islice(batches, 1):
            lost = self._drop + self._reject
            refused = tuple(
                RejectedRecord("not wanted", str(row))
                for row in first.rows.slice(0, self._reject).column(0).to_pylist()
            )
            rows: pa.RecordBatch = first.rows.slice(lost)
            yield SourceBatch(rows, first.rejected + refused)
        yield from batches


def reads_of(folder: Path, day: str) -> int:
    """How often the window of this UTC day was read from the source."""
    log = folder / READS
    return log.read_text().split().count(day) if log.exists() else 0


class _LosesRows(SqlTarget):
    """Deletes rows behind the back of the load, as a trigger would: those whose note is `n1`."""

    def _insert(self, session: Session, request: LoadRequest, table: TargetTable) -> None:
        super()._insert(session, request, table)  # type: ignore[safe-super]
        window = request.manifest.attempt.window
        session.changed(
            self._sql("DELETE FROM {table} WHERE {ours} AND note = 'n1'"), ours_values(window)
        )


class _LossyDuckDB(_LosesRows, DuckDBTableTarget):
    pass


class _LossyPostgres(_LosesRows, PostgresTableTarget):
    pass


def lossy_target(system: CustomTarget, *, query_field: QueryField, base_dir: Path) -> SqlTarget:
    """Options: the real target's section."""
    real: Any = TypeAdapter(TargetSystem).validate_python(system.options)
    kind = _LossyDuckDB if real.type == "duckdb" else _LossyPostgres
    return kind(real, query_field=query_field, base_dir=base_dir)

"""What a target must do."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from pipeline_platform.movement import (
    AttemptPath,
    CommitRow,
    LoadRequest,
    LoadResult,
    Prerequisite,
    TargetCounts,
    WindowSlice,
)


class Target(Protocol):
    """The table that a window ends in, and `<table>_window_commits` beside it.

    Every mutation is one fenced transaction: its first statement moves the window's commit row to
    the caller's epoch and changes exactly one row, or all is rolled back with ClaimLostError.
    """

    name: str
    """Shown to people, e.g. `data/warehouse.duckdb analytics.flights`; never a secret."""

    def check(self) -> Sequence[Prerequisite]:
        """Reachable, table there or creatable."""
        ...

    def check_window(self, window: WindowSlice) -> Prerequisite:
        """No committed window of the pipeline with other bounds overlaps this one."""
        ...

    def check_columns(self, schema: pa.Schema) -> Sequence[Prerequisite]:
        """The staged columns fit the table: names there, types able to hold them."""
        ...

    def prepare(self, schema: pa.Schema) -> None:
        """Create what is missing: target table (if allowed) and commit table. Safe to repeat."""
        ...

    def commit_row(self, window: WindowSlice) -> CommitRow | None:
        """The window's commit row; None if there is none or the commit table is not there yet."""
        ...

    def load(self, request: LoadRequest) -> LoadResult:
        """Replace the window's rows in one transaction (design section 6, step 4).

        Fence; refuse a window that overlaps a committed one with other bounds unless `restate`,
        and a first load over rows that are not ours unless `adopt`; delete; insert; verify counts,
        null counts and sums inside; commit row; commit. Any doubt rolls back and the old rows stay.
        A commit whose outcome is unknown is resolved by `resolve`, never guessed. Running it twice
        with the same manifest gives the same rows.
        """
        ...

    def resolve(self, window: WindowSlice, epoch: int) -> CommitRow:
        """After an unknown outcome: a fencing write at `epoch`, then the row as it now stands."""
        ...

    def count(self, window: WindowSlice) -> TargetCounts:
        """Rows of the window now, outside any load."""
        ...

    def store_audit(self, window: WindowSlice, epoch: int, audit_result: str) -> CommitRow:
        """Write the verdict into the commit row, fenced."""
        ...

    def delete_window(self, window: WindowSlice, epoch: int) -> int:
        """Delete the window's rows and reset its commit row, fenced; returns rows deleted."""
        ...

    def drop_load_tables(self, attempts: Sequence[AttemptPath]) -> int:
        """Remove what the loads of these attempts left beside the table; returns how many tables.

        For attempts that ended, or that a newer epoch of their window replaced: a load that still
        works on one fails and changes nothing. 0 where a load needs no table of its own. Safe to
        repeat.
        """
        ...

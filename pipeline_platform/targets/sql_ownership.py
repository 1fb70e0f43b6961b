"""Whose rows lie in a window: what a load replaces beside its own, and what it refuses."""

from pipeline_platform.errors import PermanentError, ToleranceError
from pipeline_platform.movement import (
    PIPELINE_COLUMN,
    WINDOW_COLUMN,
    LoadRequest,
    Manifest,
    Prerequisite,
    WindowSlice,
)
from pipeline_platform.targets import commits
from pipeline_platform.targets.columns import TargetTable, misfit
from pipeline_platform.targets.sql_table import (
    COMMITS_SUFFIX,
    COUNT_INSIDE,
    Session,
    SqlTable,
)
from pipeline_platform.tolerance import shrinkage

_DELETE_INSIDE = "DELETE FROM {table} WHERE {field} >= $1 AND {field} < $2"
_DELETE_NOBODYS = f"{_DELETE_INSIDE} AND {PIPELINE_COLUMN} IS NULL"
_DELETE_RESTATED = f"{_DELETE_INSIDE} AND {PIPELINE_COLUMN} = $3"
# A given-up window may begin at the same moment as another one: what is left of its rows must not
# count as that one's, nor go with them. They stay the pipeline's, of no window.
_DISOWN = (
    f"UPDATE {{table}} SET {WINDOW_COLUMN} = NULL "  # noqa: S608
    f"WHERE {PIPELINE_COLUMN} = $1 AND {WINDOW_COLUMN} IN "
    "(SELECT window_start FROM {commits} WHERE {overlapping} AND manifest_hash IS NOT NULL)"
)
_RESTATE = (
    "Windows were cut differently before. Give the run `--restate` (tag "
    "pipeline_platform/restate: true): it replaces their rows window by window."
)


class SqlOwnership(SqlTable):
    """What a load refuses, replaces and takes over; all inside its transaction."""

    def check_window(self, window: WindowSlice) -> Prerequisite:
        """No committed window with other bounds lies in this one."""
        committed: list[tuple[object, ...]] = []
        if self._is_there():
            with self._connect(read_only=True) as session:
                if self._table(session, self._system.table + COMMITS_SUFFIX) is not None:
                    committed = self._committed_around(session, window)
        return Prerequisite(
            "target window",
            not committed,
            _listed(committed) if committed else "overlaps no other window",
            _RESTATE if committed else "",
        )

    def _committed_around(self, session: Session, window: WindowSlice) -> list[tuple[object, ...]]:
        found = session.rows(self._sql(commits.READ_OVERLAPPING), commits.around_values(window))
        return [tuple(bound.replace(tzinfo=None) for bound in bounds) for bounds in found]

    def _lock_overlapping(self, session: Session, window: WindowSlice) -> None:
        """Wait for whoever is loading such a window, and keep others from beginning to."""
        session.changed(self._sql(commits.LOCK_OVERLAPPING), commits.around_values(window))

    def _restate_or_refuse(self, session: Session, window: WindowSlice, restate: bool) -> int:
        """Windows with other bounds that overlap this one: given up with `restate`, else refused.

        Returns how many were given up. Their commit rows stay, without a load: those windows are
        skipped or continued no more.
        """
        around = commits.around_values(window)
        self._lock_overlapping(session, window)
        committed = self._committed_around(session, window)
        if committed and not restate:
            raise PermanentError(
                f"{self.name}: the window {window} {_listed(committed)}.", hint=_RESTATE
            )
        if committed:
            session.changed(self._sql(_DISOWN), around)
            session.changed(self._sql(commits.GIVE_UP_OVERLAPPING), around)
        return len(committed)

    def _refuse_shrinking(self, request: LoadRequest, rows_before: int) -> None:
        """A restated window has no commit row of its own to compare with; its old rows are."""
        most = request.max_shrink_percent
        if not request.restate or most is None:
            return
        rows = request.manifest.snapshot_count
        if (gone := shrinkage(rows_before, rows, most)) is not None:
            raise ToleranceError(
                f"The source holds {rows} rows of this window, the target {rows_before}: restating "
                f"it would lose more than {most} %. The target keeps its rows.",
                hint="If the rows are rightly gone, run the window with --force as well "
                "(tag pipeline_platform/force: true).",
                facts=gone.facts(),
            )

    def _refuse_misfits(self, manifest: Manifest, table: TargetTable) -> None:
        reasons = [
            f"{column.name}: {reason}"
            for column in manifest.schema
            if (reason := misfit(column.type, table.column(column.name))) is not None
        ]
        if reasons:
            raise PermanentError(
                f"{self.name}: staged columns do not fit: {'; '.join(reasons)}.",
                hint="Change the target's columns, or leave these out.",
            )

    def _replace_others(
        self,
        session: Session,
        table: TargetTable,
        window: WindowSlice,
        *,
        adopt: bool,
        restate: bool,
    ) -> dict[str, int]:
        """Delete rows inside the window that a load may replace beside its own.

        `restate`: all rows of this pipeline. `adopt`: rows that no pipeline loaded. Rows of another
        pipeline stay, and are refused: its commit row vouches for them.
        """
        field, bounds = self._field(table), self._bounds(table, window)
        restated = adopted = 0
        if restate:
            statement = self._sql(_DELETE_RESTATED, field=field)
            restated = session.changed(statement, [*bounds, window.pipeline_name])
        if adopt:
            adopted = session.changed(self._sql(_DELETE_NOBODYS, field=field), bounds)
        return {"rows_adopted": adopted, "rows_restated": restated}

    def _refuse_foreign(self, session: Session, table: TargetTable, window: WindowSlice) -> None:
        """Nothing may be left inside the window before its rows are inserted."""
        statement = self._sql(COUNT_INSIDE, field=self._field(table))
        foreign = int(session.rows(statement, self._bounds(table, window))[0][0])
        if foreign:
            raise PermanentError(
                f"{self.name}: {foreign} rows of the window {window} were not loaded by it. "
                "Nothing was changed.",
                hint="Remove them, or load to another table. Rows of this pipeline's windows with "
                "other bounds are replaced by a run with `--restate`; before the first load of a "
                "window, target_system.adopt: true replaces rows that no pipeline loaded.",
                facts={"foreign_rows": foreign},
            )


def _listed(committed: list[tuple[object, ...]]) -> str:
    listed = ", ".join(f"[{start}, {end})" for start, end in committed[:5])
    return f"overlaps {len(committed)} committed with other bounds: {listed} UTC"

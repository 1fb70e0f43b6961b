"""The place as the machine made it: source, oracles of the windows, and the comparison."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from pipeline_platform.execution import PHASES, pipeline_id
from pipeline_platform.movement import AttemptPath
from pipeline_platform_tests.statemachine.oracle import (
    RECORD_COLUMNS,
    Row,
    Staged,
    WindowOracle,
)
from pipeline_platform_tests.statemachine.place import DAYS, Place

DAY = timedelta(days=1)
PLACES = (timedelta(0), timedelta(hours=12), DAY - timedelta(microseconds=1))
_BORN = datetime(2024, 4, 1)
_ROW = "id, placed_at AT TIME ZONE 'UTC', amount, note, updated_at AT TIME ZONE 'UTC'"
_TABLES = (
    "analytics.orders", "analytics.orders_window_commits",
    "pipeline_platform.pipeline_records", "pipeline_platform.pipeline_execution_log",
)  # fmt: skip


class World:
    """The place, two adjacent windows and the source's content, as the machine made them."""

    def __init__(self, place: Place) -> None:
        place.clear()
        self.place = place
        self.pipeline = place.pipeline
        self.store = place.store
        self.windows = [self.pipeline.windows.window_of_key(key) for key in DAYS]
        self.slices = [window.slice(self.pipeline.name) for window in self.windows]
        self.oracles = [WindowOracle(naive(window.start)) for window in self.windows]
        self.source: dict[int, Row] = {}
        self.changes = 0

    # The source

    def insert(self, window: int, place: int, note: str | None) -> None:
        at = naive(self.windows[window].start) + PLACES[place]
        amount = None if note is None else Decimal(self.changes * 7 - 20) / 100
        row = (self.changes, at, amount, note, self._next_change())
        self.place.at_source(
            "INSERT INTO orders VALUES ($1, $2, $3, $4, $5)",
            [row[0], aware(at), amount, note, aware(row[4])],
        )
        self.source[row[0]] = row

    def update(self, which: int, note: str | None) -> None:
        row = self.source[sorted(self.source)[which % len(self.source)]]
        changed = (*row[:3], note, self._next_change())
        self.place.at_source(
            "UPDATE orders SET note = $1, updated_at = $2 WHERE id = $3",
            [note, aware(changed[4]), row[0]],
        )
        self.source[int(str(row[0]))] = changed

    def delete(self, which: int) -> None:
        key = sorted(self.source)[which % len(self.source)]
        self.place.at_source("DELETE FROM orders WHERE id = $1", [key])
        del self.source[key]

    def _next_change(self) -> datetime:
        self.changes += 1
        return _BORN + timedelta(seconds=self.changes)

    def rows_now(self, window: int) -> tuple[Row, ...]:
        """The source's rows of a window, by id."""
        start = naive(self.windows[window].start)
        rows = (self.source[key] for key in sorted(self.source))
        return tuple(row for row in rows if start <= row[1] < start + DAY)  # type: ignore[operator]

    # What is there

    def attempts(self, window: int) -> list[int]:
        return self.pipeline.stage.attempts(self.slices[window])

    def dump(self) -> list[Any]:
        """All tables and the stage, byte for byte."""
        tables = [sorted(self.place.at_target(f"SELECT t::text FROM {name} t")) for name in _TABLES]
        stage = (self.place.folder / "stage").rglob("*")
        return [*tables, sorted((str(path), path.stat().st_size) for path in stage)]

    def expire(self, window: int) -> None:
        """As if the lease had passed while the owner paused."""
        self.place.at_target(
            "UPDATE pipeline_platform.pipeline_records SET lease_until = lease_until "
            "- INTERVAL '1 hour' WHERE owner IS NOT NULL AND window_start_time = $1",
            [self.windows[window].start],
        )
        drive = self.oracles[window].drive
        if drive is not None and drive.owner is not None:
            drive.expired = True

    def require_staged(self, window: int, epoch: int, rows: tuple[Row, ...]) -> Staged:
        """The whole manifest that must be in the attempt path, with exactly these rows."""
        manifest = self.pipeline.stage.open_manifest(AttemptPath(self.slices[window], epoch))
        assert manifest is not None, f"no manifest at {epoch}"
        found = [tuple(row.values()) for batch in self.pipeline.stage.scan(manifest)
                 for row in batch.to_pylist()]  # fmt: skip
        staged = [(row[0], naive(row[1]), row[2], row[3], naive(row[4])) for row in found]
        assert tuple(sorted(staged)) == rows
        assert (manifest.rows, manifest.snapshot_count) == (len(rows), len(rows))
        return Staged(manifest, rows)

    # Comparison

    def compare(self) -> None:
        """Target, commit rows, records and runs are what the oracles say, and nothing more."""
        self._compare_rows()
        self._compare_commits()
        self._compare_records()
        self._compare_runs()

    def _compare_rows(self) -> None:
        found = self.place.at_target(
            f"SELECT {_ROW}, _pipeline_name, _pipeline_window_start AT TIME ZONE 'UTC' "
            "FROM analytics.orders ORDER BY id"
        )
        expected = [(*row, self.pipeline.name, oracle.start)
                    for oracle in self.oracles for row in oracle.rows]  # fmt: skip
        assert found == sorted(expected), f"rows in the target: {found}, expected {expected}"

    def _compare_commits(self) -> None:
        found = self.place.at_target(
            "SELECT window_start AT TIME ZONE 'UTC', epoch, manifest_hash, change_value, "
            "source_rows, stage_rows, target_rows, audit_result, committed_at IS NOT NULL, "
            "audited_at IS NOT NULL, config_hashes IS NOT NULL "
            "FROM analytics.orders_window_commits ORDER BY 1"
        )
        stored = {row[0]: row[1:] for row in found}
        expected = {}
        for oracle in self.oracles:
            if oracle.commit is not None:
                commit = oracle.commit
                loaded, audited = commit.manifest_hash is not None, commit.audit_result is not None
                values = tuple(vars(commit).values())
                expected[oracle.start] = (*values, loaded, audited, loaded)
        assert stored == expected, f"commit rows: {stored}, expected {expected}"

    def _compare_records(self) -> None:
        found = self.place.at_target(
            "SELECT window_start_time AT TIME ZONE 'UTC', epoch, owner, "
            f"lease_until IS NOT NULL, {', '.join(RECORD_COLUMNS)} "
            "FROM pipeline_platform.pipeline_records ORDER BY 1"
        )
        claims = {row[0]: row[1:4] for row in found}
        records = {row[0]: row[4:] for row in found}
        drives = {oracle.start: oracle.drive for oracle in self.oracles if oracle.drive}
        assert claims == {
            start: (drive.epoch, drive.owner, drive.owner is not None)
            for start, drive in drives.items()
        }, "claims"
        for oracle in self.oracles:
            if oracle.drive is not None:
                assert oracle.drive.epoch >= oracle.highest_epoch, "an epoch above the record's"
                assert oracle.commit is None or oracle.drive.epoch >= oracle.commit.epoch
            if oracle.record:
                assert records[oracle.start] == oracle.record, "record"

    def _compare_runs(self) -> None:
        found = self.place.at_target(
            "SELECT pipeline_id, dagster_run_id, pipeline_status, phases_completed, "
            "phases_skipped, phase_failed, phases_pending "
            "FROM pipeline_platform.pipeline_execution_drive"
        )
        revisions = dict(
            self.place.at_target(
                "SELECT pipeline_id, count(*) FROM pipeline_platform.pipeline_execution_log "
                "GROUP BY 1"
            )
        )
        runs = {
            pipeline_id(self.pipeline.name, window.start, epoch): run
            for window, oracle in zip(self.windows, self.oracles, strict=True)
            for epoch, run in oracle.runs.items()
        }
        assert sorted(row[0] for row in found) == sorted(runs), "runs in the view"
        for name, owner, status, completed, skipped, failed, pending in found:
            run = runs[name]
            assert (owner, status) == (run.owner, run.status), name
            assert revisions[name] == run.revisions, name
            phases = [*completed, *skipped, *([failed] if failed else []), *pending]
            assert sorted(phases) == sorted(PHASES), f"phases of {name} are not disjoint"


def naive(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(tzinfo=None)


def aware(moment: object) -> datetime:
    assert isinstance(moment, datetime)
    return moment.replace(tzinfo=timezone.utc)

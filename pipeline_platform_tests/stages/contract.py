"""What every stage must do; a stage's own test class gives `stage` and a way to damage files."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_platform.errors import (
    ClaimLostError,
    ConfigurationError,
    PermanentError,
    VerificationError,
)
from pipeline_platform.movement import (
    AttemptPath,
    RejectedRecord,
    Snapshot,
    SourceBatch,
    WindowSlice,
)
from pipeline_platform.stages.base import Stage
from pipeline_platform_tests.stages.contract_damage import DamageContract
from pipeline_platform_tests.stages.examples import (
    ATTEMPT,
    ROWS,
    SCHEMA,
    START,
    WINDOW,
    batch_of,
    snapshot_of,
)


class StageContract(DamageContract):
    """Subclass as `TestXStage`."""

    def test_rows_come_back_as_they_went_in(self, stage: Stage) -> None:
        manifest = self.write(stage)
        table = pa.Table.from_batches(stage.scan(manifest), manifest.schema)
        assert table.schema == SCHEMA
        assert [{**row, "ratio": repr(row["ratio"])} for row in table.to_pylist()] == [
            {**row, "ratio": repr(row["ratio"])} for row in ROWS
        ]

    def test_manifest_is_read_back_equal(self, stage: Stage) -> None:
        written = self.write(
            stage, snapshot_of(ROWS, change_value="9", original_names={"id": "ID"})
        )
        read = stage.open_manifest(ATTEMPT)
        assert read == written
        assert read is not None
        assert read.hash
        assert (read.rows, read.rejected, read.snapshot_count) == (23, 0, 23)
        assert (read.change_value, read.original_names) == ("9", {"id": "ID"})
        assert read.attempt == ATTEMPT
        assert stage.count(read) == 23

    def test_summaries_are_those_of_the_rows(self, stage: Stage) -> None:
        columns = self.write(stage).columns
        assert columns["id"].total == str(sum(row["id"] for row in ROWS))
        amounts = [int(row["amount"].scaleb(2)) for row in ROWS if row["amount"] is not None]
        assert columns["amount"].nulls == len(ROWS) - len(amounts)
        assert columns["amount"].total is not None
        assert columns["amount"].total.replace(".", "") == str(sum(amounts))
        names = [row["name"] for row in ROWS if row["name"] is not None]
        assert columns["name"].total == str(sum(len(name.encode()) for name in names))
        assert columns["good"].total == str(sum(row["good"] for row in ROWS))
        assert columns["ratio"].minimum == repr(1 / 3)
        assert columns["ratio"].maximum == repr(23 / 3)

    def test_rows_per_file_cuts_exactly(self, tmp_path: Path) -> None:
        stage = self.make_stage(tmp_path, rows_per_file=5, rows_per_group=2)
        manifest = self.write(stage, snapshot_of(ROWS[:1], ROWS[1:14], ROWS[14:]))
        assert [file.rows for file in manifest.files] == [5, 5, 5, 5, 3]
        assert stage.count(manifest) == 23
        ids = [n for batch in stage.scan(manifest) for n in batch.column("id").to_pylist()]
        assert ids == [row["id"] for row in ROWS]
        stage.verify(manifest)

    def test_bytes_per_file_cut_at_the_end_of_a_row_group(self, tmp_path: Path) -> None:
        rows = [{**row, "raw": random.Random(row["id"]).randbytes(300)} for row in ROWS]
        stage = self.make_stage(tmp_path, bytes_per_file=1_000, rows_per_group=2)
        manifest = self.write(stage, snapshot_of(rows))
        assert [file.rows for file in manifest.files] == [2] * 11 + [1]
        stage = self.make_stage(tmp_path, bytes_per_file=1_000_000, rows_per_group=2)
        manifest = self.write(stage, snapshot_of(rows), AttemptPath(WINDOW, 4))
        assert [file.rows for file in manifest.files] == [23]

    def test_locations_can_be_read_by_others(self, stage: Stage) -> None:
        manifest = self.write(stage)
        tables = []
        for location in stage.locations(manifest):
            with stage.open(location) as file:
                tables.append(pq.read_table(file))
        assert sum(table.num_rows for table in tables) == 23

    def test_empty_window_keeps_the_columns(self, stage: Stage) -> None:
        manifest = self.write(stage, snapshot_of())
        assert (manifest.rows, len(manifest.files)) == (0, 1)
        assert stage.open_manifest(ATTEMPT) == manifest
        assert stage.count(manifest) == 0
        assert list(stage.scan(manifest)) == []
        with stage.open(stage.locations(manifest)[0]) as file:
            assert pq.read_schema(file).names == SCHEMA.names
        assert manifest.columns["id"].total is None

    def test_rejected_rows_are_kept_with_their_reason(self, stage: Stage, tmp_path: Path) -> None:
        bad = [
            RejectedRecord("id is NULL", '{"id": null,\n"name": "\u2028"}'),
            RejectedRecord("day is NULL", "{}"),
            RejectedRecord("id is NULL", "{}"),
        ]
        manifest = self.write(stage, snapshot_of(ROWS, rejected=bad))
        assert (manifest.rows, manifest.rejected, manifest.snapshot_count) == (23, 3, 26)
        assert manifest.rejected_reasons == {"id is NULL": 2, "day is NULL": 1}
        assert manifest.rejected_file is not None
        assert manifest.rejected_file.rows == 3
        text = self.read(tmp_path, f"{ATTEMPT.relative}/{manifest.rejected_file.path}")
        lines = [json.loads(line) for line in text.decode().split("\n")[:-1]]
        assert [(line["reason"], line["record"]) for line in lines] == [
            (record.reason, record.record) for record in bad
        ]
        stage.verify(manifest)

    @pytest.mark.parametrize("count", [0, 22, 24])
    def test_other_count_than_the_snapshots_leaves_no_manifest(
        self, stage: Stage, count: int
    ) -> None:
        with pytest.raises(VerificationError) as raised:
            self.write(stage, snapshot_of(ROWS, count=count))
        facts = raised.value.facts
        assert (facts["expected"], facts["observed"], facts["rejected"]) == (count, 23, 0)
        assert stage.open_manifest(ATTEMPT) is None

    def test_stable_snapshot_is_counted_again_after_the_read(self, stage: Stage) -> None:
        batches = iter([SourceBatch(batch_of(ROWS))])
        read: list[bool] = []

        def recount() -> int:
            read.append(next(batches, None) is None)
            return 24

        snapshot = Snapshot("stable", 23, SCHEMA, batches, recount=recount)
        with pytest.raises(VerificationError) as raised:
            self.write(stage, snapshot)
        assert raised.value.facts["recounted"] == 24
        assert read == [True]
        assert stage.open_manifest(ATTEMPT) is None
        steady = snapshot_of(ROWS, kind="stable", recount=lambda: 23)
        assert self.write(stage, steady).snapshot_kind == "stable"

    def test_lost_claim_stops_before_each_batch_and_before_the_manifest(
        self, tmp_path: Path
    ) -> None:
        for allowed in (0, 1, 2):
            stage = self.make_stage(tmp_path / str(allowed))
            asked: list[int] = []

            def lost(asked: list[int] = asked, allowed: int = allowed) -> None:
                asked.append(1)
                if len(asked) > allowed:
                    raise ClaimLostError("taken over")

            with pytest.raises(ClaimLostError):
                self.write(stage, snapshot_of(ROWS[:10], ROWS[10:]), still_ours=lost)
            assert len(asked) == allowed + 1
            assert stage.open_manifest(ATTEMPT) is None
            # only complete files may be left, and cleaning removes them
            stage.delete(ATTEMPT)
            assert self.paths(tmp_path / str(allowed)) == []

    def test_failing_source_leaves_no_manifest_and_no_unfinished_file(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        def broken() -> Iterator[SourceBatch]:
            yield SourceBatch(batch_of(ROWS))
            raise OSError("the source broke")

        with pytest.raises(OSError, match="the source broke"):
            self.write(stage, Snapshot("exact", 23, SCHEMA, broken()))
        assert stage.open_manifest(ATTEMPT) is None
        assert self.paths(tmp_path) == []

    def test_batch_of_other_columns_is_refused(self, stage: Stage) -> None:
        other = pa.RecordBatch.from_pydict({"id": [1]})
        with pytest.raises(PermanentError, match="other columns"):
            self.write(stage, Snapshot("exact", 1, SCHEMA, iter([SourceBatch(other)])))

    def test_second_writer_of_an_attempt_is_refused_and_harms_nothing(self, stage: Stage) -> None:
        def second_in_the_middle() -> Iterator[SourceBatch]:
            yield SourceBatch(batch_of(ROWS[:3]))
            self.write(stage)

        with pytest.raises(VerificationError, match="there already"):
            self.write(stage, Snapshot("exact", 3, SCHEMA, second_in_the_middle()))
        with pytest.raises(VerificationError, match="there already"):
            self.write(stage)
        manifest = stage.open_manifest(ATTEMPT)
        assert manifest is not None
        assert manifest.rows == 23
        stage.verify(manifest)

    def test_attempts_and_manifests_are_in_order(self, stage: Stage, tmp_path: Path) -> None:
        earlier = WindowSlice("orders", START - timedelta(hours=1), START)
        assert stage.attempts(WINDOW) == []
        for attempt in (
            AttemptPath(WINDOW, 10),
            AttemptPath(WINDOW, 9),
            AttemptPath(earlier, 2),
            AttemptPath(WindowSlice("orders_2", START, WINDOW.end), 1),
        ):
            self.write(stage, snapshot_of(ROWS[:1]), attempt)
        self.overwrite(tmp_path, f"{AttemptPath(WINDOW, 11).relative}/part-0.parquet", b"torn")
        assert stage.attempts(WINDOW) == [9, 10, 11]
        found = [(m.window_start, m.epoch) for m in stage.manifests("orders")]
        assert found == [(earlier.start, 2), (START, 9), (START, 10)]

    def test_delete_removes_one_attempt_and_may_be_repeated(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        other = AttemptPath(WINDOW, 4)
        self.write(stage)
        self.write(stage, snapshot_of(ROWS), other)
        assert stage.delete(ATTEMPT) == 2
        assert stage.delete(ATTEMPT) == 0
        assert stage.attempts(WINDOW) == [4]
        kept = stage.open_manifest(other)
        assert kept is not None
        stage.verify(kept)
        assert stage.delete(other) == 2
        assert self.paths(tmp_path) == []

    def test_archive_moves_a_whole_attempt(self, stage: Stage, tmp_path: Path) -> None:
        manifest = self.write(stage, snapshot_of(ROWS, rejected=[RejectedRecord("r", "{}")]))
        where = stage.archive(ATTEMPT, self.archive_root(tmp_path))
        assert where.endswith(ATTEMPT.relative)
        assert stage.attempts(WINDOW) == []
        archive = self.make_archive(tmp_path)
        moved = archive.open_manifest(ATTEMPT)
        assert moved == manifest
        assert moved is not None
        archive.verify(moved)
        # a crash after the deletion began: the archive is whole, so the rest goes
        assert stage.archive(ATTEMPT, self.archive_root(tmp_path)) == where

    def test_archive_of_a_damaged_attempt_deletes_nothing(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        manifest = self.write(stage)
        path = f"{ATTEMPT.relative}/{manifest.files[0].path}"
        whole = self.read(tmp_path, path)
        for damaged in (whole[:-1] + b"x", None):
            self.overwrite(tmp_path, path, damaged)
            with pytest.raises(VerificationError):
                stage.archive(ATTEMPT, self.archive_root(tmp_path))
            assert stage.open_manifest(ATTEMPT) == manifest
        archive = self.make_archive(tmp_path)
        assert archive.open_manifest(ATTEMPT) is None
        with pytest.raises(PermanentError):
            stage.archive(AttemptPath(WINDOW, 8), self.archive_root(tmp_path))

    @pytest.mark.parametrize("name", ["../evil", "a/b", "..", "", "a\\b", "/etc", "a\x00b", "."])
    def test_no_name_leads_out_of_the_root(self, stage: Stage, tmp_path: Path, name: str) -> None:
        attempt = AttemptPath(replace(WINDOW, pipeline_name=name), 1)
        outside = sorted(tmp_path.parent.rglob("*"))
        calls: list[Callable[[], object]] = [
            lambda: self.write(stage, snapshot_of(ROWS[:1]), attempt),
            lambda: stage.open_manifest(attempt),
            lambda: stage.attempts(attempt.window),
            lambda: stage.delete(attempt),
            lambda: stage.archive(attempt, self.archive_root(tmp_path)),
            lambda: list(stage.manifests(name)),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError):
                call()
        assert sorted(tmp_path.parent.rglob("*")) == outside

    def test_file_names_of_a_manifest_cannot_lead_out(self, stage: Stage) -> None:
        manifest = self.write(stage)
        for path in ("../../../../secret", "/etc/passwd", "a/../../b"):
            hostile = replace(manifest, files=(replace(manifest.files[0], path=path),))
            calls: list[Callable[[], object]] = [
                lambda m=hostile: stage.verify(m),  # type: ignore[misc]
                lambda m=hostile: stage.count(m),  # type: ignore[misc]
                lambda m=hostile: stage.locations(m),  # type: ignore[misc]
                lambda m=hostile: list(stage.scan(m)),  # type: ignore[misc]
            ]
            for call in calls:
                with pytest.raises(ConfigurationError):
                    call()

    def test_check_says_whether_it_can_be_written(self, stage: Stage, tmp_path: Path) -> None:
        assert [check.passed for check in stage.check()] == [True]
        assert self.paths(tmp_path) == []

    def test_memory_is_flat_in_the_number_of_rows(self, tmp_path: Path) -> None:
        stage = self.make_stage(tmp_path, rows_per_group=20_000, rows_per_file=100_000)
        schema = pa.schema({"id": pa.int64(), "text": pa.string()})

        def peak(batches: int, epoch: int) -> int:
            pool = pa.default_memory_pool()
            highest = 0
            began = pool.bytes_allocated()

            def rows() -> Iterator[SourceBatch]:
                nonlocal highest
                for n in range(batches):
                    ids = pa.array(range(n * 10_000, (n + 1) * 10_000))
                    highest = max(highest, pool.bytes_allocated() - began)
                    yield SourceBatch(
                        pa.RecordBatch.from_arrays(
                            [ids, pa.array([f"row {i.as_py()}" for i in ids])], schema=schema
                        )
                    )

            snapshot = Snapshot("exact", batches * 10_000, schema, rows())
            self.write(stage, snapshot, AttemptPath(WINDOW, epoch))
            return highest

        small, large = peak(4, 1), peak(40, 2)
        assert large <= small * 1.15 + 2_000_000

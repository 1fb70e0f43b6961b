"""The machine finds faults: each of these, planted in the platform, must make it fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline_platform.drive_table import sql_store, statements
from pipeline_platform.errors import ClaimLostError
from pipeline_platform.flow import claim as flow_claim
from pipeline_platform.flow import plan, source
from pipeline_platform.flow.run import WindowRun
from pipeline_platform.movement import AttemptPath, CommitRow, LoadRequest, LoadResult, Manifest
from pipeline_platform.targets import commits, sql_target
from pipeline_platform.targets.sql_target import SqlTarget
from pipeline_platform_tests.statemachine import workers
from pipeline_platform_tests.statemachine.place import DuckDBPlace
from pipeline_platform_tests.statemachine.run import run_machine

MOST_STEPS = 2_000

Plant = Callable[[pytest.MonkeyPatch], None]
MUTATIONS: dict[str, Plant] = {}


def mutation(plant: Plant) -> Plant:
    MUTATIONS[plant.__name__] = plant
    return plant


def without(text: str, part: str) -> str:
    assert part in text
    return text.replace(part, "")


@mutation
def load_fence_does_not_compare_epochs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "FENCE_LOAD", without(commits.FENCE_LOAD, " AND epoch < $4"))


@mutation
def fence_does_not_compare_epochs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "FENCE", without(commits.FENCE, " AND epoch <= $4"))


@mutation
def two_loads_at_one_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "FENCE_LOAD", commits.FENCE)


@mutation
def fence_is_not_moved(patch: pytest.MonkeyPatch) -> None:
    still = commits.FENCE_LOAD.replace("epoch = $4,", "epoch = greatest(epoch, $4 - $4),")
    assert still != commits.FENCE_LOAD
    patch.setattr(commits, "FENCE_LOAD", still)


@mutation
def claim_of_a_held_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql_store, "CLAIM", without(statements.CLAIM, " AND {free}"))


@mutation
def claim_keeps_the_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql_store, "CLAIM", without(statements.CLAIM, " + 1"))


@mutation
def claim_ignores_commit_row_and_stage(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flow_claim, "_epoch_seen_elsewhere", lambda pipeline, window: 0)


@mutation
def save_without_owner_and_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(statements._FRAGMENTS, "ours", "{key}")


@mutation
def closes_runs_that_are_alive(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(statements._FRAGMENTS, "held", "(owner IS NULL AND owner IS NOT NULL)")


@mutation
def delete_without_fence(patch: pytest.MonkeyPatch) -> None:
    unfenced(patch, "delete")


@mutation
def audit_without_fence(patch: pytest.MonkeyPatch) -> None:
    unfenced(patch, "audit")


def unfenced(patch: pytest.MonkeyPatch, wanted: str) -> None:
    fence = SqlTarget._fence

    def only_others(self: SqlTarget, session: Any, purpose: str | None, *rest: Any) -> None:
        if purpose != wanted:
            fence(self, session, purpose, *rest)

    patch.setattr(SqlTarget, "_fence", only_others)


@mutation
def commit_row_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    load = SqlTarget.load

    def early(self: SqlTarget, request: LoadRequest) -> LoadResult:
        window = request.manifest.attempt.window
        key = commits.key_values(window)
        with self._connect() as session:
            session.changed(self._sql(commits.ENSURE), key)
            manifest = request.manifest
            values = commits.load_values(manifest, manifest.config_hashes, manifest.rows)
            session.changed(self._sql(commits.STORE_LOAD), [*key, *values])
        return load(self, request)

    patch.setattr(SqlTarget, "load", early)


@mutation
def commit_row_not_updated_by_a_load(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "STORE_LOAD", f"{commits.STORE_LOAD} AND epoch < 0")


@mutation
def commit_row_not_reset_by_a_delete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "STORE_DELETE", f"{commits.STORE_DELETE} AND epoch < 0")


@mutation
def old_verdict_kept_by_a_load(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "STORE_LOAD", without(commits.STORE_LOAD, "audit_result = NULL, "))


@mutation
def unknown_commit_taken_as_arrived(patch: pytest.MonkeyPatch) -> None:
    guess_outcome(patch, arrived=True)


@mutation
def unknown_commit_taken_as_lost(patch: pytest.MonkeyPatch) -> None:
    guess_outcome(patch, arrived=False)


def guess_outcome(patch: pytest.MonkeyPatch, *, arrived: bool) -> None:
    transaction = SqlTarget._transaction

    def guessing(self: SqlTarget, *arguments: Any, **more: Any) -> Any:
        return transaction(self, *arguments, **{**more, "arrived": lambda row: arrived})

    patch.setattr(SqlTarget, "_transaction", guessing)


@mutation
def unknown_commit_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    def read_only(self: SqlTarget, window: Any, epoch: int) -> tuple[CommitRow, CommitRow]:
        row = self.commit_row(window)
        if row is None:
            raise ClaimLostError("no row")
        return row, row

    patch.setattr(SqlTarget, "_settle", read_only)


@mutation
def load_deletes_the_neighbour_too(patch: pytest.MonkeyPatch) -> None:
    every_window = "DELETE FROM {table} WHERE _pipeline_name = $1 AND $2 IS NOT NULL"
    patch.setattr(sql_target, "_DELETE_OURS", every_window)


@mutation
def resumes_from_an_older_attempt(patch: pytest.MonkeyPatch) -> None:
    def any_whole_one(run: WindowRun) -> Manifest | None:
        attempts = reversed(run.pipeline.stage.attempts(run.slice))
        found = (run.pipeline.stage.open_manifest(AttemptPath(run.slice, e)) for e in attempts)
        return next((manifest for manifest in found if manifest is not None), None)

    patch.setattr(workers, "newest_manifest", any_whole_one)
    patch.setattr(plan, "newest_manifest", any_whole_one)


@mutation
def skip_leaves_late_writers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(source, "late_writers_are_possible", lambda run, commit: False)


@mutation
def failure_keeps_the_claim(patch: pytest.MonkeyPatch) -> None:
    save = sql_store.SqlStore.save

    def unreleased(self: Any, *arguments: Any, release: bool = False) -> Any:
        return save(self, *arguments, release=False)

    patch.setattr(sql_store.SqlStore, "save", unreleased)


@mutation
def row_of_another_run_saved(patch: pytest.MonkeyPatch) -> None:
    append = statements.Statements.append

    def one_epoch_late(self: Any, row: Any) -> Any:
        return append(self, replace(row, epoch=max(1, row.epoch - 1)))

    patch.setattr(statements.Statements, "append", one_epoch_late)


@pytest.mark.parametrize("name", MUTATIONS)
def test_is_found(name: str, duckdb_place: DuckDBPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)
    with pytest.raises(AssertionError):
        run_machine(duckdb_place, MOST_STEPS, of_an_example=12, shrink=False)

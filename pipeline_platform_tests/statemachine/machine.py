"""Workers with stale views, faults between any two steps, and an oracle of the rows."""

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline_platform.errors import (
    AuditMismatchError,
    ClaimLostError,
    PermanentError,
    PipelineError,
    TransientError,
    VerificationError,
    WindowHeldError,
)
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.audit import audit_step
from pipeline_platform.flow.claim import claim_window
from pipeline_platform.flow.cleaning import clean_stage_location
from pipeline_platform.flow.failure import clean_target_location, record_failure
from pipeline_platform.flow.phase import PhaseFailedError
from pipeline_platform.flow.run import RunRequest, WindowRun
from pipeline_platform.flow.stage import require_manifest, transfer_source_to_stage
from pipeline_platform.flow.target import transfer_stage_to_target
from pipeline_platform_tests.pipelines import LOG, run_window
from pipeline_platform_tests.statemachine.faults import Fault, Outcome, points_of, watched
from pipeline_platform_tests.statemachine.oracle import PASS, Commit, Row, RunRow, Staged
from pipeline_platform_tests.statemachine.place import DAYS, Place
from pipeline_platform_tests.statemachine.world import Worker, World

ACTORS = 4
MOST_ROWS = 7

windows = st.integers(0, 1)
actors = st.integers(0, ACTORS - 1)
numbers = st.integers(0, 99)
notes = st.sampled_from([None, "", "größe", "n1", "a 'quoted' \\N $1"])
BEFORE_TRANSACTION = ("load.before_commit_row", "load.before_begin", "audit.before_verdict",
                      "stage.before_read", "stage.after_batch", "stage.before_manifest")  # fmt: skip


def faults(purpose: str) -> st.SearchStrategy[Fault | None]:
    """Mostly none; at any point; and where a commit is in doubt, perhaps a second one."""
    plain = st.builds(Fault, st.sampled_from(points_of(purpose)), st.sampled_from(["error", "kill"]))
    if purpose in ("stage", "save"):
        return st.none() | plain
    doubtful = st.builds(
        Fault,
        st.sampled_from([f"{purpose}.before_commit", f"{purpose}.after_commit"]),
        st.just("error"),
        st.sampled_from([None, "before_resolve", "after_resolve"]),
    )
    return st.none() | st.none() | plain | doubtful


def working(machine: "WindowMachine") -> bool:
    return bool(machine.workers)


class WindowMachine(RuleBasedStateMachine):
    """One instance is one example, on a place that is emptied for it.

    A claim that was taken over is not told to its worker: it goes on with its old epoch and
    manifest until somebody refuses it. `tally` counts what happened over all examples.
    """

    def __init__(self, place: Place, tally: Counter[str]) -> None:
        super().__init__()
        place.clear()
        self.world = World(place, tally)
        self.workers: dict[int, Worker] = {}
        self.dead: list[tuple[int, ExecutionRow]] = []
        self.tally = tally
        for window in (0, 1, 0):
            self.world.insert(window, 1, "first")

    # The source changes

    @precondition(lambda self: len(self.world.source) < MOST_ROWS)
    @rule(window=windows, place=st.integers(0, 2), note=notes)
    def insert_at_source(self, window: int, place: int, note: str | None) -> None:
        self.world.insert(window, place, note)

    @precondition(lambda self: self.world.source)
    @rule(which=numbers, note=notes)
    def update_at_source(self, which: int, note: str | None) -> None:
        self.world.update(which, note)

    @precondition(lambda self: self.world.source)
    @rule(which=numbers)
    def delete_at_source(self, which: int) -> None:
        self.world.delete(which)

    # Claims

    @rule(actor=actors, window=windows, fault=faults("save"))
    def claim(self, actor: int, window: int, fault: Fault | None = None) -> None:
        """A new process claims the window; what this actor did before has ended."""
        world, oracle = self.world, self.world.oracles[window]
        owner = uuid.UUID(int=world.claims).hex
        world.claims += 1
        held = oracle.drive is not None and oracle.drive.held
        epoch = oracle.next_epoch(world.attempts(window))
        before = world.dump() if held else None
        request = RunRequest(owner, first=True, last=True, held_wait_seconds=0.0)
        outcome = watched(
            lambda: claim_window(world.pipeline, world.windows[window], world.store, request, LOG),
            fault,
        )
        if held:
            assert isinstance(outcome.error, WindowHeldError), outcome
            assert world.dump() == before
            self._count("held")
            return
        taken = oracle.drive is not None and oracle.drive.owner is not None
        self._count("taken over" if taken else "claimed")
        oracle.claimed(epoch, owner)
        self.workers.pop(actor, None)
        if outcome.came_to("save.after_commit"):
            oracle.add_revision(epoch, owner, "RUNNING")
            oracle.saved_by[epoch] = owner
            oracle.record = None
        if outcome.fired is not None:
            assert outcome.died or isinstance(outcome.error, TransientError), outcome
            return
        run: WindowRun = outcome.value
        assert (run.claim.epoch, run.claim.owner) == (epoch, owner), outcome
        oracle.record = None
        self.workers[actor] = Worker(run, window, world.pulse_of(run))

    @rule(actor=actors, window=windows)
    def take_over(self, actor: int, window: int) -> None:
        """The owner pauses past its lease, and somebody else comes."""
        self.world.expire(window)
        self.claim(actor, window, None)

    @rule(window=windows)
    def expire(self, window: int) -> None:
        self.world.expire(window)

    @precondition(working)
    @rule(actor=actors)
    def heartbeat(self, actor: int) -> None:
        worker = self._worker(actor)
        drive = self._oracle(worker).drive
        ours, before = self._is_ours(worker), self.world.dump()
        outcome = watched(worker.pulse.beat)
        if ours:
            assert outcome.error is None, outcome
            assert drive is not None
            drive.expired = False
        else:
            self._refused("heartbeat", outcome, before)
            worker.knows_it_lost = True

    @precondition(working)
    @rule(actor=actors, release=st.booleans(), fault=faults("save"))
    def save(self, actor: int, release: bool, fault: Fault | None) -> None:
        """Hand the record and the row over, as after an asset."""
        worker = self._worker(actor)
        run, oracle = worker.run, self._oracle(worker)
        ours, before = self._is_ours(worker), self.world.dump()
        outcome = watched(
            lambda: self.world.store.save(run.claim, run.record, run.row, release=release), fault
        )
        if outcome.came_to("save.after_commit"):
            assert ours, "a run without the claim saved its row"
            oracle.saved(worker.epoch, worker.owner, run.record, run.row.pipeline_status)
            if release:
                oracle.release()
        elif outcome.fired is None:
            assert not ours, outcome
            self._refused("save", outcome, before)
        self._end_if_dead(actor, worker, outcome)

    # The steps of a run, each under the epoch that the worker believes in

    @precondition(working)
    @rule(actor=actors, fault=faults("stage"))
    def stage(self, actor: int, fault: Fault | None = None) -> None:
        self._stage(actor, fault)

    @precondition(working)
    @rule(actor=actors, look=st.booleans(), fault=faults("load"))
    def load(self, actor: int, look: bool, fault: Fault | None) -> None:
        """`look`: at the newest attempt, as a run does; else what was found an age ago."""
        worker = self._worker(actor)
        if look or worker.manifest is None:
            self._look(worker)
        if worker.manifest is not None:
            self._load(actor, worker, fault)

    @precondition(working)
    @rule(actor=actors, fault=faults("audit"))
    def audit(self, actor: int, fault: Fault | None) -> None:
        self._audit(actor, fault)

    @precondition(working)
    @rule(actor=actors, fault=faults("delete"))
    def delete(self, actor: int, fault: Fault | None) -> None:
        worker = self._worker(actor)
        oracle, before = self._oracle(worker), self.world.dump()
        outcome = watched(lambda: clean_target_location(worker.run), fault)
        if isinstance(outcome.error, ClaimLostError):
            self._refused("delete", outcome, before)
        outcome.value = outcome.value if outcome.value is not None else len(oracle.rows)
        oracle.deleted(worker.epoch, outcome)
        self._count_doubt("delete", outcome)
        self._end_if_dead(actor, worker, outcome)

    @precondition(working)
    @rule(actor=actors)
    def move(self, actor: int) -> None:
        """A worker that nothing stops: stage, load, audit."""
        worker = self._worker(actor)
        if worker.epoch not in self._oracle(worker).staged:
            self._stage(actor, None)
        self._look(worker)
        if worker.manifest is not None:
            self._load(actor, worker, None)
            self._audit(actor, None)

    @precondition(working)
    @rule(
        actor=actors, other=actors, point=st.sampled_from(BEFORE_TRANSACTION), moves=st.booleans(),
        which=numbers,
    )  # fmt: skip
    def pause_and_wake(
        self, actor: int, other: int, point: str, moves: bool, which: int
    ) -> None:
        """In the middle of a step the worker pauses past its lease; another takes over and works;
        the source changes; then the first one wakes up and finishes what it was at."""
        worker = self._worker(actor)
        others = [slot for slot in range(ACTORS) if self.workers.get(slot) is not worker]

        def meanwhile() -> None:
            self._count(f"paused at {point}")
            self.take_over(others[other % len(others)], worker.window)
            if moves:
                self.move_of(others[other % len(others)])
            if self.world.source:
                self.world.update(which, f"while paused {which}")

        self._step_with(actor, worker, point, meanwhile)

    @precondition(working)
    @rule(actor=actors, other=actors, point=st.sampled_from([
        name for name in points_of("load") + points_of("audit")
        if not name.endswith(("_commit_row", "before_begin", "_verdict", "after_commit"))
    ]))  # fmt: skip
    def taken_over_inside_a_transaction(self, actor: int, other: int, point: str) -> None:
        """The other one has the claim and not yet the fence: what is open may still commit."""
        worker = self._worker(actor)
        others = [slot for slot in range(ACTORS) if self.workers.get(slot) is not worker]

        def meanwhile() -> None:
            self._count("taken over inside")
            self.take_over(others[other % len(others)], worker.window)

        self._step_with(actor, worker, point, meanwhile)

    def move_of(self, slot: int) -> None:
        worker = self.workers.get(slot)
        if worker is not None:
            self.move(self._actor_of(worker))

    # Failures and what is left of the dead

    @precondition(working)
    @rule(
        actor=actors,
        kind=st.sampled_from([TransientError, VerificationError, AuditMismatchError]),
    )
    def fail(self, actor: int, kind: type[PipelineError]) -> None:
        """The run ends badly: both resets, as far as they are still its own to do."""
        worker = self._worker(actor)
        run, oracle = worker.run, self._oracle(worker)
        if worker.failure is not None:
            outcome, run.row = worker.failure
            assert outcome.failed is not None
            failed = outcome.failed
        else:
            phase_name = run.row.phases["stage_to_target_transfer"]
            run.row = run.row.with_phase(
                "stage_to_target_transfer", replace(phase_name, status="FAILED")
            )
            failed = PhaseFailedError("stage_to_target_transfer", kind("planted"))
        ours = self._is_ours(worker) and not isinstance(failed.error, ClaimLostError)
        before = self.world.dump()
        outcome = watched(lambda: record_failure(run, failed))
        assert outcome.error is None, outcome
        self.workers = {slot: held for slot, held in self.workers.items() if held is not worker}
        if not ours:
            self._count("failed without claim")
            if oracle.may_close(worker.epoch):
                oracle.closed(worker.epoch)
            else:
                assert self.world.dump() == before
            return
        self._count(f"failed with {type(failed.error).__name__}")
        if failed.error.from_zero:
            assert [a for a in self.world.attempts(worker.window) if a <= worker.epoch] == []
            oracle.staged = {e: s for e, s in oracle.staged.items() if e > worker.epoch}
            if isinstance(failed.error, AuditMismatchError):
                oracle.deleted(worker.epoch, replace(outcome, value=len(oracle.rows)))
        oracle.saved(worker.epoch, worker.owner, run.record, "FAILED")
        oracle.release()

    @precondition(working)
    @rule(actor=actors)
    def clean_stage(self, actor: int) -> None:
        """Superseded attempts go; the newest one stays, whole or not."""
        worker = self._worker(actor)
        row, attempts = worker.run.row, self.world.attempts(worker.window)
        outcome = watched(lambda: clean_stage_location(worker.run))
        if worker.knows_it_lost:
            worker.run.row = row
            assert isinstance(outcome.error, ClaimLostError), outcome
            assert self.world.attempts(worker.window) == attempts
            return
        assert outcome.error is None, outcome
        assert self.world.attempts(worker.window) == attempts[-1:]
        staged = self._oracle(worker).staged
        for epoch in [epoch for epoch in staged if epoch not in attempts[-1:]]:
            del staged[epoch]

    @rule()
    def look_for_dead_runs(self) -> None:
        """What a sweep sees, and may act on much later."""
        world = self.world
        found = world.store.dead_runs(world.pipeline.name)
        starts = [window.start for window in world.windows]
        self.dead = [(starts.index(row.query_window_start_timestamp), row) for row in found]
        expected = [
            (number, epoch) for number, oracle in enumerate(world.oracles)
            for epoch in oracle.runs if oracle.may_close(epoch)
        ]  # fmt: skip
        assert sorted((number, row.epoch) for number, row in self.dead) == sorted(expected)

    @precondition(lambda self: self.dead)
    @rule()
    def close_dead_runs(self) -> None:
        for number, row in self.dead:
            oracle = self.world.oracles[number]
            expected = oracle.may_close(row.epoch)
            assert self.world.store.close_run(replace(row, pipeline_status="FAILED")) == expected
            if expected:
                oracle.closed(row.epoch)
                self._count("closed as dead")
        self.dead = []

    @rule(sure=st.integers(0, 3))
    def lose_drive_table(self, sure: int) -> None:
        """The state is gone; commit rows and attempt paths still know epochs.

        An epoch that left no trace in either may be handed out again, so a run at such an epoch
        ends here with the database that it was connected to.
        """
        if sure:
            return
        self._count("drive table lost")
        self.world.place.lose_drive_table()
        self.dead = []
        for number, oracle in enumerate(self.world.oracles):
            oracle.drive, oracle.record, oracle.runs = None, None, {}
            oracle.highest_epoch = oracle.next_epoch(self.world.attempts(number)) - 1
            oracle.saved_by = {
                e: owner for e, owner in oracle.saved_by.items() if e <= oracle.highest_epoch
            }
        self.workers = {
            slot: worker for slot, worker in self.workers.items()
            if worker.epoch <= self._oracle(worker).highest_epoch
        }  # fmt: skip

    # The real flow, whole

    @rule(window=windows)
    def run_whole(self, window: int) -> None:
        """A run that nothing stops: whatever was left there, it ends with the source's rows."""
        world, oracle = self.world, self.world.oracles[window]
        owner = uuid.UUID(int=world.claims).hex
        world.claims += 1
        if oracle.drive is not None and oracle.drive.held:
            world.expire(window)
        attempts = world.attempts(window)
        epoch, rows = oracle.next_epoch(attempts), world.rows_now(window)
        action = self._expected_action(window, rows)
        row = run_window(world.pipeline, world.store, DAYS[window], run_id=owner)
        details = row.phases["pre_validation"].phase_specific_details
        assert (row.epoch, details["action"]) == (epoch, action), details
        self._count(f"whole run: {action}")
        oracle.claimed(epoch, owner)
        self._sweep(epoch, window)
        oracle.saved_by[epoch], oracle.record = owner, None
        oracle.runs[epoch] = RunRow(owner, row.pipeline_status, row.revision)
        oracle.release()
        oracle.rows = rows
        if action == "skip":
            assert row.pipeline_status == "SKIPPED"
            return
        assert row.pipeline_status == "SUCCESS"
        newest = world.attempts(window)
        assert newest == ([epoch] if action == "start_over" else attempts[-1:])
        staged = world.require_staged(window, newest[-1], rows)
        oracle.staged = {newest[-1]: staged}
        manifest = staged.manifest
        oracle.commit = Commit(
            epoch, manifest.hash, manifest.change_value, len(rows), len(rows), len(rows), PASS
        )

    @invariant()
    def compare(self) -> None:
        self.tally["steps"] += 1
        self.world.compare()

    def teardown(self) -> None:
        """Nothing that was left there keeps the next run of a window from ending right."""
        note(f"at the end: {self.tally}")

    # Parts of rules

    def _stage(
        self, actor: int, fault: Fault | None, meanwhile: tuple[str, Callable[[], None]] | None = None
    ) -> None:
        worker = self._worker(actor)
        world, oracle, row = self.world, self._oracle(worker), worker.run.row
        snapshot: list[tuple[Row, ...]] = [world.rows_now(worker.window)]

        def then() -> None:
            assert meanwhile is not None
            meanwhile[1]()
            if meanwhile[0] == "stage.before_read":
                snapshot[0] = world.rows_now(worker.window)

        staged_before = worker.epoch in oracle.staged
        outcome = watched(
            lambda: transfer_source_to_stage(worker.run), fault,
            (meanwhile[0], then) if meanwhile else None,
        )  # fmt: skip
        if outcome.came_to("stage.after_manifest"):
            assert not staged_before, "an attempt path was written twice"
            staged = world.require_staged(worker.window, worker.epoch, snapshot[0])
            oracle.staged[worker.epoch] = staged
            self._count("staged")
        if outcome.fired is None:
            if worker.knows_it_lost:
                assert isinstance(outcome.error, ClaimLostError), outcome
            elif staged_before:
                assert isinstance(outcome.error, VerificationError), outcome
            else:
                assert outcome.error is None, outcome
        if outcome.error is None and not outcome.died:
            assert outcome.value.hash == oracle.staged[worker.epoch].manifest.hash
            worker.manifest = outcome.value
        self._after_phase(actor, worker, outcome, row)

    def _look(self, worker: Worker) -> None:
        """A run goes on from the newest attempt or from none."""
        expected = self._oracle(worker).newest_staged(self.world.attempts(worker.window))
        outcome = watched(lambda: require_manifest(worker.run))
        if expected is None:
            assert isinstance(outcome.error, PermanentError), outcome
            worker.manifest = None
        else:
            assert outcome.value == expected.manifest, "not the newest attempt's manifest"
            worker.manifest = outcome.value

    def _load(
        self,
        actor: int,
        worker: Worker,
        fault: Fault | None,
        meanwhile: tuple[str, Callable[[], None]] | None = None,
    ) -> None:
        oracle, manifest, row = self._oracle(worker), worker.manifest, worker.run.row
        assert manifest is not None
        staged = self._staged_of(worker, manifest.epoch)
        before = self.world.dump()
        outcome = watched(
            lambda: transfer_stage_to_target(worker.run, manifest), fault, meanwhile
        )
        if worker.knows_it_lost and not outcome.reached:
            self._refused("load", outcome, before)
        elif staged is None:
            assert isinstance(outcome.error, VerificationError), outcome
            assert self.world.dump() == before
        else:
            if isinstance(outcome.error, ClaimLostError) and meanwhile is None:
                self._refused("load", outcome, before)
            oracle.loaded(worker.epoch, staged, outcome)
            if outcome.error is None and not outcome.died:
                self._count("loaded from another run" if manifest.epoch != worker.epoch else "loaded")
            self._count_doubt("load", outcome)
        self._after_phase(actor, worker, outcome, row)

    def _audit(
        self, actor: int, fault: Fault | None, meanwhile: tuple[str, Callable[[], None]] | None = None
    ) -> None:
        worker = self._worker(actor)
        oracle, row, record = self._oracle(worker), worker.run.row, worker.run.record
        before = self.world.dump()
        outcome = watched(lambda: audit_step(worker.run), fault, meanwhile)
        if worker.knows_it_lost and not outcome.reached:
            self._refused("audit", outcome, before)
        else:
            if isinstance(outcome.error, ClaimLostError) and meanwhile is None:
                self._refused("audit", outcome, before)
            oracle.audited(worker.epoch, outcome)
            self._count_doubt("audit", outcome)
        if outcome.error is not None:
            worker.run.record = record
        self._after_phase(actor, worker, outcome, row)

    def _step_with(
        self, actor: int, worker: Worker, point: str, meanwhile: Callable[[], None]
    ) -> None:
        purpose = point.partition(".")[0]
        if purpose == "stage":
            self._stage(actor, None, (point, meanwhile))
        elif purpose == "audit":
            self._audit(actor, None, (point, meanwhile))
        else:
            self._look(worker)
            if worker.manifest is not None:
                self._load(actor, worker, None, (point, meanwhile))

    def _staged_of(self, worker: Worker, epoch: int) -> Staged | None:
        """What can still be loaded: an attempt without rows has no file that could be missing."""
        assert worker.manifest is not None
        if not worker.manifest.files:
            return Staged(worker.manifest, ())
        staged = self._oracle(worker).staged.get(epoch)
        return staged if staged and staged.manifest.hash == worker.manifest.hash else None

    def _after_phase(
        self, actor: int, worker: Worker, outcome: Outcome, row: ExecutionRow
    ) -> None:
        """A failed phase ends the run: its row is for `fail` only."""
        if outcome.error is not None and outcome.failed is not None:
            worker.failure = (outcome, worker.run.row)
            worker.run.row = row
        self._end_if_dead(actor, worker, outcome)

    def _end_if_dead(self, actor: int, worker: Worker, outcome: Outcome) -> None:
        if outcome.died:
            assert outcome.fired is not None
            self._count(f"killed in {outcome.fired.point.partition('.')[0]}")
            self.workers = {slot: held for slot, held in self.workers.items() if held is not worker}

    def _refused(self, what: str, outcome: Outcome, before: object) -> None:
        """Turned away, and nothing changed byte for byte."""
        assert isinstance(outcome.error, ClaimLostError), f"{what}: {outcome}"
        assert self.world.dump() == before, f"{what} was refused and changed something"
        self._count(f"zombie refused: {what}")

    def _expected_action(self, window: int, rows: tuple[Row, ...]) -> str:
        oracle = self.world.oracles[window]
        commit = oracle.commit
        right = commit is not None and commit.audit_result == PASS and oracle.rows == rows
        if right and rows:
            return "skip"
        staged = oracle.newest_staged(self.world.attempts(window))
        return "continue" if staged is not None and staged.rows == rows else "start_over"

    def _sweep(self, epoch: int, window: int) -> None:
        """Every run closes the dead ones of the whole pipeline first."""
        for number, oracle in enumerate(self.world.oracles):
            for dead in list(oracle.runs):
                if oracle.may_close(dead) and (number, dead) != (window, epoch):
                    oracle.closed(dead)

    def _worker(self, actor: int) -> Worker:
        slots = sorted(self.workers)
        return self.workers[slots[actor % len(slots)]]

    def _actor_of(self, worker: Worker) -> int:
        slots = sorted(self.workers)
        return next(n for n, slot in enumerate(slots) if self.workers[slot] is worker)

    def _oracle(self, worker: Worker):  # type: ignore[no-untyped-def]
        return self.world.oracles[worker.window]

    def _is_ours(self, worker: Worker) -> bool:
        return bool(self._oracle(worker).owned_by(worker.epoch, worker.owner))

    def _count(self, event: str) -> None:
        self.tally[event] += 1

    def _count_doubt(self, purpose: str, outcome: Outcome) -> None:
        if outcome.fired is not None and outcome.fired.in_doubt:
            how = "committed" if outcome.came_to(f"{purpose}.after_commit") else "rolled back"
            self._count(f"unknown commit: {purpose} {how}")

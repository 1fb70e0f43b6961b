"""Workers with stale views, faults between any two steps, and an oracle of the rows."""

import sys
from collections import Counter
from dataclasses import replace
from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pipeline_platform.errors import (
    AuditMismatchError,
    PipelineError,
    TransientError,
    VerificationError,
)
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.failure import record_failure
from pipeline_platform.flow.phase import PhaseFailedError
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.pipelines import run_window
from pipeline_platform_tests.statemachine.faults import Fault, Pause, points_of, watched
from pipeline_platform_tests.statemachine.oracle import PASS, Commit, Row, RunRow
from pipeline_platform_tests.statemachine.place import DAYS, Place
from pipeline_platform_tests.statemachine.workers import Worker, Workers

ACTORS = 4
MOST_ROWS = 7

windows = st.integers(0, 1)
actors = st.integers(0, ACTORS - 1)
numbers = st.integers(0, 99)
notes = st.sampled_from([None, "", "größe", "n1", "a 'quoted' \\N $1"])

# Here nothing is locked yet: another run may do all its work meanwhile.
OUTSIDE = ("stage.before_read", "stage.after_batch", "stage.before_manifest",
           "load.before_commit_row", "load.before_begin", "audit.before_verdict")  # fmt: skip
# Here the commit row is locked, or soon will be: another run can only take the claim.
INSIDE = [name for name in points_of("load") + points_of("audit")
          if name not in OUTSIDE and not name.endswith(("after_commit", "_verdict"))]  # fmt: skip


HOW: tuple[Literal["error", "kill"], ...] = ("error", "kill")
RESOLVING = ("before_resolve", "after_resolve")
FAILURES = [TransientError, VerificationError, AuditMismatchError]


def faults_at(purpose: str) -> list[Fault]:
    """An error or the end at any point; and the end while a commit in doubt is resolved."""
    plain = [Fault(point, how) for point in points_of(purpose) for how in HOW]
    doubts = [fault for fault in plain if fault.in_doubt]
    ends = [replace(fault, then=then) for fault in doubts for then in RESOLVING]
    return [*plain, *doubts, *doubts, *ends]


def faults(purpose: str) -> st.SearchStrategy[Fault | None]:
    return st.none() | st.sampled_from(faults_at(purpose))


STEPS_OF_A_RUN = ("stage", "load", "audit", "delete")
ANY_FAULT = [fault for purpose in STEPS_OF_A_RUN for fault in faults_at(purpose)]


def working(machine: "WindowMachine") -> bool:
    return bool(machine.workers)


class WindowMachine(RuleBasedStateMachine):
    """One instance is one example, on a place that is emptied for it. `tally` counts what
    happened over all examples."""

    def __init__(self, place: Place, tally: Counter[str]) -> None:
        super().__init__()
        self.workers = Workers(place, tally)
        self.world = self.workers.world
        self.dead: list[tuple[int, ExecutionRow]] = []
        self.tally = tally

    @initialize()
    def begin(self) -> None:
        """A few rows, and a first zombie."""
        for window, place in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
            self.world.insert(window, place, "first")
        self.workers.claim(0, 0)
        self.take_over(1, 0)
        self.workers.claim(2, 1)

    # The source changes

    @rule(what=st.sampled_from(["insert", "update", "delete"]), window=windows,
          place=st.integers(0, 2), which=numbers, note=notes)  # fmt: skip
    def change_source(
        self, what: str, window: int, place: int, which: int, note: str | None
    ) -> None:
        if not self.world.source or (what == "insert" and len(self.world.source) < MOST_ROWS):
            self.world.insert(window, place, note)
        elif what == "delete":
            self.world.delete(which)
        else:
            self.world.update(which, note)

    # Claims

    @rule(actor=actors, window=windows, fault=faults("save"))
    def claim(self, actor: int, window: int, fault: Fault | None) -> None:
        self.workers.claim(actor, window, fault)

    @rule(actor=actors, window=windows)
    def take_over(self, actor: int, window: int) -> None:
        """The owner pauses past its lease, and somebody else comes."""
        self.world.expire(window)
        self.workers.claim(actor, window)

    @rule(window=windows)
    def expire(self, window: int) -> None:
        self.world.expire(window)

    @precondition(working)
    @rule(who=numbers)
    def heartbeat(self, who: int) -> None:
        self.workers.heartbeat(self.workers.pick(who))

    @precondition(working)
    @rule(who=numbers, release=st.booleans(), fault=faults("save"))
    def save(self, who: int, release: bool, fault: Fault | None) -> None:
        """Hand the record and the row over, as after an asset."""
        self.workers.save(self.workers.pick(who), release, fault)

    # The steps of a run, each under the epoch that the worker believes in

    @precondition(working)
    @rule(who=numbers, fault=faults("stage"))
    def stage(self, who: int, fault: Fault | None) -> None:
        self.workers.stage(self.workers.pick(who), fault)

    @precondition(working)
    @rule(who=numbers, look=st.booleans(), fault=faults("load"))
    def load(self, who: int, look: bool, fault: Fault | None) -> None:
        """`look`: for the newest attempt, as a run does; else what was found an age ago."""
        worker = self.workers.pick(who)
        held = None if look else worker.manifest
        if held is not None or self.workers.look(worker) is not None:
            self.workers.load(worker, fault)

    @precondition(working)
    @rule(who=numbers, fault=faults("audit"))
    def audit(self, who: int, fault: Fault | None) -> None:
        self.workers.audit(self.workers.pick(who), fault)

    @precondition(working)
    @rule(who=numbers, fault=faults("delete"))
    def delete(self, who: int, fault: Fault | None) -> None:
        self.workers.delete(self.workers.pick(who), fault)

    @precondition(working)
    @rule(who=numbers)
    def move(self, who: int) -> None:
        """A worker that nothing stops: stage, load, audit."""
        self._move(self.workers.pick(who))

    def _move(self, worker: Worker) -> None:
        if worker.epoch not in worker.oracle.staged:
            self.workers.stage(worker)
        if self.workers.look(worker) is not None:
            self.workers.load(worker)
            self.workers.audit(worker)

    @rule(actor=actors, window=windows, fault=st.sampled_from(ANY_FAULT), told=st.booleans())
    def run_into_a_fault(self, actor: int, window: int, fault: Fault, told: bool) -> None:
        """A new run takes over and goes as far as the fault lets it; then the next one looks.

        `told`: an error is recorded as the flow does, else nobody says anything any more.
        """
        workers = self.workers
        self.take_over(actor, window)
        worker = workers.at(actor)
        stops = fault.point.partition(".")[0]
        for purpose in STEPS_OF_A_RUN[: STEPS_OF_A_RUN.index(stops) + 1]:
            injected = fault if purpose == stops else None
            if purpose == "stage":
                workers.stage(worker, injected)
            elif purpose == "load" and worker.manifest is not None:
                workers.load(worker, injected)
            elif purpose == "audit":
                workers.audit(worker, injected)
            elif purpose == "delete":
                workers.delete(worker, injected)
        if told and workers.works(worker):
            self._fail(worker, TransientError)
        self.world.compare()
        slot = workers.slot_beside(worker, actor, ACTORS)
        self.take_over(slot, window)
        workers.look(workers.at(slot))

    @precondition(working)
    @rule(who=numbers, other=numbers, point=st.sampled_from(OUTSIDE), moves=st.booleans(),
          which=numbers)  # fmt: skip
    def pause_and_wake(self, who: int, other: int, point: str, moves: bool, which: int) -> None:
        """In the middle of a step the worker pauses past its lease; another takes over and works,
        the source changes; then it wakes up and finishes what it was at."""
        worker = self.workers.pick(who)

        def meanwhile() -> None:
            self._count(f"paused at {point}")
            slot = self._take_over_from(worker, other)
            if moves:
                self._move(self.workers.at(slot))
            if self.world.source:
                self.world.update(which, f"while paused {which}")

        self._step_with(worker, Pause(point, meanwhile))

    @precondition(working)
    @rule(who=numbers, other=numbers, point=st.sampled_from(INSIDE))
    def lose_the_claim_inside(self, who: int, other: int, point: str) -> None:
        """Another run has the claim and not yet the fence: what is open may still commit."""
        worker = self.workers.pick(who)

        def meanwhile() -> None:
            self._count("lost the claim inside a transaction")
            self._take_over_from(worker, other)

        self._step_with(worker, Pause(point, meanwhile))

    def _take_over_from(self, worker: Worker, other: int) -> int:
        slot = self.workers.slot_beside(worker, other, ACTORS)
        self.take_over(slot, worker.window)
        return slot

    def _step_with(self, worker: Worker, pause: Pause) -> None:
        if pause.point.startswith("stage."):
            self.workers.stage(worker, pause=pause)
        elif pause.point.startswith("audit."):
            self.workers.audit(worker, pause=pause)
        elif self.workers.look(worker) is not None:
            self.workers.load(worker, pause=pause)

    # Failures and what is left of the dead

    @precondition(working)
    @rule(who=numbers, kind=st.sampled_from(FAILURES))
    def fail(self, who: int, kind: type[PipelineError]) -> None:
        self._fail(self.workers.pick(who), kind)

    def _fail(self, worker: Worker, kind: type[PipelineError]) -> None:
        """The run ends badly: both resets, as far as they are still its own to do."""
        run, oracle = worker.run, worker.oracle
        failed = PhaseFailedError("audit", kind("planted"))
        audit = replace(run.row.phases["audit"], status="FAILED", error_message="planted")
        run.row = run.row.with_phase("audit", audit)
        ours = worker.owns
        before = self.world.dump()
        outcome = watched(lambda: record_failure(run, failed))
        assert outcome.error is None, outcome
        self.workers.end(worker)
        if not ours:
            self._count("failed without the claim")
            if oracle.may_close(worker.epoch):
                oracle.closed(worker.epoch)
            else:
                assert self.world.dump() == before
            return
        self._count(f"failed with {type(failed.error).__name__}")
        if failed.error.from_zero:
            attempts = self.world.attempts(worker.window)
            assert not [epoch for epoch in attempts if epoch <= worker.epoch]
            oracle.keep_staged(attempts)
        if isinstance(failed.error, AuditMismatchError):
            oracle.deleted(worker.epoch, outcome)
        oracle.saved(worker.epoch, run.claim.owner, run.record, "FAILED")
        oracle.release()

    @precondition(working)
    @rule(who=numbers)
    def clean_stage(self, who: int) -> None:
        self.workers.clean_stage(self.workers.pick(who))

    @rule()
    def sweep(self) -> None:
        """Close what an earlier look found dead, and look again: much may happen in between."""
        world = self.world
        for number, row in self.dead:
            oracle = world.oracles[number]
            expected = oracle.may_close(row.epoch)
            assert world.store.close_run(replace(row, pipeline_status="FAILED")) == expected
            if expected:
                oracle.closed(row.epoch)
                self._count("closed as dead")
        starts = [window.start for window in world.windows]
        found = world.store.dead_runs(world.pipeline.name)
        self.dead = [(starts.index(row.query_window_start_timestamp), row) for row in found]
        expected_dead = [
            (number, epoch)
            for number, oracle in enumerate(world.oracles)
            for epoch in oracle.runs
            if oracle.may_close(epoch)
        ]
        assert sorted((number, row.epoch) for number, row in self.dead) == sorted(expected_dead)

    @rule(sure=st.integers(0, 9))
    def lose_drive_table(self, sure: int) -> None:
        """The state is gone; commit rows and attempt paths still know epochs.

        An epoch that left no trace in either may be handed out again, so a run at such an epoch
        ends here, with the database that it was connected to.
        """
        if sure < 8:
            return
        self._count("drive table lost")
        self.world.place.lose_drive_table()
        self.dead = []
        for number, oracle in enumerate(self.world.oracles):
            oracle.forget_drive_table(self.world.attempts(number))
            self.workers.end_above(oracle, oracle.highest_epoch)

    # The real flow, whole

    @rule(window=windows, sure=st.integers(0, 9))
    def run_whole(self, window: int, sure: int) -> None:
        if sure > 6:
            self._run_whole(window)

    def _run_whole(self, window: int) -> None:
        """A run that nothing stops: whatever was left there, it ends with the source's rows."""
        world, oracle, owner = self.world, self.world.oracles[window], self.workers.new_owner()
        if oracle.drive is not None and oracle.drive.held:
            world.expire(window)
        before = [world.attempts(number) for number in range(len(world.oracles))]
        attempts, rows = before[window], world.rows_now(window)
        epoch, action = oracle.next_epoch(attempts), self._expected_action(window, rows)
        try:
            row = run_window(world.pipeline, world.store, DAYS[window], run_id=owner)
        except StepFailedError as failed:
            raise AssertionError(f"a run that nothing stops failed: {failed.error}") from failed
        details = row.phases["pre_validation"].phase_specific_details
        assert (row.epoch, details["action"]) == (epoch, action), details
        self._count(f"whole run: {action}")
        late_writers = oracle.may_have_late_writers(epoch)
        oracle.claimed(epoch, owner)
        for other in world.oracles:
            for dead in [dead for dead in other.runs if other.may_close(dead)]:
                other.closed(dead)
        oracle.saved(epoch, owner, None, row.pipeline_status)
        oracle.runs[epoch] = RunRow(
            owner, "SKIPPED" if action == "skip" else "SUCCESS", row.revision
        )
        oracle.release()
        oracle.rows = rows
        if action == "skip":
            oracle.fence_out(epoch if late_writers else 0)
        else:
            [kept] = world.attempts(window)
            assert kept == (epoch if action == "start_over" else attempts[-1])
            staged = world.require_staged(window, kept, rows)
            oracle.staged = {kept: staged}
            oracle.commit = replace(Commit.of(epoch, staged), audit_result=PASS)
            before[window] = [kept]
        self._clean_up_of(before)
        for worker in self.workers.on(window):
            assert worker.is_refused(strict=True), f"a run at {worker.epoch} may still load"

    def _clean_up_of(self, before: list[list[int]]) -> None:
        """A run removes superseded attempts, of other windows too; `before` were there."""
        for number, oracle in enumerate(self.world.oracles):
            after = self.world.attempts(number)
            assert oracle.must_keep(before[number]) <= set(after) <= set(before[number])
            oracle.keep_staged(after)

    def _expected_action(self, window: int, rows: tuple[Row, ...]) -> str:
        oracle = self.world.oracles[window]
        audited = oracle.commit is not None and oracle.commit.audit_result == PASS
        if audited and rows and oracle.rows == rows:
            return "skip"
        staged = oracle.newest_staged(self.world.attempts(window))
        return "continue" if staged is not None and staged.rows == rows else "start_over"

    @invariant()
    def compare(self) -> None:
        self.tally["steps"] += 1
        self.world.compare()

    def teardown(self) -> None:
        """Whatever is left there, the next run of each window ends right."""
        if sys.exc_info()[0] is None:
            for window in (0, 1):
                self._run_whole(window)
                self.world.compare()

    def _count(self, event: str) -> None:
        self.tally[event] += 1

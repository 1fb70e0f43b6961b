"""Who works on the windows, and the steps of a run: each is done for real and judged."""

import uuid
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal

from pipeline_platform.drive_table.heartbeat import Pulse
from pipeline_platform.drive_table.store import LEASE_SECONDS
from pipeline_platform.errors import (
    ClaimLostError,
    TransientError,
    VerificationError,
    WindowHeldError,
)
from pipeline_platform.fault_points import fault_point
from pipeline_platform.flow.claim import claim_window
from pipeline_platform.flow.failure import clean_target_location
from pipeline_platform.flow.plan import newest_manifest
from pipeline_platform.flow.run import RunRequest, WindowRun
from pipeline_platform.movement import AttemptPath, CommitRow, LoadRequest, LoadResult, Manifest
from pipeline_platform_tests.pipelines import LOG
from pipeline_platform_tests.statemachine.faults import Fault, Outcome, Pause, watched
from pipeline_platform_tests.statemachine.oracle import PASS, Row, Staged, WindowOracle
from pipeline_platform_tests.statemachine.place import Place
from pipeline_platform_tests.statemachine.world import World


@dataclass(eq=False)
class Worker:
    """One actor. Its claim, row and manifest are as old as its last look."""

    run: WindowRun
    window: int
    oracle: WindowOracle
    pulse: Pulse
    manifest: Manifest | None = None
    knows_it_lost: bool = False

    @property
    def epoch(self) -> int:
        return self.run.claim.epoch

    @property
    def owns(self) -> bool:
        """Whether what it writes under its claim must be taken."""
        return self.oracle.owned_by(self.epoch, self.run.claim.owner)

    def is_refused(self, *, strict: bool) -> bool:
        """Whether the target's fence, or its own knowledge, keeps it from writing."""
        return self.knows_it_lost or self.oracle.refuses(self.epoch, strict=strict)

    def loadable(self) -> Staged | None:
        """Its manifest, if its files are still there; one without rows has no file to miss."""
        assert self.manifest is not None
        if not self.manifest.files:
            return Staged(self.manifest, ())
        staged = self.oracle.staged.get(self.manifest.epoch)
        return staged if staged and staged.manifest.hash == self.manifest.hash else None


class Workers:
    """Actors by number. A new claim of an actor ends what it did before; nobody is told that its
    claim was taken over: it goes on until somebody refuses it."""

    def __init__(self, place: Place, tally: Counter[str]) -> None:
        self.world = World(place)
        self.tally = tally
        self._slots: dict[int, Worker] = {}
        self._claims = 0

    def __bool__(self) -> bool:
        return bool(self._slots)

    def pick(self, number: int) -> Worker:
        """One of those that work now."""
        slots = sorted(self._slots)
        return self._slots[slots[number % len(slots)]]

    def on(self, window: int) -> list[Worker]:
        return [worker for worker in self._slots.values() if worker.window == window]

    def works(self, worker: Worker) -> bool:
        """Whether its process is still there."""
        return worker in self._slots.values()

    def end(self, worker: Worker) -> None:
        self._slots = {n: other for n, other in self._slots.items() if other is not worker}

    def end_above(self, oracle: WindowOracle, epoch: int) -> None:
        for worker in list(self._slots.values()):
            if worker.oracle is oracle and worker.epoch > epoch:
                self.end(worker)

    def slot_beside(self, worker: Worker, number: int, actors: int) -> int:
        """An actor who is not this worker."""
        others = [slot for slot in range(actors) if self._slots.get(slot) is not worker]
        return others[number % len(others)]

    def at(self, slot: int) -> Worker:
        return self._slots[slot]

    def new_owner(self) -> str:
        self._claims += 1
        return uuid.UUID(int=self._claims).hex

    # Steps

    def claim(self, slot: int, window: int, fault: Fault | None = None) -> None:
        world, oracle, owner = self.world, self.world.oracles[window], self.new_owner()
        held = oracle.drive is not None and oracle.drive.held
        epoch, before = oracle.next_epoch(world.attempts(window)), world.dump() if held else None
        request = RunRequest(owner, first=True, last=True, held_wait_seconds=0.0)
        outcome = watched(
            lambda: claim_window(world.pipeline, world.windows[window], world.store, request, LOG),
            fault,
        )
        if held:
            assert isinstance(outcome.error, WindowHeldError), outcome
            assert world.dump() == before
            self.count("held")
            return
        taken = oracle.drive is not None and oracle.drive.owner is not None
        self.count("taken over" if taken else "claimed")
        oracle.claimed(epoch, owner)
        self._slots.pop(slot, None)
        # One that dies leaves what it has; one that fails gives the claim back.
        if outcome.fired is None or outcome.fired.point == "save.after_commit":
            oracle.saved(epoch, owner, None, "RUNNING")
        if outcome.fired is not None:
            assert outcome.died or isinstance(outcome.error, TransientError), outcome
            if not outcome.died:
                oracle.release()
            return
        run: WindowRun = outcome.value
        assert (run.claim.epoch, run.claim.owner) == (epoch, owner), outcome
        pulse = Pulse(world.store, run.claim, LEASE_SECONDS)
        pulse.lease_lasts(LEASE_SECONDS)
        run.lease_is_ours = pulse.still_ours
        self._slots[slot] = Worker(run, window, oracle, pulse)

    def heartbeat(self, worker: Worker) -> None:
        before = self._dump_if(not worker.owns)
        outcome = watched(worker.pulse.beat)
        if worker.owns:
            assert outcome.error is None, outcome
            assert worker.oracle.drive is not None
            worker.oracle.drive.expired = False
        else:
            self._refused("heartbeat", outcome, before)
            worker.knows_it_lost = True

    def save(self, worker: Worker, release: bool, fault: Fault | None) -> None:
        """Hand over; the last row of a run says SUCCESS."""
        run, oracle = worker.run, worker.oracle
        row = replace(run.row, pipeline_status="SUCCESS") if release else run.row
        before = self._dump_if(not worker.owns)
        outcome = watched(
            lambda: self.world.store.save(run.claim, run.record, row, release=release), fault
        )
        if outcome.came_to("save.after_commit"):
            assert worker.owns, "a run without the claim saved its row"
            oracle.saved(worker.epoch, run.claim.owner, run.record, row.pipeline_status)
            if release:
                oracle.release()
        elif outcome.fired is None:
            assert not worker.owns, outcome
            self._refused("save", outcome, before)
        self._after(worker, outcome)

    def stage(self, worker: Worker, fault: Fault | None = None, pause: Pause | None = None) -> None:
        world, oracle, there = self.world, worker.oracle, worker.epoch in worker.oracle.staged
        snapshot: list[tuple[Row, ...]] = [world.rows_now(worker.window)]

        def then() -> None:
            assert pause is not None
            pause.action()
            if pause.point == "stage.before_read":
                snapshot[0] = world.rows_now(worker.window)

        outcome = watched(
            lambda: _stage(worker),
            fault,
            Pause(pause.point, then) if pause else None,
        )
        if outcome.came_to("stage.after_manifest"):
            assert not there, "an attempt path was written twice"
            oracle.staged[worker.epoch] = world.require_staged(
                worker.window, worker.epoch, snapshot[0]
            )
            self.count("staged")
        if outcome.fired is None:
            if worker.knows_it_lost:
                assert isinstance(outcome.error, ClaimLostError), outcome
            elif there:
                assert isinstance(outcome.error, VerificationError), outcome
            else:
                assert outcome.error is None, outcome
        if outcome.went_well:
            assert outcome.value == oracle.staged[worker.epoch].manifest
            worker.manifest = outcome.value
        self._after(worker, outcome)

    def look(self, worker: Worker) -> Manifest | None:
        """What a run goes on from: the newest attempt if it is whole, never an older one."""
        expected = worker.oracle.newest_staged(self.world.attempts(worker.window))
        worker.manifest = newest_manifest(worker.run)
        staged = expected.manifest if expected else None
        assert worker.manifest == staged, "not the newest attempt's manifest"
        return worker.manifest

    def load(self, worker: Worker, fault: Fault | None = None, pause: Pause | None = None) -> None:
        oracle, staged = worker.oracle, worker.loadable()
        before = self._dump_if(worker.is_refused(strict=True) or staged is None)
        outcome = watched(lambda: _load(worker), fault, pause)
        if worker.knows_it_lost:
            self._refused("load", outcome, before)
        elif staged is None:
            assert isinstance(outcome.error, VerificationError), outcome
            assert self.world.dump() == before
        else:
            self._refused_if_lost("load", outcome, None if pause else before)
            oracle.loaded(worker.epoch, staged, outcome)
            if outcome.went_well:
                own = staged.manifest.epoch == worker.epoch
                self.count("loaded" if own else "loaded what another run staged")
        self._after(worker, outcome)

    def audit(self, worker: Worker, fault: Fault | None = None, pause: Pause | None = None) -> None:
        before = self._dump_if(worker.is_refused(strict=False))
        outcome = watched(lambda: _audit(worker), fault, pause)
        if worker.knows_it_lost:
            self._refused("audit", outcome, before)
        else:
            self._refused_if_lost("audit", outcome, None if pause else before)
            worker.oracle.audited(worker.epoch, outcome)
        self._after(worker, outcome)

    def delete(self, worker: Worker, fault: Fault | None = None) -> None:
        before = self._dump_if(worker.is_refused(strict=False))
        outcome = watched(lambda: clean_target_location(worker.run), fault)
        self._refused_if_lost("delete", outcome, before)
        worker.oracle.deleted(worker.epoch, outcome)
        self._after(worker, outcome)

    def clean_stage(self, worker: Worker) -> None:
        """Superseded attempts go; the newest one stays, whole or not."""
        attempts = self.world.attempts(worker.window)
        for epoch in attempts[:-1]:
            worker.run.pipeline.stage.delete(AttemptPath(worker.run.slice, epoch))
        assert self.world.attempts(worker.window) == attempts[-1:]
        worker.oracle.keep_staged(attempts[-1:])

    # Judging

    def _dump_if(self, refused: bool) -> object | None:
        return self.world.dump() if refused else None

    def count(self, event: str) -> None:
        self.tally[event] += 1

    def _after(self, worker: Worker, outcome: Outcome) -> None:
        if outcome.fired is not None and outcome.fired.in_doubt:
            self.count(f"unknown outcome at {outcome.fired.point}")
        if outcome.died:
            assert outcome.fired is not None
            self.count(f"killed in {outcome.fired.point.partition('.')[0]}")
            self.end(worker)

    def _refused_if_lost(self, what: str, outcome: Outcome, before: object | None) -> None:
        if isinstance(outcome.error, ClaimLostError):
            self._refused(what, outcome, before)

    def _refused(self, what: str, outcome: Outcome, before: object | None) -> None:
        """Turned away, and nothing changed byte for byte (if nobody else worked meanwhile)."""
        assert isinstance(outcome.error, ClaimLostError), f"{what}: {outcome}"
        if before is not None:
            assert self.world.dump() == before, f"{what} was refused and changed something"
        self.count(f"zombie refused: {what}")


def _stage(worker: Worker) -> Manifest:
    run = worker.run
    run.still_ours()
    fault_point("stage.before_read")
    with run.pipeline.source.read(run.slice) as snapshot:
        manifest = run.pipeline.stage.write(
            AttemptPath(run.slice, run.claim.epoch),
            snapshot,
            pipeline_id=run.row.pipeline_id,
            query_field=run.pipeline.config.staged_query_field().name,
            config_hashes=run.pipeline.hashes,
            still_ours=run.still_ours,
        )
    fault_point("stage.after_manifest")
    return manifest


def _load(worker: Worker) -> LoadResult:
    run, manifest = worker.run, worker.manifest
    assert manifest is not None
    run.still_ours()
    run.pipeline.target.prepare(manifest.schema)
    files = run.pipeline.stage.locations(manifest)
    request = LoadRequest(manifest, run.claim.epoch, files, Decimal(0), still_ours=run.still_ours)
    return run.pipeline.target.load(request)


def _audit(worker: Worker) -> CommitRow:
    run, target = worker.run, worker.run.pipeline.target
    run.still_ours()
    commit, counts = target.commit_row(run.slice), target.count(run.slice)
    if commit is not None and commit.manifest_hash is not None:
        assert (counts.by_window_column, counts.by_query_field) == (commit.target_rows,) * 2
    fault_point("audit.before_verdict")
    row = target.store_audit(run.slice, run.claim.epoch, PASS)
    fault_point("audit.after_verdict")
    return row

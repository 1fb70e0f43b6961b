"""One case: a window, faults in the runs that move it, a clean run, and what must be true then."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pipeline_platform_tests.faults.pair import Findings, Pair
from pipeline_platform_tests.faults.systems import Order

T = TypeVar("T")
How = Literal["kill", "raise", "moment", "doubt"]
Scenario = Literal["fresh", "reload", "tampered"]
HOWS: dict[How, int] = {"kill": 60, "moment": 20, "raise": 12, "doubt": 8}
SCENARIOS: dict[Scenario, int] = {"fresh": 60, "reload": 28, "tampered": 12}
FAULTS_IN_A_ROW = {1: 70, 2: 20, 3: 10}
DOUBTFUL = [f"{purpose}.{point}" for purpose in ("load", "audit", "delete") for point in
            ("before_commit", "after_commit")]  # fmt: skip
# A target that lost rows before the audit is emptied by the last attempt, and loaded by the next.
BEFORE_AUDIT = "load.after_commit>save.after_commit:stop"
POINTS_OF_A_DELETE = 12
GIVES_UP: dict[str, Any] = {
    "retry": {"max_retries": 0},
    "phases": {"audit": {"on_final_mismatch": "delete"}},
}


@dataclass(frozen=True)
class Fault:
    """Where is a share of a run, of its points or of its seconds; `point` names it instead."""

    how: How
    where: float
    point: str = ""

    def orders(self, points: int) -> list[str]:
        """What the worker is told, for a run of so many points."""
        number = 1 + int(self.where * points)
        if self.how == "doubt":
            purpose = self.point.partition(".")[0]
            ending = "before" if self.where < 0.5 else "after"
            return [f"{self.point}:raise", f"{purpose}.{ending}_resolve:kill"]
        if self.how == "moment":
            return []
        return [f"{self.point or f'#{number}'}:{self.how}"]


# For a case that none of its faults hit: even a run that has nothing to do comes to some points.
LAST_FAULT = Fault("kill", 0.1)


@dataclass(frozen=True)
class Case:
    """All of it follows from the seed, except what a run takes."""

    seed: int
    pair: str
    scenario: Scenario
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        faults = ", ".join(f"{fault.how} at {fault.where:.3f} {fault.point}".rstrip()
                           for fault in self.faults)  # fmt: skip
        return f"SEED={self.seed} {self.pair} {self.scenario}: {faults}"


@dataclass
class Result:
    """What a case did and found."""

    case: Case
    findings: Findings = field(default_factory=Findings)
    injected: int = 0
    missed: int = 0
    killed: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Calm:
    """What a run without faults takes."""

    points: int
    seconds: float


def new_case(seed: int, pairs: dict[str, int]) -> Case:
    """The case of this seed; `pairs` by weight."""
    dice = random.Random(seed)
    pair = _pick(dice, dict(sorted(pairs.items())))
    scenario = _pick(dice, SCENARIOS)
    faults = tuple(_fault(dice) for _ in range(_pick(dice, FAULTS_IN_A_ROW)))
    return Case(seed, pair, scenario, faults)


def run_case(case: Case, pair: Pair, calm: Calm) -> Result:
    """Run it and look at everything; each process ends before the next begins."""
    result = Result(case)
    key = pair.new_window()
    allowed = _before(case.scenario, pair, key, result)
    tampered = case.scenario == "tampered"
    changes = GIVES_UP if tampered else {}
    for fault in (*case.faults, LAST_FAULT):
        if fault is LAST_FAULT and result.injected:
            break
        ended = pair.run(
            key,
            *fault.orders(calm.points + tampered * POINTS_OF_A_DELETE),
            *([BEFORE_AUDIT] if tampered else []),
            kill_after=fault.where * calm.seconds if fault.how == "moment" else None,
            keep_open=case.seed % 2 == 0 and not tampered,
            **changes,
        )
        if ended.code is None:
            take_away_a_row(pair, key)
            ended = pair.go_on()
        result.reached.update(ended.points)
        result.fired.update(ended.fired)
        killed = ended.code == -9
        result.killed += killed
        injected = killed or bool(ended.fired)
        result.injected += injected
        result.missed += not injected
        after = pair.after_the_fault(key, allowed)
        result.findings.wrong += after.wrong
    _resume(case, pair, key, result)
    found = pair.look([key])
    result.findings.lost += found.lost
    result.findings.doubled += found.doubled
    result.findings.wrong += found.wrong
    return result


def _before(scenario: Scenario, pair: Pair, key: str, result: Result) -> list[Sequence[Order]]:
    """What the target may hold of the window at any moment from now on."""
    if scenario == "fresh":
        return [[], pair.oracle[key]]
    if scenario == "tampered":
        return [[], pair.oracle[key], pair.oracle[key][1:]]
    code = pair.run(key).code
    result.findings.expect("the first load", code, 0)
    old = list(pair.oracle[key])
    pair.add_late(key)
    return [old, pair.oracle[key]]


def take_away_a_row(pair: Pair, key: str) -> None:
    """As somebody else might who writes to the same table."""
    with pair.warehouse.open() as query:
        query(f"DELETE FROM analytics.orders WHERE id = {pair.oracle[key][0].id}")


def _resume(case: Case, pair: Pair, key: str, result: Result) -> None:
    """A window whose newest attempt is whole is not read again."""
    staged, reads = pair.has_manifest(key), pair.reads(key)
    ended = pair.run(key)
    result.reached.update(ended.points)
    if ended.code:
        result.findings.wrong.append(f"the run after the fault failed: {pair.log()[-2000:]}")
    if case.scenario == "fresh":
        again = pair.reads(key) - reads
        result.findings.expect("reads of the source after the fault", again, int(not staged))


def _fault(dice: random.Random) -> Fault:
    how = _pick(dice, HOWS)
    return Fault(how, dice.random(), dice.choice(DOUBTFUL) if how == "doubt" else "")


def _pick(dice: random.Random, weights: dict[T, int]) -> T:
    return dice.choices(list(weights), list(weights.values()))[0]

"""Row 1: a run that dies, or fails, at each numbered point; the next run of the window ends right.

Every point once, with the pairs in turn; `make torture` takes all of them on every pair.
"""

from collections.abc import Iterator
from itertools import count, cycle

import pytest

from pipeline_platform.fault_points import FAULT_POINTS
from pipeline_platform_tests.faults.cases import (
    DOUBTFUL,
    Calm,
    Case,
    Fault,
    How,
    Result,
    Scenario,
    run_case,
)
from pipeline_platform_tests.faults.conftest import PairOf
from pipeline_platform_tests.faults.pair import Pair
from pipeline_platform_tests.faults.pairs import QUICK_PAIRS, SNOWFLAKE_PAIRS

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.fault_row(1, on="postgres elasticsearch duckdb"),
]

FEWEST_POINTS = 45
EXACTLY = Calm(points=1, seconds=0)


def case(pair: Pair, scenario: Scenario, *faults: Fault, seed: int = 0) -> Result:
    """Run it; whatever is lost, doubled or wrong fails the test."""
    result = run_case(Case(seed, pair.name, scenario, faults), pair, EXACTLY)
    assert not result.findings, (result.case, result.findings)
    return result


def at(how: How, number: int) -> Fault:
    """At the point of this number."""
    return Fault(how, number - 1)


def at_each_point(pair_of: PairOf) -> Iterator[tuple[How, Result]]:
    """N = 1, 2, ... until a run is through before its N-th point; pairs and faults take turns."""
    for number in count(1):
        pair = pair_of(QUICK_PAIRS[number % len(QUICK_PAIRS)])
        how: How = "kill" if (number + number // len(QUICK_PAIRS)) % 2 else "raise"
        result = case(pair, "fresh", at(how, number), seed=number)
        if result.missed:
            assert number > FEWEST_POINTS
            break
        yield how, result
    for name in QUICK_PAIRS:
        pair = pair_of(name)
        assert not pair.look(list(pair.oracle), all_of=True)


def test_each_point_of_a_first_load(pair_of: PairOf) -> None:
    seen = set()
    for how, result in at_each_point(pair_of):
        assert result.injected == 1
        assert result.killed == (how == "kill")
        seen |= set(result.fired)
    # The pairs do not count alike: a point may lie between one's N and the next one's N + 1.
    for point in points_of("claim", "save", "stage", "load", "audit") - seen:
        if not point.endswith("_resolve"):
            missed = case(pair_of(QUICK_PAIRS[0]), "fresh", Fault("kill", 0, point))
            assert missed.fired[point] == 1


def test_each_other_declared_point(pair_of: PairOf) -> None:
    """Those that only a run after a fault comes to, or one whose commit is in doubt."""
    pairs = cycle(map(pair_of, QUICK_PAIRS))
    fired: set[str] = set()
    for number, point in enumerate(DOUBTFUL):
        scenario: Scenario = "tampered" if point.startswith("delete.") else "fresh"
        result = case(next(pairs), scenario, Fault("doubt", number % 2, point))
        assert result.killed == 1, point
        fired |= set(result.fired)
    for point in sorted(points_of("delete") - fired):
        assert case(next(pairs), "tampered", Fault("kill", 0, point)).fired[point] == 1
    # The third run finds an unfinished attempt behind a whole one, and two runs to close.
    before = Fault("kill", 0, "stage.before_manifest"), Fault("kill", 0, "load.after_begin")
    for point in sorted(points_of("close", "clean")):
        assert case(next(pairs), "fresh", *before, Fault("kill", 0, point)).fired[point] == 1
    for point in sorted(points_of("prepare")):
        pair = next(pairs)
        pair.drop_target()
        assert case(pair, "fresh", Fault("kill", 0, point)).fired[point] == 1


@pytest.mark.fault_row(1, on="snowflake")
@pytest.mark.parametrize("name", SNOWFLAKE_PAIRS)
def test_points_of_a_load_into_snowflake(pair_of: PairOf, name: str) -> None:
    """A window takes seconds there, so each pair has half of the points."""
    pair = pair_of(name)
    half = SNOWFLAKE_PAIRS.index(name)
    wanted = [*sorted(points_of("copy")), "load.after_delete"]
    for point in wanted[half::2]:
        assert case(pair, "fresh", Fault("kill", 0, point)).killed == 1
    assert not pair.look(list(pair.oracle), all_of=True)


def test_no_declared_point_is_left_out() -> None:
    """Those of a first load are counted through, the others are named above."""
    assert {point.partition(".")[0] for point in FAULT_POINTS} == {
        "claim", "save", "stage", "load", "audit", "delete", "close", "clean", "prepare", "copy",
    }  # fmt: skip


def points_of(*purposes: str) -> set[str]:
    return {name for name in FAULT_POINTS if name.startswith(tuple(f"{p}." for p in purposes))}

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.tolerance import compare_hop, loss_percent, shrinkage

COUNTS = st.integers(0, 10**18)


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        (100, 98, "2.00"),
        (100, 100, "0.00"),
        (0, 0, "0.00"),
        (3, 2, "33.33"),
        (3, 1, "66.67"),
        (1000, 0, "100.00"),
        (100, 150, "-50.00"),
        (200_000, 199_999, "0.00"),
        (20_000, 19_999, "0.01"),
        (0, 5, "-9999999.99"),
        (1, 10**12, "-9999999.99"),
    ],
)
def test_loss_percent(before: int, after: int, percent: str) -> None:
    assert str(loss_percent(before, after)) == percent


def test_a_loss_equal_to_the_tolerance_passes() -> None:
    assert compare_hop(1000, 980, 2.0, "source to stage").passed
    assert not compare_hop(1000, 979, 2.0, "source to stage").passed


def test_whole_rows_are_compared_not_rounded_percents() -> None:
    verdict = compare_hop(1_000_000, 979_999, Decimal("2.00"), "source to stage")
    assert verdict.loss_percent == Decimal("2.00")
    assert not verdict.passed
    assert "20001 of 1000000 rows lost" in verdict.reason


@pytest.mark.parametrize("tolerance", [0.0, 100.0])
def test_more_rows_than_before_never_pass(tolerance: float) -> None:
    verdict = compare_hop(10, 11, tolerance, "stage to target")
    assert not verdict.passed
    assert verdict.lost == -1
    assert "1 rows too many" in verdict.reason
    assert not compare_hop(0, 1, tolerance, "stage to target").passed


def test_facts_are_the_numbers_of_the_verdict() -> None:
    assert compare_hop(200, 199, 0.1, "x").facts() == {
        "expected": 200,
        "observed": 199,
        "loss_percent": 0.5,
        "tolerance_percent": 0.1,
    }


@given(
    before=COUNTS,
    after=COUNTS,
    tolerance=st.decimals(0, 100, places=4),
)
def test_the_verdict_is_exact_for_any_counts(before: int, after: int, tolerance: Decimal) -> None:
    verdict = compare_hop(before, after, tolerance, "hop")
    allowed = after <= before and (before - after) * 100 <= Fraction(tolerance) * before
    assert verdict.passed == allowed
    assert Decimal("-9999999.99") <= verdict.loss_percent <= 100


@given(before=st.integers(1, 10**18), after=COUNTS)
def test_the_percent_is_the_exact_one_rounded_half_up(before: int, after: int) -> None:
    exact = Fraction(before - after, before) * 100
    shown = Fraction(loss_percent(before, after))
    if exact > Fraction(-999_999_999, 100):
        assert abs(shown - exact) <= Fraction(1, 200)


@given(before=COUNTS, now=COUNTS, most=st.decimals(0, 100, places=2))
def test_shrinkage_is_more_rows_gone_than_allowed(before: int, now: int, most: Decimal) -> None:
    gone = shrinkage(before, now, most)
    assert (gone is not None) == (now * 100 < before * (100 - most))
    assert gone is None or gone.facts()["expected"] == before

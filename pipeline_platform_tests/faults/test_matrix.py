"""Every row of the fault matrix has tests, on each system where the fault can happen."""

import pytest

from pipeline_platform_tests.faults.matrix import MATRIX
from pipeline_platform_tests.faults.rows import Told, run_rows


@pytest.fixture(scope="module")
def collected() -> Told:
    told = run_rows(range(1, 100), "--collect-only")
    assert not told.broken
    return told


def test_there_are_26_rows() -> None:
    assert sorted(MATRIX) == list(range(1, 27))


@pytest.mark.parametrize("number", MATRIX)
def test_row_is_proven_where_it_can_happen(collected: Told, number: int) -> None:
    assert collected.passed[number]
    assert collected.systems[number] >= set(MATRIX[number].on)


def test_no_test_is_marked_with_another_number(collected: Told) -> None:
    assert set(collected.passed) == set(MATRIX)

"""Staged files that change behind the platform's back never reach the target.

Manifests stay as they are here. Every run fails before anything of it is visible, and the next one
reads the window again and makes it right. `contract.py` plants the rest, into a load alone.
"""

import pytest

from pipeline_platform.errors import VerificationError
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.corruption.conftest import AFTER_STAGING, WHILE_LOADING, Place
from pipeline_platform_tests.corruption.plants import LOUD, SILENT

pytestmark = pytest.mark.fault_row(18, on="local")


def require_refused(place: Place, key: str, number: int, failed: StepFailedError) -> None:
    """The run's data were refused and the target shows what it did before; the next run heals."""
    assert isinstance(failed.error, VerificationError), repr(failed.error)
    assert (place.of_day(key), place.number()) == ([], number)
    healed = place.require_healed(key)
    assert healed.phases["source_to_stage_transfer"].status == "COMPLETED"


@pytest.mark.parametrize(
    ("when", "name"),
    [
        # Sums would notice nothing of it; sizes and hashes do.
        (AFTER_STAGING, "values_of_two_rows_swapped"),
        # Past the look at the hashes, counts, NULLs and exact sums notice it.
        (WHILE_LOADING, "shifted_zone"),
    ],
)
def test_in_the_same_run(place: Place, when: str, name: str) -> None:
    key, number = place.new_key(), place.number()
    with (
        place.damaged_at(when, (LOUD | SILENT)[name], key),
        pytest.raises(StepFailedError) as caught,
    ):
        place.run(key)
    assert caught.value.row is not None
    assert caught.value.row.phase_failed == "stage_to_target_transfer"
    require_refused(place, key, number, caught.value)


@pytest.mark.parametrize("place", ["duckdb"], indirect=True)
@pytest.mark.parametrize("name", ["text_of_the_same_length", "rounded_decimals", "file_truncated"])
def test_before_a_resumed_run(place: Place, name: str) -> None:
    key, number = place.new_key(), place.number()
    place.stage_only(key)
    place.damage((LOUD | SILENT)[name], key)
    with pytest.raises(StepFailedError) as caught:
        place.run(key)
    assert caught.value.row is not None
    assert caught.value.row.phase_failed == "stage_count"
    require_refused(place, key, number, caught.value)


def test_rows_loaded_before_stay(place: Place) -> None:
    """A bad second load of a window leaves the rows of the first, and its commit row."""
    key = place.new_key()
    place.require_healed(key)
    before = place.warehouse.everything()
    place.at_source(f"UPDATE orders SET amount = amount + 1 WHERE placed_at::DATE = '{key}'")
    with (
        place.damaged_at(WHILE_LOADING, LOUD["row_dropped_and_another_doubled"], key),
        pytest.raises(StepFailedError),
    ):
        place.run(key, force=True)
    assert place.warehouse.everything() == before
    place.require_healed(key, force=True)

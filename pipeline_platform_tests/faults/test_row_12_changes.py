"""Row 12: rows that arrive while their window is read are in the next load, whole, never in half.

That a snapshot does not see later writes is in the contract of the sources.
"""

import pytest

from pipeline_platform_tests.faults.pair import Pair

PAIRS = ["postgres-postgres", "elasticsearch-duckdb", "elasticsearch-postgres", "postgres-duckdb"]


@pytest.mark.fault_row(12)
@pytest.mark.parametrize("pair", PAIRS, indirect=True)
def test_row_12_rows_that_arrive_during_the_read(pair: Pair) -> None:
    key = pair.new_window()
    then = list(pair.oracle[key])
    reading = pair.run(key, "stage.after_batch:stop", keep_open=False)
    assert reading.code is None, pair.log()
    pair.add_late(key)
    assert pair.go_on().code == 0, pair.log()
    assert not pair.after_the_fault(key, [then])
    assert drift(pair, key) == 3

    assert pair.run(key).code == 0, pair.log()
    assert not pair.look([key])
    assert drift(pair, key) == 0


def drift(pair: Pair, key: str) -> int:
    """As the audit of the newest run recorded it."""
    window = pair.pipeline().windows.window_of_key(key)
    run = next(
        run for run in pair.store.latest_runs("orders", 10)
        if run.query_window_start_timestamp == window.start
    )  # fmt: skip
    return int(run.phases["audit"].phase_specific_details["drift"])

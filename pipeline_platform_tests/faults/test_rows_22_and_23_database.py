"""Rows 22 and 23: the drive table, or the target table, is gone or is not what it was."""

import pytest

from pipeline_platform_tests.faults.pair import Pair

PAIRS = ["postgres-postgres", "elasticsearch-duckdb", "elasticsearch-snowflake"]
RECORDS = "pipeline_platform.pipeline_records"


@pytest.mark.fault_row(22)
@pytest.mark.parametrize(
    ("pair", "gone_at"),
    [
        ("postgres-postgres", "stage.after_batch"),
        ("postgres-postgres", "load.after_commit"),
        ("elasticsearch-duckdb", "stage.before_manifest"),
        ("elasticsearch-snowflake", "load.after_commit"),
    ],
    indirect=["pair"],
)
def test_row_22_the_drive_table_is_away(pair: Pair, gone_at: str) -> None:
    """From the middle of a run until after its end, and while the next one begins."""
    key = pair.new_window()
    stopped = pair.run(key, f"{gone_at}:stop", keep_open=False)
    assert stopped.code is None, pair.log()
    with pair.warehouse.open() as query:
        query(f"ALTER TABLE {RECORDS} RENAME TO {pair.warehouse.new_name(RECORDS + '_away')}")
    assert pair.go_on().code == 1
    without = pair.run(key)
    assert without.code == 1
    assert not {"stage.before_read", "load.before_begin"} & set(without.points)

    with pair.warehouse.open() as query:
        query(f"ALTER TABLE {RECORDS}_away RENAME TO {pair.warehouse.new_name(RECORDS)}")
    assert not pair.after_the_fault(key, [[], pair.oracle[key]])
    assert pair.run(key).code == 0, pair.log()
    assert not pair.look([key])


@pytest.mark.fault_row(23)
@pytest.mark.parametrize("pair", PAIRS, indirect=True)
def test_row_23_a_column_is_renamed(pair: Pair) -> None:
    """It is said before a row is read; with the old name the window is moved."""
    key = pair.new_window()
    with pair.warehouse.open() as query:
        if pair.warehouse.files:  # DuckDB alters no table that has an index
            for (index,) in query(
                "SELECT index_name FROM duckdb_indexes() "
                "WHERE schema_name = 'analytics' AND table_name = 'orders'"
            ):
                query(f'DROP INDEX analytics."{index}"')  # fmt: skip
        query("ALTER TABLE analytics.orders RENAME COLUMN note TO remark")
    refused = pair.run(key)
    assert refused.code == 1
    assert "note" in pair.log().lower()
    assert "load.after_begin" not in refused.points
    assert "stage.after_batch" not in refused.points
    with pair.warehouse.open() as query:
        query("ALTER TABLE analytics.orders RENAME COLUMN remark TO note")
    assert pair.run(key).code == 0, pair.log()
    assert not pair.look([key])


@pytest.mark.fault_row(23)
@pytest.mark.parametrize("pair", PAIRS, indirect=True)
def test_row_23_the_table_is_dropped(pair: Pair) -> None:
    """A window that says it is loaded is loaded again, into a new table."""
    older, newer = pair.new_windows(2)
    assert pair.run(older).code == 0, pair.log()
    with pair.warehouse.open() as query:
        query("DROP TABLE analytics.orders")
    pair.oracle = {key: pair.oracle[key] for key in (older, newer)}
    for key in (newer, older):
        assert pair.run(key).code == 0, pair.log()
    assert not pair.look([older, newer], all_of=True)

"""Rows 18 and 21: staged files that changed before the load, and files that are loaded again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform_tests.faults.pair import Pair

Damage = Callable[[list[Path]], None]


def truncated(files: list[Path]) -> None:
    files[0].write_bytes(files[0].read_bytes()[:-20])


def edited(files: list[Path]) -> None:
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(content)


def swapped(files: list[Path]) -> None:
    first, second = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(second)
    files[1].write_bytes(first)


def missing(files: list[Path]) -> None:
    files[1].unlink()


def manifest_edited(files: list[Path]) -> None:
    path = files[0].parent / "manifest.json"
    content = json.loads(path.read_text())
    content["manifest"]["rows"] += 1
    path.write_text(json.dumps(content))


def manifest_missing(files: list[Path]) -> None:
    (files[0].parent / "manifest.json").unlink()


@pytest.mark.fault_row(18, on="local")
@pytest.mark.parametrize(
    ("pair", "damage"),
    [
        ("postgres-postgres", truncated),
        ("elasticsearch-duckdb", edited),
        ("elasticsearch-postgres", swapped),
        ("postgres-duckdb", missing),
        ("postgres-postgres", manifest_edited),
        ("elasticsearch-duckdb", manifest_missing),
        ("postgres-snowflake", swapped),
    ],
    indirect=["pair"],
)
def test_row_18_the_window_is_read_again(pair: Pair, damage: Damage) -> None:
    key = pair.new_window()
    several: dict[str, Any] = {"stage_system": {"rows_per_file": 8, "rows_per_group": 8}}
    assert pair.run(key, "load.before_begin:kill", **several).code == -9
    [attempt] = pair.attempts(key)
    damage(sorted(attempt.glob("*.parquet")))
    assert not pair.after_the_fault(key, [[]])

    runs = [pair.run(key, **several).code]
    if runs == [1]:
        assert "VerificationError" in pair.log()
        assert not pair.after_the_fault(key, [[]])
        runs.append(pair.run(key, **several).code)
    assert runs[-1] == 0, pair.log()
    assert pair.reads(key) == 2
    assert not pair.look([key])


@pytest.mark.fault_row(21)
@pytest.mark.parametrize(
    "pair", ["postgres-postgres", "elasticsearch-duckdb", "postgres-snowflake"], indirect=True
)
def test_row_21_files_that_were_loaded_before(pair: Pair) -> None:
    """The commit row is lost, long after; Snowflake's memory of loaded files is in no one's way."""
    key = pair.new_window()
    assert pair.run(key).code == 0, pair.log()
    with pair.warehouse.open() as query:
        query(
            "DELETE FROM analytics.orders_window_commits "
            f"WHERE CAST(window_start AS TIMESTAMP) = TIMESTAMP '{key} 00:00:00'"
        )
    again = pair.run(key)
    assert again.code == 0, pair.log()
    assert "load.after_insert" in again.points
    assert pair.reads(key) == 1
    assert not pair.look([key])

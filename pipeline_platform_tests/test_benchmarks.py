"""The benchmarks work, and what they wrote is whole. How fast things are is theirs to judge."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import GOALS, PER_KIND
from benchmarks.measure import Measure, Stopwatch, interleaved, median_of_ratios
from benchmarks.results import FOLDER, read_entries
from benchmarks.world import KINDS
from pipeline_platform_tests.fresh_clone import ROOT

PARTS = {"L7": (".events", ".steps", ".key_listings")}
IDS = {"D1"} | {
    f"{goal}{part}.{kind}" for goal in PER_KIND for part in PARTS.get(goal, ("",)) for kind in KINDS
}


def well_formed(entry: dict[str, Any]) -> bool:
    assert set(entry) == {"id", "value", "unit", "bar", "holds", "samples"}
    assert isinstance(entry["value"], int | float)
    assert isinstance(entry["bar"], int | float)
    assert isinstance(entry["holds"], bool)
    return bool(entry["unit"]) and all(entry["samples"].values())


def bench(*arguments: str, expected: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_counts_that_no_machine_changes_hold(tmp_path: Path) -> None:
    """L5 and L7: statements of a window, Dagster's events, steps and key listings.

    A run of some measures keeps the figures of the others.
    """
    other = {"id": "P9.duckdb", "value": 0.9, "unit": "x", "bar": 0.75, "holds": True,
             "samples": {"load": [1.0]}}  # fmt: skip
    stale = {**other, "id": "L5.duckdb", "value": 99.0, "holds": False}
    (tmp_path / "results.json").write_text(json.dumps([other, stale]))
    told = bench("--quick", "--only", "L5,L7", "--to", str(tmp_path))
    entries = {entry["id"]: entry for entry in read_entries(tmp_path)}
    assert entries.pop("P9.duckdb") == other
    assert set(entries) == {name for name in IDS if name.startswith(("L5", "L7"))}
    for name, entry in entries.items():
        assert well_formed(entry)
        assert entry["holds"], entry
        assert name in told
    [few, *more] = entries["L5.postgres"]["samples"].values()
    assert all(counts == few for counts in more)
    assert few[0] > 50
    assert entries["L7.events.duckdb"]["value"] > 40


def test_an_unknown_measure_is_refused(tmp_path: Path) -> None:
    assert "P99" in bench("--only", "P99", "--to", str(tmp_path), expected=2)
    assert "--to" in bench("--quick", expected=2)


def test_the_results_in_the_repository_are_whole() -> None:
    entries = read_entries(FOLDER)
    assert [entry["id"] for entry in entries] == sorted(IDS)
    assert all(well_formed(entry) for entry in entries)
    page = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    for entry in entries:
        assert f"| {entry['id']} |" in page
        assert f"- **{entry['id']}**: " in page
    assert "quick" not in page.splitlines()[0]


@pytest.mark.parametrize("goal", GOALS)
def test_results_say_something_of_every_goal(goal: str) -> None:
    assert any(entry["id"].split(".")[0] == goal for entry in read_entries(FOLDER))


def test_samples_are_interleaved_and_each_side_begins() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return 1.0 if name == "ours" else 2.0

    sides = {"ours": lambda: side("ours"), "peer": lambda: side("peer")}
    samples = interleaved(4, sides, warm_up=False)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer", "peer", "ours"]
    assert median_of_ratios(samples, "peer", "ours") == 2.0


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [("at least", 0.75, True), ("at least", 0.74, False), ("at most", 0.76, False),
     ("at most", 0.75, True), ("at most", float("nan"), False)],
)  # fmt: skip
def test_a_bar_is_held_or_not(rule: Any, value: float, holds: bool) -> None:
    assert Measure("P9.duckdb", value, "x", 0.75, rule, {}, "").holds is holds


def test_time_inside_a_timed_part_is_counted_once() -> None:
    watch = Stopwatch()
    inner = watch.timed("inner", lambda: sum(range(1000)))
    outer = watch.timed("outer", lambda: inner())
    outer()
    assert set(watch.seconds) == {"outer"}
    inner()
    assert set(watch.seconds) == {"outer", "inner"}

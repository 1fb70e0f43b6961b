"""The benchmarks work, and what they wrote is whole. How fast things are is theirs to judge."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.elasticsearch import install
from benchmarks.elasticsearch.bench import SearchBench
from benchmarks.elasticsearch.comparison import BARE, DUMP, OURS, SCAN, compare
from benchmarks.elasticsearch.documents import SMALL, WIDE, Shape
from benchmarks.elasticsearch.sides.side import Job, Sample
from benchmarks.elasticsearch.slices import least_gain
from benchmarks.measure import Measure, Stopwatch, interleaved, median_of_ratios
from benchmarks.parts import DATABASES, PARTS, SEARCH, Part
from benchmarks.results import FOLDER, Machine, read_entries, read_sections, write_results
from benchmarks.world import KINDS
from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.servers.elasticsearch import node
from pipeline_platform_tests.servers.elasticsearch.install import elasticsearch_home
from pipeline_platform_tests.servers.left_out import or_left_out

# Takes that give other measures than the one of their name.
SEVERAL = {
    **{
        f"L7.{k}": [f"L7.{part}.{k}" for part in ("events", "steps", "key_listings")] for k in KINDS
    },
    **{
        f"P1-P5.{shape.name}": [f"P{n}.{shape.name}.elasticsearch" for n in range(1, 6)]
        for shape in (SMALL, WIDE)
    },
    "L8": ["L8.two_slices.elasticsearch", "L8.more_slices.elasticsearch"],
}


def ids_of(part: Part) -> set[str]:
    ending = "" if part is DATABASES else ".elasticsearch"
    return {name for take in part.takes for name in SEVERAL.get(take, [f"{take}{ending}"])}


def well_formed(entry: dict[str, Any]) -> bool:
    assert set(entry) == {"id", "value", "unit", "bar", "holds", "samples"}
    assert isinstance(entry["value"], int | float)
    assert isinstance(entry["bar"], int | float)
    assert isinstance(entry["holds"], bool)
    return bool(entry["unit"]) and all(entry["samples"].values())


def bench(*arguments: str, expected: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode in expected, done.stdout + done.stderr
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
    assert set(entries) == {n for n in ids_of(DATABASES) if n.startswith(("L5", "L7"))}
    for name, entry in entries.items():
        assert well_formed(entry)
        assert entry["holds"], entry
        assert name in told
    [few, *more] = entries["L5.postgres"]["samples"].values()
    assert all(counts == few for counts in more)
    assert few[0] > 50
    assert entries["L7.events.duckdb"]["value"] > 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [("--only P99 --to somewhere", "no such measure: P99"), ("--quick", "name a folder with --to")],
)
def test_an_unknown_measure_is_refused(
    arguments: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments.split()])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    assert says in capsys.readouterr().err


@contextmanager
def _systems() -> Iterator[None]:
    node.NEEDS.install_or_docker(elasticsearch_home)
    install.peers()
    yield


@pytest.mark.timeout(600)
def test_a_window_leaves_elasticsearch_whole_on_every_side(tmp_path: Path) -> None:
    """P1 to P5 of the small documents and L5, against a real server; speed is not judged here."""
    with or_left_out(_systems()):
        told = bench(
            "--part", "elasticsearch", "--quick", "--only", "P1-P5.small,L5",
            "--to", str(tmp_path), expected=(0, 1),
        )  # fmt: skip
    entries = {entry["id"]: entry for entry in read_entries(tmp_path)}
    assert set(entries) == {f"P{n}.small.elasticsearch" for n in range(1, 6)} | {"L5.elasticsearch"}
    for name, entry in entries.items():
        assert well_formed(entry)
        assert name in told
    sides = entries["P1.small.elasticsearch"]["samples"]
    assert {OURS, BARE, SCAN, DUMP} < set(sides)
    assert all(len(samples) == 1 for samples in sides.values())
    for side in sides:
        assert all(mib > 50 for mib in entries["P4.small.elasticsearch"]["samples"][f"{side} MiB"])
    assert entries["L5.elasticsearch"]["holds"], entries["L5.elasticsearch"]
    assert min(entries["L5.elasticsearch"]["samples"]["1000 documents"]) > 50


class _NoServer(SearchBench):
    def job(self, folder: Path, documents_of_days: Sequence[int] = (), day: int = 0) -> Job:
        return Job("http://127.0.0.1:1", "orders", "2024-01-01", "2024-01-02", str(folder))


def test_a_side_that_misses_a_document_gives_no_sample() -> None:
    bench = _NoServer(True, node.ElasticsearchNode())
    whole = Sample(bench.documents, 1.0, 0.5, 100.0)
    assert compare(bench, {"whole": lambda job: whole}).rates()["whole"] == [bench.documents]
    with pytest.raises(RuntimeError, match="half delivered"):
        compare(bench, {"half": lambda job: replace(whole, documents=whole.documents - 1)})


@pytest.mark.parametrize(("shape", "fields", "size"), [(SMALL, 10, 300), (WIDE, 30, 1000)])
def test_documents_are_of_their_shape(shape: Shape, fields: int, size: int) -> None:
    documents = [json.loads(text) for text in shape.documents(3, 500)]
    assert len(shape.properties) == fields
    assert all(document.keys() == shape.properties.keys() for document in documents)
    assert shape.average_bytes() == pytest.approx(size, rel=0.05)
    moments = [datetime.fromisoformat(d["placed_at"].replace("Z", "+00:00")) for d in documents]
    assert moments == sorted(moments)
    assert moments[0] == datetime(2024, 1, 4, tzinfo=timezone.utc)
    assert moments[-1] < datetime(2024, 1, 5, tzinfo=timezone.utc)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="its pyarrow is another one")
@pytest.mark.parametrize("package", ["pyarrow", "elasticsearch"])
def test_peers_have_the_same_libraries(package: str) -> None:
    same = f"{package}=={importlib.metadata.version(package)} "
    assert same in install.REQUIREMENTS.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("bare_gain", "cores_left", "least"),
    [(1.9, 2.0, 1.5), (1.4, 2.0, 1.26), (1.9, 1.2, 1.08), (1.9, 0.9, 0.9)],
)
def test_a_second_slice_gains_what_server_and_machine_allow(
    bare_gain: float, cores_left: float, least: float
) -> None:
    assert least_gain(bare_gain, cores_left) == pytest.approx(least)


def test_the_results_in_the_repository_are_whole() -> None:
    """Of every part that was measured; the databases were."""
    entries = read_entries(FOLDER)
    sections = read_sections(FOLDER)
    measured = [part for part in PARTS.values() if part.title in sections]
    assert DATABASES in measured
    assert list(sections) == sorted(part.title for part in measured)
    assert [e["id"] for e in entries] == sorted(set.union(*map(ids_of, measured)))
    assert all(well_formed(entry) for entry in entries)
    for part in measured:
        text = sections[part.title]
        assert text.startswith(f"Written by `{part.command}`.\n")
        for name in ids_of(part):
            assert part.owns(name)
            assert f"| {name} |" in text
            assert f"- **{name}**: " in text


def test_a_part_replaces_its_own_results_only(tmp_path: Path) -> None:
    def write(part: Part, value: float, *names: str, partial: bool = False) -> dict[str, Any]:
        measures = [
            Measure(name, value, "x", 1.0, "at least", {"ours": [value]}, f"{name} told")
            for name in names
        ]
        machine = Machine(datetime(2026, 1, 1, tzinfo=timezone.utc), {"p": "1"}, 2, 4.0, 0.5)
        write_results(tmp_path, part, measures, machine, partial=partial, quick=False, seconds=60)
        return {entry["id"]: entry["value"] for entry in read_entries(tmp_path)}

    write(DATABASES, 1, "P9.duckdb", "P9.postgres", "D1")
    write(SEARCH, 2, "P1.small.elasticsearch", "P9.elasticsearch")
    searched = read_sections(tmp_path)["Elasticsearch"]
    found = write(DATABASES, 3, "P9.duckdb", "D1")
    assert found == {
        "D1": 3, "P1.small.elasticsearch": 2, "P9.duckdb": 3, "P9.elasticsearch": 2,
    }  # fmt: skip
    assert read_sections(tmp_path)["Elasticsearch"] == searched
    assert "P9.postgres" not in read_sections(tmp_path)["Databases"]

    found = write(SEARCH, 4, "P9.elasticsearch", partial=True)
    assert found == {
        "D1": 3, "P1.small.elasticsearch": 2, "P9.duckdb": 3, "P9.elasticsearch": 4,
    }  # fmt: skip
    assert "taken again" not in read_sections(tmp_path)["Databases"]
    [row] = [
        line
        for line in read_sections(tmp_path)["Elasticsearch"].splitlines()
        if "taken again" in line
    ]
    assert row.startswith("| P9.elasticsearch | 4.000 |")


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

"""The marker `fault_row`, and a run of the tests that carry it.

`@pytest.mark.fault_row(9, on="elasticsearch")`: the test proves row 9 of the fault matrix, on that
system; further systems are those that its name or its parameters say.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TESTS = ROOT / "pipeline_platform_tests"
ROWS = "PIPELINE_PLATFORM_FAULT_ROWS"
REPORT = "PIPELINE_PLATFORM_FAULT_REPORT"
SYSTEMS = ("elasticsearch", "postgres", "duckdb", "snowflake", "s3", "local")
PYTEST_SECONDS = 3_600


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "fault_row(*numbers, on=''): rows of the fault matrix that the test proves, and where",
    )
    rows = os.environ.get(ROWS)
    if rows and not config.pluginmanager.has_plugin(ROWS):
        wanted = {int(row) for row in rows.split(",")}
        config.pluginmanager.register(Selection(wanted), ROWS)


def rows_of(item: pytest.Item) -> set[int]:
    """Rows that the test is marked with."""
    return {row for mark in item.iter_markers("fault_row") for row in mark.args}


def systems_of(item: pytest.Item) -> set[str]:
    """Systems that the test says it is about."""
    told = " ".join(str(mark.kwargs.get("on", "")) for mark in item.iter_markers("fault_row"))
    text = f"{item.nodeid} {told}".lower()
    return {system for system in SYSTEMS if system in text}


@dataclass
class Told:
    """Tests by row."""

    passed: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    skipped: Counter[int] = field(default_factory=Counter)
    systems: dict[int, set[str]] = field(default_factory=dict)
    broken: bool = False
    """Whether pytest itself failed."""


class Selection:
    """Active where the environment names rows: leaves all other tests out, and reports."""

    def __init__(self, rows: set[int]) -> None:
        self._rows = rows

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept = [item for item in items if rows_of(item) & self._rows]
        others = [item for item in items if not rows_of(item) & self._rows]
        config.hook.pytest_deselected(items=others)
        items[:] = kept
        for item in items:
            found = sorted(rows_of(item) & self._rows), sorted(systems_of(item))
            item.user_properties.append(("fault_row", json.dumps(found)))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            for item in session.items:
                _report("collected", item.user_properties)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "PYTEST_XDIST_WORKER" in os.environ:
            return  # the process that started the workers sees all reports
        if report.when == "call" or report.outcome != "passed":
            _report(report.outcome, report.user_properties)


def _report(outcome: str, properties: Iterable[tuple[str, object]]) -> None:
    for name, value in properties:
        if name == "fault_row":
            with Path(os.environ[REPORT]).open("a") as report:
                report.write(f"{outcome} {value}\n")


def marked_files() -> list[Path]:
    """Test files and contract suites' users: all that mention the marker, directly or not."""
    own = [path for path in TESTS.rglob("*.py") if "fault_row" in path.read_text()]
    names = [f"{path.parent.name}.{path.stem}" for path in own if not _is_test(path)]
    users = [
        path for path in TESTS.rglob("test_*.py")
        if any(name in path.read_text() for name in names)
    ]  # fmt: skip
    return sorted({path for path in (*own, *users) if _is_test(path)})


def _is_test(path: Path) -> bool:
    return path.name.startswith("test_")


def run_rows(rows: Iterable[int], *options: str) -> Told:
    """Run the tests of these rows; `options` are pytest's."""
    files = [str(path) for path in marked_files()]
    descriptor, name = tempfile.mkstemp(prefix="pipeline-platform-rows-")
    os.close(descriptor)
    place = Path(name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(options or ("-n", "2")), *files],
        cwd=ROOT, timeout=PYTEST_SECONDS, check=False,
        env={**os.environ, ROWS: ",".join(map(str, rows)), REPORT: str(place)},
    )  # fmt: skip
    told = Told(broken=done.returncode != 0)
    for line in place.read_text().splitlines():
        outcome, _, value = line.partition(" ")
        numbers, systems = json.loads(value)
        counter = {"failed": told.failed, "skipped": told.skipped}.get(outcome, told.passed)
        counter.update(numbers)
        for number in numbers:
            told.systems.setdefault(number, set()).update(systems)
    place.unlink()
    return told

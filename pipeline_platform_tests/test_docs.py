"""The guides say what the code does: their SQL runs, their tables are those of the code."""

import re
from pathlib import Path

import duckdb
import pytest

from pipeline_platform import errors
from pipeline_platform.cli import app
from pipeline_platform.drive_table.store import LEASE_SECONDS
from pipeline_platform.execution import PHASES
from pipeline_platform.flow.step import CHECK_OF_STEP, STEPS
from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.pipelines import duckdb_store, postgres_store
from pipeline_platform_tests.servers.postgres import Database

CONCEPTS = (ROOT / "docs/concepts.md").read_text()
OPERATING = (ROOT / "docs/operating.md").read_text()
TEXTS = [CONCEPTS, OPERATING, (ROOT / "README.md").read_text()]
STATEMENTS = re.findall(r"```sql\n(.*?)```", OPERATING, re.DOTALL)


def test_sql_runs_on_duckdb(tmp_path: Path) -> None:
    duckdb_store(tmp_path)
    assert len(STATEMENTS) == 2
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        for statement in STATEMENTS:
            assert connection.execute(statement).fetchall() == []


def test_sql_runs_on_postgres(postgres: Database, tmp_path: Path) -> None:
    postgres_store(postgres, tmp_path)
    with postgres.connect() as connection:
        for statement in STATEMENTS:
            assert connection.execute(statement.encode()).fetchall() == []


def table_rows(text: str, header: str) -> list[list[str]]:
    lines = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_phases_and_assets() -> None:
    rows = table_rows(CONCEPTS, "| asset | phases | check |")
    assert [row[0] for row in rows] == list(STEPS)
    assert [phase for row in rows for phase in row[1].split(", ")] == list(PHASES)
    assert {row[0]: row[2] for row in rows if row[2]} == CHECK_OF_STEP


def test_error_categories_and_lease() -> None:
    rows = table_rows(OPERATING, "| error_category |")
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    found = {one.category for one in classes if issubclass(one, errors.PipelineError)}
    assert {row[0] for row in rows} == found
    assert LEASE_SECONDS == 300
    assert "lease of five minutes" in CONCEPTS


@pytest.mark.parametrize("text", TEXTS)
def test_commands_and_links_exist(text: str) -> None:
    commands = {one.callback.__name__ for one in app.registered_commands if one.callback}
    for name in re.findall(r"pipeline-platform ([a-z]+)\b", text):
        assert name in commands
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link).exists()

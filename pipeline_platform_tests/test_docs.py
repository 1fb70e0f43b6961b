"""The guides say what the code does: SQL, YAML and commands run, tables and numbers are the code's.

What the troubleshooting guide quotes is tested in test_troubleshooting.py.
"""

import importlib
import inspect
import json
import re
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import duckdb
import pytest
import typer
import yaml
from pydantic import TypeAdapter

from pipeline_platform import cli, errors
from pipeline_platform.automation.due_windows import TICK_SECONDS
from pipeline_platform.automation.recheck import SECONDS_PER_TICK
from pipeline_platform.config.load import parse_config
from pipeline_platform.config.phases import StageCleaning
from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table.io_manager import HELD_WAIT_SECONDS
from pipeline_platform.drive_table.queries import QUERIES
from pipeline_platform.drive_table.store import HEARTBEAT_SECONDS, LEASE_SECONDS, DriveStore
from pipeline_platform.execution import PHASES, PhaseStatus, RunStatus
from pipeline_platform.flow.catalog import START_UP
from pipeline_platform.flow.cleaning import MAX_WINDOWS_PER_RUN
from pipeline_platform.flow.leftovers import LOOK_BACK, MOST_OTHER_WINDOWS
from pipeline_platform.flow.pending import RETRY_GRACE, store_new_and_pass_valid_record
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.plan import Action
from pipeline_platform.flow.recheck import MEANINGS
from pipeline_platform.flow.step import CHECK_OF_STEP, STEPS, StepFailedError
from pipeline_platform_tests.documents import DOCUMENTS
from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.pipelines import (
    create_duckdb_orders,
    create_postgres_orders,
    duckdb_config,
    duckdb_store,
    make_pipeline,
    postgres_config,
    postgres_store,
    run_window,
)
from pipeline_platform_tests.servers.postgres import Database

CONCEPTS, OPERATING = DOCUMENTS["docs/concepts.md"], DOCUMENTS["docs/operating.md"]
TROUBLES = DOCUMENTS["docs/troubleshooting.md"]
# SQL of the guides for newcomers is played by the tests that play their text.
STATEMENTS = [sql for guide in (CONCEPTS, OPERATING, TROUBLES) for sql in guide.blocks("sql")]
DAYS = [datetime(2024, 1, day, tzinfo=timezone.utc) for day in (1, 2)]
# In the guide's words; the run of the demo stands for the one that fails here.
RUN_IN_THE_GUIDE = "flights_20130307T0500Z_run1"
CHANGES: Mapping[str, Any] = {
    "target_system": {"table": "flights"},
    "phases": {"source_to_stage_transfer": {"expected_run_duration": "1s"}},
}
every_guide = pytest.mark.parametrize("name", DOCUMENTS)


def example_runs(pipeline: Pipeline, store: DriveStore) -> str:
    """One window that is right, and one that fails: nobody has its rows. Returns the failed run."""
    run_window(pipeline, store, "2024-01-01")
    with pytest.raises(StepFailedError) as failed:
        run_window(pipeline, store, "2024-01-03")
    assert failed.value.row is not None
    return failed.value.row.pipeline_id


def queries_of_the_guide(failed_run: str) -> dict[str, str]:
    """The named queries as the guide shows them, about the example's failed run."""
    found = re.findall(r"\(`(\w+)`\)\n.*?```sql\n(.*?)```", OPERATING.text, re.DOTALL)
    return {name: sql.replace(RUN_IN_THE_GUIDE, failed_run) for name, sql in found}


def parameters(name: str, failed_run: str) -> dict[str, str]:
    values = {"pipeline_name": "flights", "pipeline_id": failed_run}
    return {key: values[key] for key in QUERIES[name].parameters if key in values}


def comparable(value: Any, column: str) -> Any:
    """Times as instants, JSON parsed; an age moves on between two queries."""
    if column == "hours_since_success":
        return round(value, 1)
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


def rows_of(columns: list[str], rows: list[Any]) -> list[dict[str, Any]]:
    return [
        {column: comparable(value, column) for column, value in zip(columns, row, strict=True)}
        for row in rows
    ]


def test_sql_on_duckdb(tmp_path: Path) -> None:
    create_duckdb_orders(tmp_path / "source.duckdb", DAYS, 10)
    changes = {**CHANGES, "query_window": {"on_empty_window": "fail"}}
    store = duckdb_store(tmp_path)
    failed = example_runs(make_pipeline(duckdb_config("flights", **changes), tmp_path), store)
    queries = queries_of_the_guide(failed)
    expected = {name: store.query(name, **parameters(name, failed)) for name in queries}
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        for statement in STATEMENTS:
            connection.execute(statement)
        for name, sql in queries.items():
            result = connection.execute(sql)
            columns = [column[0] for column in result.description]
            assert rows_of(columns, result.fetchall()) == [
                {column: comparable(value, column) for column, value in row.items()}
                for row in expected[name]
            ], name
    assert len(expected["execution_history"]) == 2
    assert expected["failed_phase"][0]["phase_failed"] == "pre_validation"
    assert expected["data_freshness"][0]["stale"] is False


def test_sql_on_postgres(postgres: Database, tmp_path: Path) -> None:
    create_postgres_orders(postgres, DAYS, 10)
    changes = {**CHANGES, "query_window": {"on_empty_window": "fail"}}
    store = postgres_store(postgres, tmp_path)
    pipeline = make_pipeline(postgres_config(postgres, "flights", **changes), tmp_path)
    failed = example_runs(pipeline, store)
    queries = queries_of_the_guide(failed)
    with postgres.connect() as connection:
        for statement in STATEMENTS:
            connection.execute(statement.encode())
        for name, sql in queries.items():
            result = connection.execute(sql.encode())
            columns = [column.name for column in result.description or ()]
            assert rows_of(columns, result.fetchall()) == [
                {column: comparable(value, column) for column, value in row.items()}
                for row in store.query(name, **parameters(name, failed))
            ], name


def test_the_six_standard_queries_are_there() -> None:
    standard = [name for name, query in QUERIES.items() if query.description.startswith("Query ")]
    numbered = re.findall(r"^### (\d)\. .*\(`(\w+)`\)$", OPERATING.text, re.MULTILINE)
    assert numbered == [(str(number), name) for number, name in enumerate(standard, start=1)]
    assert len(standard) == 6


@every_guide
def test_yaml_is_valid(name: str, tmp_path: Path) -> None:
    for block in DOCUMENTS[name].blocks("yaml"):
        document = yaml.safe_load(block)
        attributes = document.get("attributes", document)
        if document.get("type") == "pipeline_platform.DriveTable":
            TypeAdapter[StateSystem](StateSystem).validate_python(attributes)
        elif "pipeline_metadata" in attributes:
            assert document.get("type", "") in ("", "pipeline_platform.WindowedPipeline")
            parse_config(attributes, base_dir=tmp_path)
        assert isinstance(document, dict)


@every_guide
def test_commands_exist_with_their_options(name: str) -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    for line in DOCUMENTS[name].code_lines():
        match = re.match(r"(?:\$ )?(?:\.venv/bin/)?pipeline-platform (.+)", line)
        if match is None:
            continue
        command, *arguments = shlex.split(match[1].replace("[", "").replace("]", ""), comments=True)
        assert command in commands, line
        taken = {option: parameter for parameter in commands[command].params
                 for option in (*parameter.opts, *parameter.secondary_opts)}  # fmt: skip
        given, values = set(), iter(arguments)
        positions = (p for p in commands[command].params if p.param_type_name == "argument")
        for argument in values:
            if argument.startswith("-"):
                assert argument in taken, line
                given.add(taken[argument].name)
                if not taken[argument].is_flag:
                    assert next(values, None), line
            else:
                given.add(next(positions).name)
        # A name alone speaks about the command; with arguments all of them must be there.
        required = {one.name for one in commands[command].params if one.required}
        assert not arguments or required <= given, line


@every_guide
def test_commands_of_dg_and_make_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    dg: Any = importlib.import_module("dagster_dg_cli.cli").create_dg_cli()
    context = dg.make_context("dg", [], resilient_parsing=True)
    for line in DOCUMENTS[name].code_lines():
        for target in re.findall(r"^make ([a-z-]+)", line):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
        for words in re.findall(r"^dg ([a-z]+(?: [a-z]+)?)", line):
            found = dg
            for word in words.split():
                if hasattr(found, "list_commands"):
                    found = found.get_command(context, word)
                    assert found is not None, line


@every_guide
def test_links_anchors_and_images_exist(name: str) -> None:
    guide = DOCUMENTS[name]
    for link in guide.links():
        path, _, anchor = link.partition("#")
        target = (guide.path.parent / path).resolve() if path else guide.path
        assert target.exists(), link
        if anchor:
            assert anchor in DOCUMENTS[str(target.relative_to(ROOT))].anchors, link


def test_phases_assets_and_decisions() -> None:
    rows = CONCEPTS.table("| asset | phases | check |")
    assert [row[0] for row in rows] == list(STEPS)
    assert [phase for row in rows for phase in row[1].split(", ")] == list(PHASES)
    assert {row[0]: row[2] for row in rows if row[2]} == CHECK_OF_STEP
    decisions = {row[0].replace(" ", "_") for row in CONCEPTS.table("| decision | when |")}
    assert decisions == set(get_args(Action))


def test_statuses_categories_and_exit_codes() -> None:
    text = OPERATING.text
    runs, phases = (
        re.findall(r"^\| ([A-Z]+) \|", part, re.MULTILINE)
        for part in text[text.index("## Statuses") : text.index("## When a run fails")].split(
            "A phase; "
        )
    )
    assert set(runs) == set(get_args(RunStatus))
    assert set(phases) == set(get_args(PhaseStatus))
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    categories = {one.category for one in classes if issubclass(one, errors.PipelineError)}
    assert {row[0] for row in OPERATING.table("| error_category |")} == categories
    codes = {int(row[0]) for row in OPERATING.table("| exit code |")}
    assert codes == {0, cli.FAILED, cli.BAD_USAGE, cli.INTERRUPTED}


def test_numbers() -> None:
    concepts, operating, troubles = (
        " ".join(guide.text.split()) for guide in (CONCEPTS, OPERATING, TROUBLES)
    )
    assert (LEASE_SECONDS, HEARTBEAT_SECONDS, HELD_WAIT_SECONDS) == (300, 60, 600)
    assert "lease of five minutes, renewed every minute" in concepts
    assert "waits for it, at most ten minutes" in concepts
    assert f"looks every {TICK_SECONDS} seconds" in operating
    most = inspect.signature(store_new_and_pass_valid_record).parameters["max_registered"].default
    assert f"as PENDING, at most {most}" in operating
    assert timedelta(minutes=10) == START_UP
    assert timedelta(minutes=10) == RETRY_GRACE
    assert "ten minutes after the failure at the earliest" in operating
    assert f"At most {MAX_WINDOWS_PER_RUN} windows a run" in troubles
    assert f"begins no window after {SECONDS_PER_TICK:.0f} seconds" in operating
    assert f"at up to {MOST_OTHER_WINDOWS} other windows" in operating
    assert timedelta(weeks=1) == LOOK_BACK
    assert "in the week before" in operating
    assert StageCleaning().superseded_grace_hours == 24


def test_classes_of_late_data() -> None:
    rows = CONCEPTS.table("| class | what it found |")
    assert {row[0]: row[1] for row in rows} == MEANINGS

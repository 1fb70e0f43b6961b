"""Ten mistakes, ten messages: `pipeline-platform validate`, `dg check yaml`, `dg check defs`."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.config.inline_schema import attributes_schema
from pipeline_platform.config.load import parse_config
from pipeline_platform.config.problems import ConfigFileError
from pipeline_platform_tests.config.test_schema import Draft202012Validator
from pipeline_platform_tests.fresh_clone import copy_work_tree, run
from pipeline_platform_tests.pipelines import merged
from pipeline_platform_tests.servers.postgres import _free_port

SECRET = "hunter2-is-a-literal"
DOORS = ("inline", "yaml", "json")


@dataclass(frozen=True)
class Mistake:
    """What is changed in a good config, and what the user must read."""

    changes: dict[str, Any]
    at: str
    says: str
    example: str
    removed: tuple[str, ...] = field(default=())


POSTGRES = {
    "type": "postgres", "host": "127.0.0.1", "port": 1, "database": "shop", "user": "reader",
    "password": "env:NOWHERE_PASSWORD", "sslmode": "disable", "schema": "public", "table": "orders",
    "query_field": "placed_at", "path": None,
}  # fmt: skip
MISTAKES = {
    "unknown_key": Mistake(
        {"pipeline_metadata": {"owner_emale": "a@example.com"}},
        "pipeline_metadata.owner_emale", "unknown key, did you mean owner_email", "owner_email",
    ),
    "unknown_zone": Mistake(
        {"schedule": {"timezone": "Europa/Berlin"}},
        "schedule.timezone", "did you mean Europe/Berlin", "timezone",
    ),
    "bad_granularity": Mistake(
        {"query_window": {"duration": "1x"}}, "query_window.duration", "is not a duration",
        "duration",
    ),
    "granularity_in_zone": Mistake(
        {"query_window": {"duration": "90m"}, "schedule": {"timezone": "America/New_York"}},
        "query_window.duration", "possible in UTC only, not in America/New_York", "duration",
    ),
    "tolerance_101": Mistake(
        {"phases": {"audit": {"count_tolerances": {"source_to_stage_tolerance_percent": 101}}}},
        "phases.audit.count_tolerances.source_to_stage_tolerance_percent",
        "must be less than or equal to 100", "source_to_stage_tolerance_percent",
    ),
    "no_query_field": Mistake(
        {}, "source_system.query_field", "is missing", "query_field", ("query_field",)
    ),
    "query_field_absent": Mistake(
        {"source_system": {"query_field": "placed"}},
        "source_system.query_field", "'placed' does not exist", "query_field",
    ),
    "connection_refused": Mistake(
        {"source_system": POSTGRES}, "source_system.host", "Connection refused", "host", ("path",)
    ),
    "unknown_kind": Mistake(
        {"target_system": {"type": "oracle"}}, "target_system.type",
        "unknown connector kind", "type",
    ),
    "literal_password": Mistake(
        {"source_system": {**POSTGRES, "password": SECRET}}, "source_system.password",
        "must be a reference to a secret, env:NAME", "password", ("path",),
    ),
}  # fmt: skip


def good_config(name: str) -> dict[str, Any]:
    return {
        "pipeline_metadata": {"pipeline_name": name},
        "schedule": {"timezone": "UTC", "start_date": "2024-01-01"},
        "query_window": {"duration": "1d"},
        "source_system": {
            "type": "duckdb", "path": "data/source.duckdb", "table": "orders",
            "query_field": "placed_at",
        },
        "stage_system": {"type": "local", "path": "data/stage"},
        "target_system": {
            "type": "duckdb", "path": "data/target.duckdb", "schema": "main", "table": "orders",
        },
    }  # fmt: skip


def broken_config(name: str) -> dict[str, Any]:
    mistake = MISTAKES[name]
    config = merged(good_config(name), mistake.changes)
    for key in mistake.removed:
        config["source_system"].pop(key, None)
    return config


def write_config(folder: Path, config: dict[str, Any], door: str) -> Path:
    """A component in `folder` by one of the doors; the file that holds the config."""
    folder.mkdir(parents=True)
    attributes = config if door == "inline" else {"config": f"orders.{door}"}
    (folder / "defs.yaml").write_text(
        yaml.safe_dump({"type": "pipeline_platform.WindowedPipeline", "attributes": attributes})
    )
    if door == "inline":
        return folder / "defs.yaml"
    text = json.dumps(config, indent=2) if door == "json" else yaml.safe_dump(config)
    (folder / f"orders.{door}").write_text(text)
    return folder / f"orders.{door}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project with a source table, and the current folder in it."""
    folder = copy_work_tree(tmp_path_factory.mktemp("validate"))
    (folder / "data").mkdir()
    with duckdb.connect(str(folder / "data/source.duckdb")) as connection:
        connection.execute("CREATE TABLE orders (id BIGINT, placed_at TIMESTAMPTZ)")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def wrong_line(name: str) -> str:
    """A pattern for the line of the mistake."""
    key = MISTAKES[name].at.rpartition(".")[2]
    return "oracle" if name == "unknown_kind" else rf'^\s*"?{key}"?:'


def line_of(file: Path, pattern: str) -> int:
    lines = enumerate(file.read_text().splitlines(), 1)
    return next(number for number, line in lines if re.search(pattern, line))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_has_a_clear_message(
    project: Path, name: str, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake = MISTAKES[name]
    port = _free_port()
    monkeypatch.setenv("NOWHERE_PASSWORD", SECRET)
    config = broken_config(name)
    if config["source_system"]["type"] == "postgres":
        config["source_system"]["port"] = port
    folder = project / "configs" / f"{name}_{door}"
    file = write_config(folder, config, door)
    for path in {folder, file} if door == "inline" else {folder / "defs.yaml", file}:
        done = CliRunner().invoke(app, ["validate", str(path)])
        assert done.exit_code == 2, done.output
        [message] = [line for line in done.stderr.splitlines() if line]
        assert re.match(rf"✗ {re.escape(str(file.relative_to(project)))}:\d+", message)
        assert f"{mistake.at}: " in message
        assert mistake.says in message
        example = f'Example: "{mistake.example}":' if door == "json" else mistake.example + ":"
        assert example in message.partition("Example: ")[1] + message.partition("Example: ")[2]
        assert SECRET not in done.output
        assert "Traceback" not in done.output
        if name != "no_query_field":
            assert f"{file.name}:{line_of(file, wrong_line(name))}" in message
    if name == "connection_refused":
        assert f"127.0.0.1:{port}/shop" in message


def test_all_of_a_project_at_once_with_the_real_command(project: Path, tmp_path: Path) -> None:
    copy = copy_work_tree(tmp_path / "copy")
    for folder in (copy / "pipeline_platform/defs").iterdir():
        if folder.name != "drive_table":
            (folder / "defs.yaml").unlink()
    files = {
        name: write_config(
            copy / "pipeline_platform/defs" / name, broken_config(name), DOORS[number % 3]
        )
        for number, name in enumerate(MISTAKES)
    }
    (copy / "data").mkdir()
    (copy / "data/source.duckdb").write_bytes((project / "data/source.duckdb").read_bytes())
    done = run(
        [sys.executable, "-m", "pipeline_platform.cli", "validate"], copy, NOWHERE_PASSWORD=SECRET
    )
    assert done.returncode == 2, done.stdout + done.stderr
    messages = done.stderr.splitlines()
    assert len(messages) == len(MISTAKES)
    for name, file in files.items():
        [message] = [one for one in messages if one.startswith(f"✗ {file.relative_to(copy)}:")]
        assert MISTAKES[name].says in message
    assert SECRET not in done.stdout + done.stderr


def test_dg_check_shows_the_mistakes_where_they_are(tmp_path: Path) -> None:
    copy = copy_work_tree(tmp_path / "copy")
    inline = ["unknown_key", "unknown_zone", "bad_granularity", "tolerance_101", "unknown_kind",
              "literal_password"]  # fmt: skip
    config = good_config("many")
    for name in inline:
        config = merged(config, MISTAKES[name].changes)
    for key in ("path", "query_field"):
        del config["source_system"][key]
    defs = copy / "pipeline_platform/defs"
    file = write_config(defs / "many", config, "inline")
    zone = write_config(defs / "zone", broken_config("granularity_in_zone"), "inline")
    binaries = Path(sys.executable).parent
    environment = {
        "DAGSTER_HOME": str(copy),
        "VIRTUAL_ENV": str(binaries.parent),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "300",
        # The installed package is this checkout, not the copy.
        "PYTHONPATH": str(copy),
    }
    done = run(["dg", "check", "yaml", str(defs / "many")], copy, env=environment)
    assert done.returncode != 0
    for key, says in {
        "owner_emale:": "'owner_emale' was unexpected",
        "timezone:": "an IANA time zone, e.g. Europe/Berlin",
        "duration:": "days, hours, minutes and seconds in this order",
        "source_to_stage_tolerance_percent:": "101 is greater than the maximum of 100",
        "source_system:": "'query_field' is a required property",
        "type: oracle": "one of duckdb, postgres",
        "password:": "env:NAME_OF_A_VARIABLE",
    }.items():
        where = f"many/defs.yaml:{line_of(file, key)} "
        [message] = [one for one in done.stdout.splitlines() if where in one and says in one]
        shown = done.stdout.partition(message)[2]
        assert re.search(rf"\| +\^ .*{re.escape(says)}", shown)
    assert "does not match" not in done.stdout

    done = run(["dg", "check", "yaml", str(defs / "zone")], copy, env=environment)
    assert done.returncode != 0
    where = f"zone/defs.yaml:{line_of(zone, 'duration:')} "
    assert [one for one in done.stdout.splitlines() if where in one and "in UTC only" in one]

    for name in ("many", "zone"):
        (defs / name / "defs.yaml").unlink()
    file = write_config(defs / "own", config, "json")
    done = run(["dg", "check", "defs"], copy, env=environment)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    for mistake in (MISTAKES[name] for name in inline):
        assert f"{mistake.at}: " in output
        assert mistake.says in output
    for name in inline:
        assert f"own/orders.json:{line_of(file, wrong_line(name))}:" in output
    assert SECRET not in output


# The schema may leave an odd spelling to the model; it never refuses what the model accepts.
SPELLINGS = [
    *(f"{number}{unit}" for unit in "dhms" for number in (0, 1, 2, 6, 7, 20, 24, 25, 30, 45, 60)),
    *("90m", "1440m", "1441m", "3600s", "86400s", "5400s", "90s", "1h30m", "1h 30m", "01h 030m"),
    *("23h59m", "24h0m", "24h1m", "0d1h", "1h90m", "59m60s", "1d0h", "1d1h", "1h 30m 0s", "060m"),
    *("", "1x", "30m1h", "1.5h", "-1h", " 1h", "1 h", "1h  30m"),
]


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "America/New_York"])
def test_dg_check_yaml_and_the_model_agree_about_durations(zone: str) -> None:
    schema = Draft202012Validator(attributes_schema())
    for spelling in SPELLINGS:
        config = good_config("orders")
        config["query_window"]["duration"] = spelling
        config["schedule"]["timezone"] = zone
        errors = [error.message for error in schema.iter_errors(config)]
        assert len(errors) < 2, (spelling, errors)
        try:
            parse_config(config)
        except ConfigFileError:
            left_to_the_model = re.fullmatch(r"(\d+[dhms] ?){2,}|0[dhms]", spelling)
            assert errors or left_to_the_model, spelling
        else:
            assert errors == [], spelling

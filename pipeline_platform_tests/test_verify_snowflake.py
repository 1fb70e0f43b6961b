"""The check of a real account runs on the test server too, as far as that goes."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline_platform.config.snowflake import SnowflakeState
from pipeline_platform.connections.snowflake import IDLE_SECONDS
from pipeline_platform.drive_table import snowflake as drive_table_in_snowflake
from pipeline_platform.verify_snowflake import __main__ as verify
from pipeline_platform.verify_snowflake.points import (
    NotApplicableError,
    Outcome,
    Point,
    expect,
    run_points,
)
from pipeline_platform.verify_snowflake.scratch import Scratch
from pipeline_platform_tests.documents import DOCUMENTS
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase

LACKING = "something"


@pytest.fixture
def config(snowflake_database: SnowflakeDatabase, tmp_path: Path) -> Path:
    file = tmp_path / "account.yaml"
    values = {"type": "snowflake", **snowflake_database.as_config(), "schema": "not used"}
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.fixture
def scratch(snowflake_database: SnowflakeDatabase, tmp_path: Path) -> Iterator[Scratch]:
    scratch = Scratch(snowflake_database.as_config(), tmp_path, None)
    with scratch.open():
        yield scratch


def schemas(database: SnowflakeDatabase) -> list[str]:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT schema_name FROM information_schema.schemata "
            "WHERE schema_name LIKE 'PIPELINE_PLATFORM_VERIFY%'"
        )
        return [str(row[0]) for row in cursor.fetchall()]


def disproved(_: Scratch) -> str:
    expect(False, "the sky is green")
    return "seen"


def verdict(scratch: Scratch, point: Point) -> Outcome:
    [outcome] = run_points(scratch, [point])
    return outcome


@pytest.mark.timeout(400)
def test_every_point_runs_and_the_schema_is_dropped(
    config: Path, snowflake_database: SnowflakeDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    code = verify.main(["--config", str(config)])
    told = capsys.readouterr().out
    verdicts = Counter(
        next(verdict for verdict in ("passed", "failed", "not on", "not applicable")
             if line.startswith(verdict))
        for line in told.splitlines()[1:-1] if not line.startswith(" ")
    )  # fmt: skip
    assert code == 0, told
    assert sum(verdicts.values()) == len(verify.POINTS)
    assert verdicts["failed"] == 0
    assert verdicts["passed"] >= 15
    assert schemas(snowflake_database) == []


def test_points_have_names_of_their_own() -> None:
    names = [point.name for point in verify.POINTS]
    assert len(set(names)) == len(names)


def test_a_failure_is_told_and_is_the_exit_code(
    config: Path,
    snowflake_database: SnowflakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    points = (
        Point("disproved", disproved),
        Point("broken", lambda _: str([][0])),
        Point("goes on", lambda _: "seen"),
    )
    monkeypatch.setattr(verify, "POINTS", points)
    assert verify.main(["--config", str(config)]) == 1
    told = capsys.readouterr().out
    assert "failed              disproved" in told
    assert "the sky is green" in told
    assert "IndexError" in told
    assert "passed              goes on" in told
    assert told.splitlines()[-1] == "3 points: 2 failed, 1 passed. The schema is dropped."
    assert schemas(snowflake_database) == []


def test_only_the_test_server_may_lack_something(scratch: Scratch) -> None:
    point = Point("point", lambda _: "seen", LACKING)
    scratch.is_test_server = True
    assert verdict(scratch, point).verdict == "not on this server"
    scratch.is_test_server = False
    assert verdict(scratch, point).verdict == "passed"


def test_a_point_that_does_not_apply_says_why(scratch: Scratch) -> None:
    def check(_: Scratch) -> str:
        raise NotApplicableError("no stage is named")

    outcome = verdict(scratch, Point("point", check))
    assert (outcome.verdict, outcome.detail) == ("not applicable", "no stage is named")


def test_the_environment_names_the_account() -> None:
    environment = {
        "SNOWFLAKE_ACCOUNT": "acme-test", "SNOWFLAKE_USER": "CHECKER", "SNOWFLAKE_ROLE": "",
        "SNOWFLAKE_DATABASE": "SCRATCH", "SNOWFLAKE_PASSWORD": "hunter2", "OTHER": "x",
    }  # fmt: skip
    assert verify.from_environment(environment) == {
        "account": "acme-test",
        "user": "CHECKER",
        "database": "SCRATCH",
        "password": "env:SNOWFLAKE_PASSWORD",
    }


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "SNOWFLAKE_ACCOUNT is not set."),
        ({"SNOWFLAKE_ACCOUNT": "acme"}, "user: Field required"),
        (
            {
                "SNOWFLAKE_ACCOUNT": "acme", "SNOWFLAKE_USER": "U", "SNOWFLAKE_DATABASE": "D",
                "SNOWFLAKE_PRIVATE_KEY_PATH": "nowhere.p8",
            },
            "nowhere.p8 does not exist",
        ),
    ],
)  # fmt: skip
def test_an_account_that_cannot_be_reached(
    environment: dict[str, str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in (*verify.PLAIN, *verify.SECRET):
        monkeypatch.delenv(f"SNOWFLAKE_{name.upper()}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert verify.main([]) == 2
    assert says in capsys.readouterr().err


def test_the_guide_has_every_point() -> None:
    table = DOCUMENTS["docs/snowflake.md"].table("| point | test server |")
    lacks = {point.name: point.test_server_lacks for point in verify.POINTS}
    assert {name: where.removeprefix("lacks ") for name, where in table} == {
        name: missing or "checked" for name, missing in lacks.items()
    }


def test_what_the_guide_quotes_is_in_the_code() -> None:
    text = DOCUMENTS["docs/snowflake.md"].text
    source = inspect.getsource(drive_table_in_snowflake)
    for quoted in re.findall(r'"The table \.\.\. (.*?)\."', text):
        assert quoted in source
    seconds = SnowflakeState.model_fields["lock_timeout_seconds"].default
    assert f"`lock_timeout_seconds` ({seconds})" in text
    assert IDLE_SECONDS == 300
    assert "five idle minutes" in text
    for variable in re.findall(r"SNOWFLAKE_([A-Z_]+)", text):
        assert variable.lower() in (*verify.PLAIN, *verify.SECRET, "external_stage")

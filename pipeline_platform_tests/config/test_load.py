"""Reading files: all mistakes at once, each with its line, and never a secret."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline_platform.config.load import LoadedConfig, load_config, parse_config
from pipeline_platform.config.locations import read_documents
from pipeline_platform.config.problems import ConfigFileError, ConfigProblem
from pipeline_platform.errors import ConfigurationError
from pipeline_platform_tests.config.examples import POSTGRES, YAML, as_json, values, written

CANARY = "hunter2-Canary"


def refusal(folder: Path, text: str, name: str = "config.yaml") -> ConfigFileError:
    with pytest.raises(ConfigFileError) as caught:
        load_config(written(folder, text, name))
    return caught.value


def only(error: ConfigFileError) -> ConfigProblem:
    assert len(error.problems) == 1, str(error)
    return error.problems[0]


def test_yaml_json_and_a_mapping_give_the_same_config(tmp_path: Path) -> None:
    from_yaml = load_config(written(tmp_path, YAML))
    from_json = load_config(written(tmp_path, as_json(), "config.json"))
    assert from_yaml.config == from_json.config == parse_config(values()).config
    assert from_yaml.config.hashes() == from_json.config.hashes()


def test_values_with_signs_of_yaml_are_the_same_in_json(tmp_path: Path) -> None:
    name = 'a\t"b" \\ / \u00e9 \U0001f600 #c: d'
    text = as_json(source_system__table=name)
    loaded = load_config(written(tmp_path, text, "config.json")).config
    assert loaded == parse_config(values(source_system__table=name)).config


def test_relative_paths_count_from_the_project(tmp_path: Path) -> None:
    folder = tmp_path / "project" / "defs" / "flights"
    folder.mkdir(parents=True)
    assert load_config(written(folder, YAML)).base_dir == folder
    (tmp_path / "project" / "pyproject.toml").touch()
    loaded = load_config(written(folder, YAML))
    assert loaded.base_dir == tmp_path / "project"
    assert loaded.path == folder / "config.yaml"


def test_fields_are_located(tmp_path: Path) -> None:
    loaded = load_config(written(tmp_path, YAML))
    assert loaded.locate("pipeline_metadata.pipeline_name") == 2
    assert loaded.locate("source_system.query_field") == 12
    assert loaded.locate("source_system.batch_rows") == 8
    assert loaded.locate("source_system") == 8
    assert loaded.locate("retry.max_retries") == 1
    assert parse_config(values()).locate("source_system") is None


def test_merge_keys_are_located_where_they_were_written(tmp_path: Path) -> None:
    text = YAML.replace("stage_system: {type: local", "stage_system: &stage {type: local")
    text += "retry: &retry\n  max_retries: 2\nphases:\n  audit: {<<: {timeout: 5m}}\n"
    loaded = load_config(written(tmp_path, text))
    assert loaded.config.phases.audit.timeout == "5m"
    assert loaded.locate("phases.audit.timeout") == 18


FIVE_MISTAKES = """\
pipeline_metadata:
  pipeline_name: orders
schedule:
  timezone: America/NewYork
  start_date: 2024-01-01
query_window:
  duration: 1d
source_system:
  type: postgres
  host: db.example.com
  database: shop
  user: pipeline
  password: hunter2-Canary
  tabel: orders
stage_system:
  type: local
  path: data/stage
target_system:
  type: duckdb
  path: data/warehouse.duckdb
  schema: analytics
  table: orders
phases:
  audit:
    count_tolerances:
      source_to_stage_tolerance_percent: 101
"""


def test_all_mistakes_are_told_at_once_with_line_and_example(tmp_path: Path) -> None:
    error = refusal(tmp_path, FIVE_MISTAKES)
    assert [(p.line, p.column, p.field) for p in error.problems] == [
        (4, 13, "schedule.timezone"),
        (8, 1, "source_system.query_field"),
        (8, 1, "source_system.table"),
        (13, 13, "source_system.password"),
        (14, 3, "source_system.tabel"),
        (26, 42, "phases.audit.count_tolerances.source_to_stage_tolerance_percent"),
    ]
    assert [p.problem for p in error.problems] == [
        "unknown time zone, did you mean America/New_York",
        "is missing",
        "is missing",
        "must be a reference to a secret, env:NAME, not a literal value",
        "unknown key, did you mean table",
        "must be less than or equal to 100",
    ]
    assert [p.example for p in error.problems] == [
        "timezone: America/New_York",
        "query_field: created_at",
        "table: orders",
        "password: env:SHOP_DB_PASSWORD",
        "table: orders",
        "source_to_stage_tolerance_percent: 2.0",
    ]
    file = tmp_path / "config.yaml"
    assert str(error).startswith(f"6 problems in {file}:\n")
    assert (
        f"  {file}:4:13: schedule.timezone: unknown time zone, did you mean America/New_York. "
        "Example: timezone: America/New_York\n"
    ) in str(error)
    assert isinstance(error, ConfigurationError)
    assert CANARY not in str(error) + repr(error.problems)


def test_mistakes_of_sections_that_depend_on_each_other_are_told_together(tmp_path: Path) -> None:
    text = YAML.replace("start_date: 2013-01-01", "start: 2013-01-01").replace("1d", "90m")
    fields = [problem.field for problem in refusal(tmp_path, text).problems]
    assert fields == ["schedule.start_date", "schedule.start", "query_window.duration"]
    text = YAML.replace("York", "Yorck").replace("1d", "7m").replace("table: fl", "tables: fl")
    fields = [problem.field for problem in refusal(tmp_path, text).problems]
    assert "query_window.duration" in fields
    assert "schedule.timezone" in fields


def test_a_granularity_that_the_zone_does_not_allow(tmp_path: Path) -> None:
    problem = only(refusal(tmp_path, YAML.replace("duration: 1d", "duration: 90m")))
    assert (problem.line, problem.field) == (7, "query_window.duration")
    assert "possible in UTC only" in problem.problem


def test_a_missing_query_field(tmp_path: Path) -> None:
    problem = only(refusal(tmp_path, YAML.replace("  query_field: time_hour\n", "")))
    assert (problem.line, problem.field) == (8, "source_system.query_field")
    assert problem.problem == "is missing"


def test_a_missing_section(tmp_path: Path) -> None:
    problem = only(refusal(tmp_path, YAML.replace("query_window: {duration: 1d}\n", "")))
    assert (problem.line, problem.field, problem.problem) == (1, "query_window", "is missing")
    assert problem.example == "query_window: {duration: 1d}"


def test_keys_of_another_section_and_of_the_original_documents(tmp_path: Path) -> None:
    text = (
        YAML
        + "retry: {cron: 0 0 * * *, timeout_minutes: 3, colour: red, backoff: none, enabled: yes}\n"
    )
    said = {problem.field: problem.problem for problem in refusal(tmp_path, text).problems}
    assert said == {
        "retry.cron": "unknown key here, it belongs in schedule",
        "retry.timeout_minutes": "unknown key here, it belongs in phases.stale_pipeline_handling",
        "retry.colour": "unknown key, known are max_retries, backoff_strategy, backoff_seconds",
        "retry.backoff": "unknown key, did you mean backoff_seconds",
        "retry.enabled": "unknown key, known are max_retries, backoff_strategy, backoff_seconds",
    }
    problem = only(
        refusal(tmp_path, YAML.replace("path: data/op", "batch_size: 5\n  path: data/op"))
    )
    assert problem.problem == "unknown key, did you mean batch_rows"


def test_python_names_of_fields_are_no_keys(tmp_path: Path) -> None:
    problems = refusal(tmp_path, YAML.replace("schema:", "db_schema:")).problems
    assert [p.problem for p in problems] == ["is missing", "unknown key, did you mean schema"]


def test_duplicate_keys_are_told_with_the_other_mistakes(tmp_path: Path) -> None:
    text = YAML + "retry: {max_retries: 1, max_retries: 2}\nretry: {}\n"
    error = refusal(tmp_path, text.replace("York", "Yorck"))
    assert [(p.line, p.field) for p in error.problems] == [
        (6, "schedule.timezone"),
        (15, "retry.max_retries"),
        (16, "retry"),
    ]
    assert error.problems[2].problem == "stands twice, first in line 15"
    twice = as_json().replace('"path"', '"type": "duckdb",\n"path"', 1)
    error = refusal(tmp_path, twice, "config.json")
    assert [p.field for p in error.problems] == ["source_system.type"]


def test_json_gets_examples_in_json(tmp_path: Path) -> None:
    error = refusal(tmp_path, as_json(schedule__timezone="UTC+1"), "config.json")
    problem = only(error)
    assert problem.example == '"timezone": "America/New_York"'
    line = (tmp_path / "config.json").read_text().splitlines()[(problem.line or 0) - 1]
    assert line[(problem.column or 0) - 1 :].startswith('"UTC+1"')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("a: 1\n---\nb: 2\n", "several documents"),
        ("- a\n- b\n", "must be a section with keys"),
        ("a: [1, 2\n", "not YAML that can be read"),
        ("a:\n\t- b\n", "not YAML that can be read"),
        ("a: !!python/object/apply:os.getcwd []\n", "not YAML that can be read"),
        ("a: &x [*x]\n", "the alias holds itself"),
        ("2024: x\n", "a key must be text"),
        ("on: x\n", "a key must be text"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, says: str) -> None:
    error = refusal(tmp_path, text)
    assert says in str(error)
    assert all(problem.line for problem in error.problems)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", '{"a": NaN}', '{"a": 1} x', "a: 1"])
def test_json_must_be_json(tmp_path: Path, text: str) -> None:
    assert "this is not JSON" in only(refusal(tmp_path, text, "config.json")).problem


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="there is no such file"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigFileError, match="the file cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigFileError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + YAML.encode())
    assert isinstance(load_config(path), LoadedConfig)


@pytest.mark.parametrize(
    "secret",
    [
        CANARY,
        f"'{CANARY}'",
        f"*{CANARY}",
        f"!{CANARY} x",
        f"!{CANARY}!x y",
        f'"{CANARY}',
        f"{CANARY}: x",
        f"[{CANARY}",
        f"%{CANARY}",
        f"{{env: {CANARY}}}",
        f"[{CANARY}]",
        f"env:{CANARY}",
        f"vault:{CANARY}",
        f"aws-secretsmanager:{CANARY}",
    ],
)
def test_a_literal_password_is_never_printed(tmp_path: Path, secret: str) -> None:
    source = yaml.safe_dump({"source_system": {**POSTGRES, "password": "PASSWORD"}})
    text = source.replace("PASSWORD", secret, 1) if "env:PASSWORD" not in source else ""
    assert text
    error = refusal(tmp_path, text)
    chain = [error, error.__cause__, None if error.__suppress_context__ else error.__context__]
    assert CANARY not in "".join(f"{link} {link!r}" for link in chain)
    assert CANARY not in repr(error.problems) + repr(error.facts)


def test_no_value_of_a_config_is_repeated(tmp_path: Path) -> None:
    """A secret may be pasted into any field: each one is given the canary in turn."""

    def spoiled(node: object) -> list[object]:
        if isinstance(node, dict):
            return [{**node, key: wrong} for key, value in node.items() for wrong in spoiled(value)]
        return [CANARY, [CANARY], {CANARY[:3]: CANARY}, 0.5]

    good = parse_config(values(phases={"audit": {"timeout": "1h"}}, source_system=POSTGRES))
    whole = json.loads(good.config.model_dump_json(by_alias=True))
    refusals = []
    for config in spoiled(whole):
        try:
            parse_config(config)  # type: ignore[arg-type]
        except ConfigFileError as error:
            refusals.append(str(error) + repr(error.problems))
    assert len(refusals) > 100
    assert not [said for said in refusals if CANARY in said]


@pytest.mark.parametrize("key", ["password", "api_key", "db_password", "auth.token", "Secret"])
def test_literal_secrets_of_ones_own_connector_are_refused(tmp_path: Path, key: str) -> None:
    source = {"type": "a.b:C", "query_field": "at", "options": {"deep": [{key: CANARY}]}}
    with pytest.raises(ConfigFileError) as caught:
        parse_config(values(source_system=source))
    problem = only(caught.value)
    assert problem.field == "source_system.options"
    assert key in problem.problem
    assert "env:NAME" in problem.problem
    assert CANARY not in str(caught.value)


def test_options_that_only_resemble_secrets_are_accepted() -> None:
    options = {"token_field": "id", "keys": ["a"], "password": None, "secret": "env:S"}
    source = {"type": "a.b:C", "query_field": "at", "options": options}
    assert parse_config(values(source_system=source))


def test_attributes_parsed_elsewhere_can_still_have_lines(tmp_path: Path) -> None:
    indented = "\n".join("  " + line for line in FIVE_MISTAKES.splitlines())
    (document,) = read_documents(f"type: some.Component\nattributes:\n{indented}\n")
    with pytest.raises(ConfigFileError) as caught:
        parse_config(
            document.values["attributes"],
            where="defs.yaml",
            locations=document.locations.below("attributes"),
        )
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (6, 15)
    with pytest.raises(ConfigFileError) as caught:
        parse_config(document.values["attributes"], where="defs.yaml")
    assert "  defs.yaml: schedule.timezone: unknown time zone" in str(caught.value)

"""Components of this project: pipelines that are off, and the drive table in a file of its own."""

from pathlib import Path

import pytest

from pipeline_platform.component import WindowedPipeline
from pipeline_platform.config.attributes import PipelineAttributes, StateAttributes, load_state
from pipeline_platform.config.layout import find_layout
from pipeline_platform.config.load import parse_config
from pipeline_platform.config.problems import ConfigFileError
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.flow.assets import PIPELINE_TAG
from pipeline_platform.project import Project, resolve_templates
from pipeline_platform.validation import validate_path
from pipeline_platform_tests.config.examples import values
from pipeline_platform_tests.config.test_schema import Draft202012Validator
from pipeline_platform_tests.pipelines import duckdb_config

ROOT = Path(__file__).parents[1]
DEFS = ROOT / "pipeline_platform" / "defs"
EXAMPLE = "flights_elasticsearch"
VARIABLES = {
    "FLIGHTS_ELASTICSEARCH_URL": "https://search.example.com:9200",
    "FLIGHTS_BUCKET": "acme-stage",
    "SNOWFLAKE_ACCOUNT": "acme-analytics",
    "SNOWFLAKE_USER": "PIPELINE",
    "SNOWFLAKE_PRIVATE_KEY_PATH": "secrets/key.p8",
    "SNOWFLAKE_DATABASE": "ANALYTICS",
}


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in (*VARIABLES, "DRIVE_TABLE"):
        monkeypatch.delenv(name, raising=False)
    return Project(find_layout(ROOT))


def test_a_pipeline_that_is_off_has_no_assets(project: Project) -> None:
    assert sorted(project.pipelines) == ["flights"]
    groups = {spec.group_name for spec in project.definitions.resolve_all_asset_specs()}
    assert groups == {"flights"}
    sensors = sorted(sensor.name for sensor in project.definitions.sensors or ())
    assert sensors == ["flights_due_windows", "lease_sweep"]
    with pytest.raises(ConfigurationError, match="'flights_elasticsearch' is off"):
        project.pipeline(EXAMPLE)


def test_runs_of_the_job_say_from_the_start_whose_they_are(project: Project) -> None:
    """The lease sweep finds one by it that died before its first asset."""
    job = project.job("flights")
    assert job.run_tags == {PIPELINE_TAG: "flights"}


@pytest.mark.filterwarnings(
    "ignore:Specifying a partitions_def on an AssetCheckSpec:dagster.PreviewWarning"
)
@pytest.mark.parametrize("enabled", [False, True])
def test_a_pipeline_is_counted_again_if_its_config_says_so(
    project: Project, tmp_path: Path, enabled: bool
) -> None:
    config = duckdb_config(recheck={"enabled": enabled})
    component = WindowedPipeline(parse_config(config, base_dir=tmp_path))
    sensors = component.build_defs(project.components.load_context).sensors or ()
    recheck = ["orders_recheck"] if enabled else []
    assert [sensor.name for sensor in sensors] == ["orders_due_windows", *recheck]


def test_its_variables_switch_it_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert sorted(project.pipelines) == ["flights", EXAMPLE]
    config = project.pipeline(EXAMPLE).pipeline.config
    assert config.source_system.type == "elasticsearch"
    assert project.job(EXAMPLE).name == f"{EXAMPLE}_windows"


def test_validate_says_that_it_is_off(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    [finding] = validate_path(DEFS / EXAMPLE, connect=False)
    assert finding.passed
    assert finding.text == f"pipeline {EXAMPLE} is off, its config is not checked"
    monkeypatch.setenv("FLIGHTS_ELASTICSEARCH_URL", "https://search.example.com:9200")
    findings = list(validate_path(DEFS / EXAMPLE, connect=False))
    assert not any(finding.passed for finding in findings)
    assert "stage_system.bucket: has no value; where it is a template" in findings[0].text


def test_an_off_pipeline_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(
        "type: pipeline_platform.WindowedPipeline\n"
        "attributes:\n"
        "  pipeline_metadata: {pipeline_name: later, enabled: false}\n"
        "  source_system: {type: nothing that is known}\n"
    )
    [finding] = validate_path(tmp_path, connect=False)
    assert finding.passed
    assert "later is off" in finding.text


def test_the_drive_table_is_chosen_by_one_variable(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.store.name.startswith("duckdb ")
    for name, value in {**VARIABLES, "DRIVE_TABLE": "snowflake"}.items():
        monkeypatch.setenv(name, value)
    assert "snowflake" in Project(find_layout(ROOT)).store.name
    monkeypatch.setenv("DRIVE_TABLE", "oracle")
    with pytest.raises(ConfigurationError, match=r"oracle\.yaml.*no such file"):
        _ = Project(find_layout(ROOT)).store


def test_mistakes_in_the_drive_tables_file_have_lines(tmp_path: Path) -> None:
    (tmp_path / "warehouse.yaml").write_text("type: postgres\nhost: db\nport: many\nuser: me\n")
    with pytest.raises(ConfigFileError) as caught:
        load_state({"config": "warehouse.yaml"}, tmp_path, resolve_templates)
    found = {problem.field: problem.line for problem in caught.value.problems}
    assert found["port"] == 3
    assert "database" in found
    assert "warehouse.yaml:3" in str(caught.value)
    with pytest.raises(ConfigurationError, match="exclude each other"):
        load_state({"config": "warehouse.yaml", "type": "duckdb"}, tmp_path, resolve_templates)


def test_dg_check_lets_templates_pass_and_nothing_else() -> None:
    schema = Draft202012Validator(PipelineAttributes.model_json_schema())
    batch = "source_system__batch_rows"
    assert not list(schema.iter_errors(values(**{batch: "{{ env.ROWS }}"})))
    assert list(schema.iter_errors(values(**{batch: "many"})))
    state = Draft202012Validator(StateAttributes.model_json_schema())
    assert not list(state.iter_errors({"config": "{{ env.STATE }}.yaml"}))
    assert list(state.iter_errors({"config": "a.yaml", "type": "duckdb"}))
    assert not list(state.iter_errors({"path": "{{ env.FILE }}"}))
    assert list(state.iter_errors({"path": 5}))

"""The configuration reference: current, complete, in words, and its YAML is valid."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from pipeline_platform.config import elasticsearch, phases, s3, sections, snowflake, systems
from pipeline_platform.config.connections import Section
from pipeline_platform.config.hashing import NOT_HASHED, hashed_settings
from pipeline_platform.config.load import load_config, parse_config
from pipeline_platform.config.reference import REFERENCE_FILE, reference_text
from pipeline_platform.config.reference_texts import EXAMPLE
from pipeline_platform.config.systems import StateSystem

TEXT = REFERENCE_FILE.read_text(encoding="utf-8")
SYSTEMS: dict[str, type[BaseModel]] = {
    "source_system, `type: duckdb`": systems.DuckDBSource,
    "source_system, `type: elasticsearch`": elasticsearch.ElasticsearchSource,
    "source_system, `type: postgres`": systems.PostgresSource,
    "source_system, `type: package.module:Class`": systems.CustomSource,
    "stage_system, `type: local`": systems.LocalStage,
    "stage_system, `type: s3`": s3.S3Stage,
    "stage_system, `type: package.module:Class`": systems.CustomStage,
    "target_system, `type: duckdb`": systems.DuckDBTarget,
    "target_system, `type: postgres`": systems.PostgresTarget,
    "target_system, `type: snowflake`": snowflake.SnowflakeTarget,
    "target_system, `type: package.module:Class`": systems.CustomTarget,
}
MODELS: dict[str, type[BaseModel]] = {
    "pipeline_metadata": sections.PipelineMetadata,
    "schedule": sections.Schedule,
    "query_window": sections.QueryWindow,
    "retry": sections.Retry,
    "recheck": sections.Recheck,
    "monitoring": sections.Monitoring,
    **SYSTEMS,
    "drive table, `type: duckdb`": systems.DuckDBState,
    "drive table, `type: postgres`": systems.PostgresState,
    "drive table, `type: snowflake`": snowflake.SnowflakeState,
    "phases": phases.Phases,
    "`stale_pipeline_handling`": phases.StalePipelineHandling,
    "`audit`": phases.Audit,
    "`count_tolerances`": phases.CountTolerances,
    "`stage_cleaning`": phases.StageCleaning,
    "`target_cleaning`": phases.TargetCleaning,
}


def table_below(heading: str) -> dict[str, list[str]]:
    """First cell (without quotes) to the cells of its row, of the first table of a section."""
    [part] = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", TEXT, re.DOTALL | re.MULTILINE
    )
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    rows = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row] for row in rows}


def all_sections(model: type[BaseModel] = Section) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from all_sections(one)


def test_the_checked_in_reference_is_current() -> None:
    assert reference_text() == TEXT, "run python -m pipeline_platform.config.reference"


@pytest.mark.parametrize("heading", MODELS)
def test_every_field_is_there(heading: str) -> None:
    model = MODELS[heading]
    rows = table_below(heading)
    assert set(rows) == {field.alias or name for name, field in model.model_fields.items()}
    for name, field in model.model_fields.items():
        row = rows[field.alias or name]
        assert (field.description or "").replace("|", "\\|") in row
        if model is not phases.Phases:
            assert ("*required*" in row) == field.is_required()
    assert (model.__doc__ or "nothing").split("\n")[0] in TEXT


def test_no_section_of_the_model_is_left_out() -> None:
    shared = {"Section", "PipelineConfig", "PhaseSettings", "MandatoryPhase"}
    parts = {
        one.__name__ for one in all_sections() if one.__module__.startswith("pipeline_platform")
    }
    abstract = {name for name in parts if name.endswith(("Fields", "Connection")) or "_" in name}
    assert parts - shared - abstract == {model.__name__ for model in MODELS.values()}
    names = [f"`{n}`" for n, f in phases.Phases.model_fields.items()
             if f.annotation is phases.MandatoryPhase]  # fmt: skip
    assert set(table_below(", ".join(names))) == set(phases.MandatoryPhase.model_fields)


def test_types_are_words() -> None:
    rows = [row for heading, model in MODELS.items() if model is not phases.Phases
            for row in table_below(heading).values()]  # fmt: skip
    found = {row[1] for row in rows}
    assert not [one for one in found if re.search(r"class|Optional|Annotated|typing|None", one)]
    window = table_below("query_window")
    assert [window[name][1] for name in ("duration", "max_shrink_percent")] == [
        "duration",
        "percent, 0 to 100",
    ]
    source = table_below("source_system, `type: postgres`")
    assert source["password"][1] == "secret reference"
    assert source["port"][1] == "whole number, 1 to 65,535"
    assert source["required_fields"][1] == "list: text"
    assert table_below("pipeline_metadata")["owner_email"][1] == "e-mail address"
    assert table_below("source_system, `type: package.module:Class`")["type"][1] == "import path"


@pytest.mark.parametrize("heading", SYSTEMS)
def test_reload_marks_what_is_hashed(heading: str) -> None:
    model = SYSTEMS[heading]
    marked = {name for name, row in table_below(heading).items() if row[-1] == "yes"}
    hashed = {field.alias or name for name, field in model.model_fields.items()
              if NOT_HASHED not in field.metadata}  # fmt: skip
    assert marked == hashed
    if model is systems.LocalStage:
        stage = systems.LocalStage(type="local", path="data/stage")
        assert set(hashed_settings(stage)) == marked


def test_the_example_is_valid_wherever_it_stands(tmp_path: Path) -> None:
    written = tmp_path / "orders.yaml"
    written.write_text(EXAMPLE)
    config = load_config(written).config
    assert config == parse_config(yaml.safe_load(EXAMPLE)).config
    assert config.window_plan().window_of_key("2025-11-15-10:00").interval == "1h"


def test_every_yaml_block_is_valid() -> None:
    example, state = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert example == EXAMPLE
    component = yaml.safe_load(state)
    assert component["type"] == "pipeline_platform.DriveTable"
    TypeAdapter(StateSystem).validate_python(component["attributes"])

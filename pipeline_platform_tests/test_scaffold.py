"""What `dg scaffold defs` writes is valid as it is, and with every choice in it switched on."""

import importlib
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline_platform.config.attributes import PipelineAttributes, StateAttributes
from pipeline_platform.config.template import drive_table_template, pipeline_template
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.project import find_project
from pipeline_platform.scaffold import (
    DriveTableOptions,
    DriveTableScaffolder,
    PipelineOptions,
    PipelineScaffolder,
    Warehouse,
)
from pipeline_platform.validation import validate_path, validate_project

# It comes with dagster-dg-cli, which validates component attributes with it; it has no types.
Draft202012Validator: Any = importlib.import_module("jsonschema").Draft202012Validator

KINDS: tuple[Warehouse, ...] = ("duckdb", "postgres")
OFF = re.compile(r"^( *)#(?=\S)", re.MULTILINE)
PYPROJECT = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{}"\n'
DEFINITIONS = """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


class NewProject:
    """A project laid out like one of create-dagster, or flat."""

    def __init__(self, root: Path, *, name: str, source_folder: str = "src") -> None:
        self.root = root
        self.package = root / source_folder / name
        self.defs = self.package / "defs"
        self.defs.mkdir(parents=True)
        (root / "pyproject.toml").write_text(PYPROJECT.format(name))
        (self.package / "__init__.py").touch()
        (self.package / "definitions.py").write_text(DEFINITIONS)

    def _request(self, kind: str, place: str, params: Any, **more: Any) -> Any:
        folder = self.defs / place
        folder.mkdir(parents=True)  # as dg does before it asks
        return dg.ScaffoldRequest(
            type_name=f"pipeline_platform.{kind}",
            target_path=folder,
            scaffold_format=more.pop("scaffold_format", "yaml"),
            project_root=self.root,
            params=params,
            **more,
        )

    def pipeline(
        self, place: str, source: Warehouse = "postgres", target: Warehouse = "duckdb", **more: Any
    ) -> Path:
        options = PipelineOptions(source=source, target=target)
        PipelineScaffolder().scaffold(self._request("WindowedPipeline", place, options, **more))
        return self.defs / place / "defs.yaml"

    def drive_table(self, place: str, kind: Warehouse = "duckdb") -> Path:
        options = DriveTableOptions(type=kind)
        DriveTableScaffolder().scaffold(self._request("DriveTable", place, options))
        return self.defs / place / "defs.yaml"

    def files(self) -> list[str]:
        return sorted(str(file.relative_to(self.defs)) for file in self.defs.rglob("*"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewProject:
    monkeypatch.chdir(tmp_path)
    return NewProject(tmp_path, name="my_platform")


def findings(path: Path) -> list[str]:
    return [one.text for one in validate_path(path, connect=False) if not one.passed]


def leaves(values: Any) -> int:
    return sum(map(leaves, values.values())) if isinstance(values, dict) else 1


def variants(text: str) -> Iterator[str]:
    """As it is, with each choice on alone, with all on."""
    yield text
    for choice in OFF.finditer(text):
        yield text[: choice.start()] + choice[1] + text[choice.end() :]
    yield OFF.sub(r"\1", text)


@pytest.mark.parametrize(("source", "target"), [*product(KINDS, KINDS)])
def test_a_pipeline_is_valid_whatever_is_switched_on(
    project: NewProject, source: Warehouse, target: Warehouse
) -> None:
    file = project.pipeline("orders", source, target)
    text = file.read_text()
    assert text == pipeline_template("orders", source=source, target=target)
    assert len(OFF.findall(text)) > 12
    schema = Draft202012Validator(PipelineAttributes.model_json_schema())
    for number, variant in enumerate(variants(text)):
        document = yaml.load(variant, Loader=yaml.BaseLoader)
        assert leaves(document) >= leaves(yaml.safe_load(text)) + bool(number)
        file.write_text(variant)
        assert findings(file) == [], variant
        attributes = yaml.safe_load(re.sub(r"(\d{4}-\d\d-\d\d)", r"'\1'", variant))["attributes"]
        assert list(schema.iter_errors(attributes)) == []
    systems = yaml.safe_load(text)["attributes"]
    assert systems["pipeline_metadata"]["pipeline_name"] == "orders"
    assert systems["source_system"]["type"] == source
    assert systems["source_system"]["table"] == systems["target_system"]["table"] == "orders"
    assert systems["target_system"]["type"] == target


@pytest.mark.parametrize("kind", KINDS)
def test_a_drive_table_is_valid_whatever_is_switched_on(
    project: NewProject, kind: Warehouse
) -> None:
    file = project.drive_table("state", kind)
    text = file.read_text()
    assert text == drive_table_template(kind)
    schema = Draft202012Validator(StateAttributes.model_json_schema())
    for variant in variants(text):
        file.write_text(variant)
        assert findings(file) == []
        attributes = yaml.safe_load(variant)["attributes"]
        assert attributes["type"] == kind
        assert list(schema.iter_errors(attributes)) == []


def test_every_line_is_explained_and_short(project: NewProject) -> None:
    lines = project.pipeline("orders").read_text().splitlines()
    assert max(map(len, lines)) <= 100
    above = ""
    for line in lines:
        if re.match(r" +#?\w+:", line):
            assert above.lstrip().startswith("# "), line
        above = line


def test_the_first_pipeline_brings_a_drive_table(
    project: NewProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pipeline("orders", target="postgres")
    drive_table = project.defs / "drive_table/defs.yaml"
    assert drive_table.read_text() == drive_table_template("postgres")
    told = capsys.readouterr().out
    assert "Wrote src/my_platform/defs/orders/defs.yaml." in told
    assert "Wrote src/my_platform/defs/drive_table/defs.yaml." in told
    assert "pipeline-platform validate src/my_platform/defs/orders" in told

    project.pipeline("sales/customers")
    assert drive_table.read_text() == drive_table_template("postgres")
    assert "drive_table" not in capsys.readouterr().out


def test_a_drive_table_under_another_name_is_seen(project: NewProject) -> None:
    project.drive_table("platform/state")
    before = project.files()
    project.pipeline("orders")
    assert project.files() == sorted([*before, "orders", "orders/defs.yaml"])


@pytest.mark.parametrize(
    ("place", "try_instead"),
    [("My-Orders", "my_orders"), ("2024", "p_2024"), ("sales/Überweisung", "berweisung"),
     ("o" * 64, "o" * 63), ("---", "orders")],
)  # fmt: skip
def test_a_name_that_a_pipeline_cannot_have(
    project: NewProject, capsys: pytest.CaptureFixture[str], place: str, try_instead: str
) -> None:
    with pytest.raises(SystemExit, match="1"):
        project.pipeline(place)
    told = capsys.readouterr().err
    assert f"{Path(place).name} cannot be the name of a pipeline" in told
    [name] = re.findall(r"Try: dg scaffold defs pipeline_platform\.WindowedPipeline (\S+)\n", told)
    assert name == try_instead
    assert [one for one in project.defs.rglob("*") if one.is_file()] == []
    assert not (project.defs / place).exists()
    project.pipeline(name)


def test_what_is_there_already_is_refused(
    project: NewProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pipeline("orders")
    before = project.files()
    with pytest.raises(SystemExit, match="1"):
        project.pipeline("copies/orders")
    told = capsys.readouterr().err
    assert "There is a pipeline orders already, in src/my_platform/defs/orders/defs.yaml" in told
    with pytest.raises(SystemExit, match="1"):
        project.drive_table("state")
    assert "already, in src/my_platform/defs/drive_table/defs.yaml" in capsys.readouterr().err
    assert project.files() == sorted([*before, "copies"])


@pytest.mark.parametrize("more", [{"scaffold_format": "python"}, {"append": True}])
def test_only_a_file_of_its_own(
    project: NewProject, capsys: pytest.CaptureFixture[str], more: dict[str, Any]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        project.pipeline("orders", **more)
    assert "dg scaffold defs pipeline_platform.WindowedPipeline orders" in capsys.readouterr().err
    assert project.files() == []


@pytest.mark.parametrize("source_folder", ["src", "."])
def test_a_project_of_either_layout_is_found_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source_folder: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # removes what the project adds
    monkeypatch.chdir(tmp_path)
    name = f"scaffolded_{'flat' if source_folder == '.' else 'src'}"
    new = NewProject(tmp_path, name=name, source_folder=source_folder)
    new.pipeline("orders", source="duckdb")
    new.pipeline("sales/customers", source="duckdb")
    found = find_project(new.defs / "orders")
    assert found.layout.defs_folder == new.defs
    results = list(validate_project(found, connect=False))
    assert [one.text for one in results if not one.passed] == []
    assert results[-1].text == "Dagster loads the pipelines: customers, orders"
    assert found.store.check() == "the drive table will be created"
    found.store.migrate()
    assert found.store.check() == "the drive table answers"


def test_what_definitions_set_is_set_for_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `load_dotenv()` at their top does; commands need not build the definitions for it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAREHOUSE_OF_A_TEST", raising=False)
    new = NewProject(tmp_path, name="sets_variables")
    new.pipeline("orders", source="duckdb")
    file = new.defs / "drive_table/defs.yaml"
    state = yaml.safe_load(file.read_text())
    state["attributes"]["path"] = "{{ env.WAREHOUSE_OF_A_TEST }}"
    file.write_text(yaml.safe_dump(state))
    sets = "import os\n\nos.environ['WAREHOUSE_OF_A_TEST'] = 'other.duckdb'\n"
    (new.package / "definitions.py").write_text(sets + DEFINITIONS)
    assert "other.duckdb" in find_project(tmp_path).store.name
    monkeypatch.delenv("WAREHOUSE_OF_A_TEST")


def test_a_project_without_a_drive_table_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    new = NewProject(tmp_path, name="without_drive_table")
    new.pipeline("orders")
    (new.defs / "drive_table/defs.yaml").unlink()
    (new.defs / "drive_table").rmdir()
    found = find_project(tmp_path)
    command = "dg scaffold defs pipeline_platform.DriveTable drive_table"
    for use in (lambda: found.job("orders"), lambda: found.store):
        with pytest.raises(ConfigurationError, match="has no drive table") as caught:
            use()
        assert command in str(caught.value)

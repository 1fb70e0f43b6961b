"""The layer rule of the design, read from the imports of every file."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipeline_platform"
FILES = sorted(PACKAGE.rglob("*.py"))

# Lower layers first; a file imports only from its own layer or a lower one.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "tolerance", "moment", "window", "record", "execution", "movement", "query_field",
     "naming", "quoting", "fault_points", "arrow_memory"),
    ("config", "connections", "connectors"),
    ("sources", "stages", "targets", "drive_table"),
    ("flow",),
    ("partitions", "automation"),
    ("scaffold", "component", "loading", "__init__"),
    ("definitions", "project", "runner", "validation", "backfill", "report", "cli",
     "verify_snowflake"),
)  # fmt: skip
MAY_IMPORT_DAGSTER = (
    "flow", "drive_table.io_manager", "component", "partitions", "automation", "scaffold",
    "definitions", "loading",
    "defs", "project", "runner", "cli",
)  # fmt: skip
PURE = LAYERS[0]


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts)


def layer_of(module: str) -> int:
    top = module.split(".")[0]
    if top == "defs":
        return len(LAYERS) - 1
    for number, names in enumerate(LAYERS):
        if top in names:
            return number
    raise AssertionError(f"{module} is in no layer: add it to LAYERS or move it")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_downwards(path: Path) -> None:
    mine = layer_of(module_of(path))
    for name in imports_of(path):
        if name.startswith("pipeline_platform."):
            other = name.removeprefix("pipeline_platform.")
            handed_over = (module_of(path), other) == ("drive_table.io_manager", "flow.step")
            assert layer_of(other) <= mine or handed_over, f"{module_of(path)} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_dagster_is_imported_above_the_connectors_only(path: Path) -> None:
    module = module_of(path)
    allowed = module == "__init__" or any(
        module == name or module.startswith(f"{name}.") for name in MAY_IMPORT_DAGSTER
    )
    names = {name.split(".")[0] for name in imports_of(path)}
    assert allowed or "dagster" not in names
    # Companions of Dagster that only wrap a client: each in the one file that opens connections.
    assert "dagster_aws" not in names or module == "connections.s3"
    assert "dagster_snowflake" not in names or module == "connections.snowflake"
    assert not any(name.startswith("dagster._") for name in imports_of(path))


def test_files_stay_readable() -> None:
    folders = ("pipeline_platform", "pipeline_platform_tests", "benchmarks", "demo")
    files = [path for folder in folders for path in (PACKAGE.parent / folder).rglob("*.py")]
    assert len(files) > 200
    assert [path for path in files if len(path.read_text().splitlines()) > 400] == []


@pytest.mark.parametrize("name", PURE)
def test_pure_files_do_no_io(name: str) -> None:
    forbidden = {"socket", "subprocess", "sqlite3", "duckdb", "psycopg", "requests", "urllib"}
    assert not forbidden & {found.split(".")[0] for found in imports_of(PACKAGE / f"{name}.py")}

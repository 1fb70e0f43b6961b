"""docs/own-project.md: another Dagster project, from create-dagster to green windows.

The package is built and installed into an environment of the project's own, with the versions of
everything else that are installed here, so that uv has them in its cache.
"""

import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline_platform.config.template import pipeline_template
from pipeline_platform_tests.fresh_clone import copy_work_tree, run
from pipeline_platform_tests.guide import Guide, shop_database
from pipeline_platform_tests.servers.postgres import Database, PostgresServer

CREATE = "uvx create-dagster@1.13.27 project my_platform --no-uv-sync"


@pytest.fixture
def shop(postgres_server: PostgresServer) -> Iterator[Database]:
    with shop_database(postgres_server) as database:
        table = next(
            text
            for language, text in Guide("first-pipeline.md", Path(), {}, {}).blocks
            if language == "sql"
        )
        with database.connect() as connection:
            connection.execute(table.encode())
        yield database


def constraints(project: Path) -> None:
    """Only this Python, and versions that are installed here: uv has them from `make install`."""
    pins = {
        f"{one.metadata['Name']}=={one.version}"
        for one in distributions()
        if one.metadata["Name"] != "pipeline-platform"
    }
    python = "python_version == '{}.{}'".format(*sys.version_info)
    with (project / "pyproject.toml").open("a") as file:
        file.write(f'\n[tool.uv]\nenvironments = ["{python}"]\n')
        file.write(f"constraint-dependencies = {json.dumps(sorted(pins))}\n")


def query(project: Path, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(project / "data/warehouse.duckdb"), read_only=True) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        return warehouse.execute(statement).fetchall()


@pytest.mark.timeout(600)
def test_from_create_dagster_to_green_windows(tmp_path: Path, shop: Database) -> None:
    copy_work_tree(tmp_path / "pipeline_platform")
    binaries = Path(sys.executable).parent
    environment = {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(binaries.parent),
        "COLUMNS": "200",
        "UV_PYTHON": sys.executable,
        "DAGSTER_DG_UPDATE_CHECK_ENABLED": "0",
    }
    replaced = {"port: 5432": f"port: {shop.port}"}
    guide = Guide("own-project.md", tmp_path, environment, replaced)
    language, first = guide.blocks.pop(0)
    commands = first.splitlines()
    assert (language, commands[0]) == ("console", CREATE)
    # The same program, from the environment of these tests.
    guide.run(commands[0].replace("uvx create-dagster@1.13.27", "create-dagster"))
    constraints(tmp_path / "my_platform")
    guide.blocks.insert(0, ("console", "\n".join(commands[1:])))
    guide.play(shop)

    project = tmp_path / "my_platform"
    assert guide.place == project
    assert guide.environment["VIRTUAL_ENV"] == str(project / ".venv")
    installed = list(project.glob(".venv/lib/*/site-packages/pipeline_platform/component.py"))
    assert len(installed) == 1, "the package was not built and installed, only linked"

    assert "drive_table/defs.yaml" in guide.output_of("dg scaffold")
    assert "✗" not in guide.output_of("pipeline-platform validate")
    assert "the drive table will be created" in guide.output_of("pipeline-platform validate")
    assert "✓ orders 2025-11-10  SUCCESS: 720 rows" in guide.output_of("pipeline-platform run")
    assert "orders_20251111T0000Z_run1" in guide.output_of("pipeline-platform status")
    listed = guide.output_of("dg list defs")
    assert "orders_due_windows" in listed
    assert "flights" not in listed, "the demo came along"

    # Without the file that sets the executor: Dagster's default, a process per step.
    (project / "src/my_platform/defs/executor.py").unlink()
    guide.run("dg launch --assets 'group:orders' --partition 2025-11-12")
    # Our own command needs no such process.
    done = guide.run("pipeline-platform run orders --window 2025-11-12")
    assert "✓ orders 2025-11-12  SKIPPED: already right: 720 rows" in done

    with shop.connect() as source:
        expected = source.execute(
            "SELECT order_id, amount, created_at FROM orders "
            "WHERE created_at >= '2025-11-10Z' AND created_at < '2025-11-13Z' ORDER BY order_id"
        ).fetchall()
    loaded = query(
        project, "SELECT order_id, amount, created_at FROM analytics.orders ORDER BY order_id"
    )
    assert len(loaded) == 3 * 720
    assert loaded == expected
    assert query(
        project,
        "SELECT strftime(window_start_time, '%d'), source_count, target_count, audit_result "
        "FROM pipeline_platform.pipeline_records ORDER BY 1",
    ) == [(day, 720, 720, "PASS") for day in ("10", "11", "12")]

    defs = project / "src/my_platform/defs"
    scaffold = "dg scaffold defs pipeline_platform.WindowedPipeline"
    refused = run(f"{scaffold} My-Orders", project, env=guide.environment)
    assert refused.returncode == 1
    assert f"Try: {scaffold} my_orders\n" in refused.stderr
    guide.run(f"{scaffold} customers --source duckdb --target postgres")
    written = pipeline_template("customers", source="duckdb", target="postgres")
    assert (defs / "customers/defs.yaml").read_text() == written
    folders = {one.name for one in defs.iterdir() if one.is_dir()}
    assert folders - {"__pycache__"} == {"orders", "customers", "drive_table"}

    (defs / "drive_table/defs.yaml").unlink()
    broken = run("dg check defs", project, env=guide.environment)
    assert broken.returncode == 1
    assert (
        "has no drive table, which its pipelines need. Make one: dg scaffold defs "
        "pipeline_platform.DriveTable drive_table" in broken.stdout
    )

"""docs/first-pipeline.md from its first line to its last, in a fresh copy, on a real PostgreSQL."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pipeline_platform_tests.fresh_clone import ROOT, copy_work_tree, run
from pipeline_platform_tests.guide import Guide, shop_database
from pipeline_platform_tests.servers.postgres import Database, PostgresServer

SECRET = "change-me"
DAYS = [f"2025-11-{day:02d}" for day in range(9, 14)]


@pytest.fixture
def shop(postgres_server: PostgresServer) -> Iterator[Database]:
    with shop_database(postgres_server) as database:
        yield database


@pytest.mark.timeout(600)
def test_an_own_table_becomes_an_audited_pipeline(tmp_path: Path, shop: Database) -> None:
    folder = copy_work_tree(tmp_path / "clone")
    binaries = Path(sys.executable).parent
    environment = {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(binaries.parent),
        "COLUMNS": "120",
        # The installed package is this checkout, not the copy.
        "PYTHONPATH": str(folder),
    }
    # The README's `make demo` installs a fresh copy; here the environment of these tests is used.
    replaced = {
        "make install\nsource .venv/bin/activate\n": "make --dry-run install\n",
        "port: 5432": f"port: {shop.port}",
    }
    guide = Guide("first-pipeline.md", folder, environment, replaced)
    guide.play(shop)
    assert run(["make", "--dry-run", "ui"], folder).returncode == 0

    scaffolded = folder / "pipeline_platform/defs/orders/defs.yaml"
    assert "    # Table or view to read.\n    table: orders\n" in scaffolded.read_text()
    assert "✗" not in guide.output_of("pipeline-platform validate")
    assert "source readable: select permitted" in guide.output_of("pipeline-platform validate")
    status = guide.output_of("pipeline-platform status")
    assert all(f"orders_{day.replace('-', '')}T0000Z_run" in status for day in DAYS)

    with shop.connect() as source:
        orders = source.execute("SELECT * FROM orders ORDER BY order_id").fetchall()
    with duckdb.connect(str(folder / "data/warehouse.duckdb"), read_only=True) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        loaded = warehouse.execute(
            "SELECT order_id, customer, amount, created_at, updated_at FROM analytics.orders "
            "ORDER BY order_id"
        ).fetchall()
        audited = warehouse.execute(
            "SELECT strftime(window_start_time, '%Y-%m-%d'), source_count, target_count, "
            "audit_result FROM pipeline_platform.pipeline_records ORDER BY 1"
        ).fetchall()
    assert len(loaded) == 3600
    assert loaded == orders
    assert audited == [(day, 720, 720, "PASS") for day in DAYS]

    shown = guide.outputs[-2][1]
    assert re.search(r"\b3600\b", shown), shown
    written = [
        file.read_bytes()
        for file in (folder / "data").rglob("*")
        if file.is_file() and file.suffix != ".duckdb"
    ]
    assert written
    assert not any(SECRET.encode() in content for content in written)
    assert not any(SECRET in output for _, output in guide.outputs)


def test_it_is_one_page() -> None:
    assert len((ROOT / "docs/first-pipeline.md").read_text().splitlines()) <= 100

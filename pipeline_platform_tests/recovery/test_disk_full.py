"""A full disk under the stage: a clear message, no manifest, and the next run is right."""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pipeline_platform_tests import pipelines
from pipeline_platform_tests.flow.test_eight_processes import (
    DEFINITIONS,
    PYPROJECT,
    component,
    write,
)
from pipeline_platform_tests.fresh_clone import run
from pipeline_platform_tests.servers.postgres import Database

DAY = datetime(2024, 1, 1, tzinfo=timezone.utc)
KEY = "2024-01-01"
ROWS = 5_000
REPOSITORY = Path(__file__).parents[2]
COLUMNS = "id, placed_at, amount, note, updated_at"
# Inside a mount namespace of its own; afterwards tells what is on the full disk.
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=24k tmpfs "$1" || exit 99
stage=$1; shift
"$@"; code=$?
find "$stage" -type f -printf 'left: %f\n'
exit $code
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
RUN_ONE_WINDOW = """
import json, resource, sys
from pathlib import Path
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.servers.postgres import Database

folder, config, port, name, key = sys.argv[1:]
store = pipelines.postgres_store(Database(int(port), name), Path(folder))
resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, 24_000))
try:
    pipelines.run_window(pipelines.make_pipeline(json.loads(config), Path(folder)), store, key)
except StepFailedError as failed:
    sys.exit(str(failed.error))
"""


def refused(command: Sequence[str]) -> bool:
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    return done.returncode != 0


def require_failed_in_the_transfer(database: Database) -> None:
    with database.connect() as connection:
        [row] = connection.execute(
            "SELECT pipeline_status, error_category, source_to_stage_transfer_phase ->> 'status' "
            "FROM pipeline_platform.pipeline_execution_drive"
        ).fetchall()
    assert row == ("FAILED", "permanent", "FAILED")


def require_right(database: Database) -> None:
    with database.connect() as connection:
        source = connection.execute(f"SELECT {COLUMNS} FROM orders ORDER BY id").fetchall()
        loaded = f"SELECT {COLUMNS} FROM analytics.orders ORDER BY id"
        assert connection.execute(loaded).fetchall() == source
        assert len(source) == ROWS
        assert connection.execute(
            "SELECT pipeline_status, audit_result, target_count "
            "FROM pipeline_platform.pipeline_records"
        ).fetchall() == [("COMPLETED", "PASS", ROWS)]


@pytest.mark.fault_row(16, on="local")
@pytest.mark.skipif(
    refused([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]),
    reason="this system lets nobody mount a disk of their own; the next test needs none",
)
def test_no_space_is_left(tmp_path: Path, postgres: Database) -> None:
    pipelines.create_postgres_orders(postgres, [DAY], ROWS)
    write(tmp_path / "pyproject.toml", PYPROJECT)
    write(tmp_path / "shop/__init__.py", "")
    write(tmp_path / "shop/definitions.py", DEFINITIONS)
    write(tmp_path / "home/dagster.yaml", "telemetry: {enabled: false}\n")
    component(tmp_path, "drive_table", "DriveTable", {"type": "postgres", **postgres.as_config()})
    component(tmp_path, "orders", "WindowedPipeline", pipelines.postgres_config(postgres))
    stage = tmp_path / "stage"
    stage.mkdir()
    command = [sys.executable, "-m", "pipeline_platform.cli", "run", "orders", "--window", KEY]
    environment = {"DAGSTER_HOME": str(tmp_path / "home"), "PYTHONPATH": str(REPOSITORY),
                   "COLUMNS": "400"}  # fmt: skip

    small = [*NAMESPACE, "sh", "-c", ON_A_SMALL_DISK, "sh", str(stage), *command]
    failed = run(small, tmp_path, env=environment, timeout=120)
    told = failed.stdout + failed.stderr
    assert failed.returncode == 1, told
    assert "No space left on device" in told
    assert "Free space on the disk; the next run starts the window's extraction again." in told
    assert "manifest" not in "".join(line for line in told.splitlines() if "left: " in line)
    require_failed_in_the_transfer(postgres)

    healed = run(command, tmp_path, env=environment, timeout=120)
    assert healed.returncode == 0, healed.stdout + healed.stderr
    require_right(postgres)


@pytest.mark.fault_row(16, on="local")
def test_a_file_that_may_not_grow(tmp_path: Path, postgres: Database) -> None:
    """The same by a limit of the process, where a disk of one's own cannot be mounted."""
    pipelines.create_postgres_orders(postgres, [DAY], ROWS)
    config = pipelines.postgres_config(postgres)
    command = [sys.executable, "-c", RUN_ONE_WINDOW, str(tmp_path), json.dumps(config),
               str(postgres.port), postgres.name, KEY]  # fmt: skip
    failed = run(command, REPOSITORY, timeout=120)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "File too large" in failed.stderr
    assert list((tmp_path / "stage").rglob("*.parquet")) == []
    assert list((tmp_path / "stage").rglob("manifest*")) == []
    require_failed_in_the_transfer(postgres)
    store = pipelines.postgres_store(postgres, tmp_path)
    pipelines.run_window(pipelines.make_pipeline(config, tmp_path), store, KEY)
    require_right(postgres)

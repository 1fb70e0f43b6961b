"""A pipeline whose drive table is in Snowflake: runs of Dagster, the sensor, the commands."""

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from rich.console import Console

from pipeline_platform.automation.due_windows import Cursor, RequestedRuns, look
from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.flow.assets import build_assets
from pipeline_platform.flow.catalog import NO_FILE
from pipeline_platform.partitions import partitions_definition
from pipeline_platform.report import records_table, runs_table
from pipeline_platform_tests.fresh_clone import copy_work_tree, run
from pipeline_platform_tests.pipelines import create_duckdb_orders, duckdb_config, make_pipeline
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase

NOON = datetime(2024, 1, 3, 12, tzinfo=timezone.utc)
DAYS = [datetime(2024, 1, day, tzinfo=timezone.utc) for day in (1, 2)]

pytestmark = pytest.mark.filterwarnings(
    "ignore:Specifying a partitions_def on an AssetCheckSpec:dagster.PreviewWarning"
)


def private_key(folder: Path) -> Path:
    """A key of a key pair; the test server checks no login."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "key.p8"
    path.write_bytes(pem)
    return path


def shown(table: Any) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_windows_are_due_run_and_told(
    snowflake_database: SnowflakeDatabase, tmp_path: Path
) -> None:
    create_duckdb_orders(tmp_path / "source.duckdb", DAYS, 10)
    orders = make_pipeline(duckdb_config(), tmp_path)
    partitions = partitions_definition(orders.windows)
    state = {**snowflake_database.as_config(), "type": "snowflake"}
    manager = DriveTableIOManager(state=state, base_dir=str(tmp_path), held_wait_seconds=0)
    store = manager.store
    store.migrate()

    with dg.DagsterInstance.ephemeral() as instance:
        first = look(orders, store, NOON, None, RequestedRuns(instance))
        keys = [request.partition_key for request in first.run_requests or []]
        assert keys == ["2024-01-01", "2024-01-02"]
        for key in (*keys, keys[0]):
            done = dg.materialize(
                build_assets(orders, partitions, NO_FILE), partition_key=key, instance=instance,
                resources={DRIVE_TABLE: manager},
            )  # fmt: skip
            assert done.success
        cursor = Cursor.parse(first.cursor)
        second = look(orders, store, NOON + timedelta(minutes=1), cursor, RequestedRuns(instance))
        assert not second.run_requests

    runs = store.latest_runs("orders", 10)
    assert [run.pipeline_status for run in runs] == ["SKIPPED", *["SUCCESS"] * 2]
    assert runs[1].phases["audit"].phase_specific_details["target_count"] == 10
    [row] = store.query("window_summary", pipeline_name="orders")
    assert (row["completed"], row["pending"], row["held"]) == (2, 0, 0)
    assert "SKIPPED" in shown(runs_table(store, ["orders"], 10))
    assert "2" in shown(records_table(store, ["orders"]))
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM analytics.orders").fetchall() == [(20,)]


@pytest.mark.timeout(300)
def test_one_variable_chooses_it(snowflake_database: SnowflakeDatabase, tmp_path: Path) -> None:
    if snowflake_database.server.is_real:
        pytest.skip("the login of a real account is in its own variables")
    clone = copy_work_tree(tmp_path / "clone")
    create_duckdb_orders(clone / "source.duckdb", DAYS, 10)
    folder = clone / "pipeline_platform/defs/orders"
    folder.mkdir()
    component = {"type": "pipeline_platform.WindowedPipeline", "attributes": duckdb_config()}
    (folder / "defs.yaml").write_text(yaml.safe_dump(component))
    config = snowflake_database.as_config()
    environment = {
        "DRIVE_TABLE": "snowflake",
        "SNOWFLAKE_PRIVATE_KEY_PATH": str(private_key(tmp_path)),
        **{
            f"SNOWFLAKE_{name.upper()}": str(config[name])
            for name in ("account", "user", "database", "host", "port", "protocol")
        },
    }

    def command(*arguments: str) -> str:
        words = [sys.executable, "-m", "pipeline_platform.cli", *arguments]
        done = run(words, clone, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        return done.stdout

    ran = command("run", "orders", "--window", "2024-01-01")
    assert "✓ orders 2024-01-01  SUCCESS: 10 rows" in ran
    told = command("status", "orders")
    assert f"snowflake {config['account']}/{config['database']} pipeline_platform" in told
    assert "orders_20240101T0000Z_run1" in told

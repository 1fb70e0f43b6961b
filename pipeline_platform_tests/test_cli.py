"""The commands as a user types them, in a copy of the project, on real PostgreSQL.

The second pipeline is one new folder with one YAML: 90 minute windows in UTC, PostgreSQL to
PostgreSQL. The drive table is in PostgreSQL too.
"""

import re
import signal
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline_platform_tests.fresh_clone import clean_environment, run
from pipeline_platform_tests.servers.postgres import PostgresServer
from pipeline_platform_tests.shop import Shop, open_shop

WINDOW = "2024-03-10-03:00"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop") / "clone", postgres_server) as shop:
        done = shop.command("status")
        assert done.returncode == 0, done.stderr
        assert "No run yet." in done.stdout
        yield shop


def test_a_second_pipeline_is_one_yaml(shop: Shop) -> None:
    both = ("--window", WINDOW, "--window", "2024-03-10-22:30")
    done = shop.command("run", "shop", *both)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert f"✓ shop {WINDOW}  SUCCESS: 10 rows" in done.stdout
    assert shop.rows(
        "SELECT count(*), count(DISTINCT id), min(placed_at) >= '2024-03-10T03:00Z' "
        "FROM analytics.orders"
    ) == [(20, 20, True)]
    done = shop.command("run", "shop", *both)
    assert done.returncode == 0
    assert done.stdout.count("SKIPPED: already right: 10 rows") == 2
    done = shop.command("run", "shop", "--window", WINDOW, "--force")
    assert done.returncode == 0
    assert [status for status, *_ in shop.runs(WINDOW)] == ["SUCCESS", "SKIPPED", "SUCCESS"]
    assert shop.rows("SELECT count(*) FROM analytics.orders") == [(20,)]
    done = shop.command("status", "shop")
    assert done.returncode == 0
    assert "shop_20240310T0300Z_run3" in done.stdout
    assert "2024-03-10 22:30 UTC" in done.stdout


def test_recheck_shows_late_rows_loads_them_and_only_shows_what_shrank(shop: Shop) -> None:
    """Two windows were moved above."""
    late = "INSERT INTO orders VALUES (5000, '2024-03-10 03:05:00+00', 1, 'late', NULL)"
    with shop.database.connect() as connection:
        connection.execute(late)
    done = shop.command("recheck", "shop", "--dry-run")
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(rf"{WINDOW} +│ shop_\S+ +│ late +│ +10 │ +11 │ +\+1 │", done.stdout)
    assert "as committed" in done.stdout
    assert "2 windows counted: 1 not as committed" in done.stdout
    done = shop.command("recheck", "shop", "--windows", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"✓ shop {WINDOW}  SUCCESS: 11 rows" in done.stdout
    assert "2 windows counted: all as committed" in done.stdout
    with shop.database.connect() as connection:
        connection.execute("DELETE FROM orders WHERE id = 5000")
    done = shop.command("recheck", "shop")
    assert done.returncode == 1
    assert re.search(r"deleted +│ +11 │ +10 │ +-1 │", done.stdout)
    assert "SUCCESS" not in done.stdout
    assert shop.rows("SELECT count(*) FROM analytics.orders") == [(21,)]
    with shop.database.connect() as connection:
        connection.execute(late)


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("run", "shopp", "--window", WINDOW), {}, "Known: flights, shop."),
        (("run", "shop", "--window", "2024-03-10-03:10"), {}, "Keys look like 2024-03-10-03:00"),
        (("run", "shop"), {}, "Missing option '--window'"),
        (("status", "shopp"), {}, "Known: flights, shop."),
        (("recheck", "shopp"), {}, "Known: flights, shop."),
        (("validate", "nowhere"), {}, "does not exist"),
        (("validate", "docs"), {}, "There is no config in docs."),
        (("run", "shop", "--window", WINDOW), {"DAGSTER_HOME": "/no/folder"}, "/no/folder"),
    ],
)
def test_bad_usage(
    shop: Shop, arguments: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    done = shop.command(*arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert done.stdout == ""


def test_outside_a_project_and_without_a_dagster_home(shop: Shop, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline_platform.cli", "run", "shop", "--window", WINDOW]
    done = run(command, tmp_path)
    assert done.returncode == 2
    assert "No Dagster project found" in done.stderr
    (shop.folder / "dagster.yaml").rename(shop.folder / "elsewhere.yaml")
    try:
        done = shop.command("run", "shop", "--window", WINDOW)
    finally:
        (shop.folder / "elsewhere.yaml").rename(shop.folder / "dagster.yaml")
    assert done.returncode == 2
    assert "put a dagster.yaml beside pyproject.toml" in done.stderr


def test_a_failed_window_is_exit_1_and_a_broken_config_exit_2(shop: Shop) -> None:
    command = ("run", "shop", "--window", "2024-03-10-04:30")
    missing = clean_environment()
    assert "SHOP_DB_PASSWORD" not in missing
    try:
        shop.write("shop", "WindowedPipeline", shop.config(source_system={"table": "gone"}))
        done = shop.command(*command)
        assert done.returncode == 1
        assert "FAILED: pre_validation: " in done.stdout
        assert "gone" in done.stdout
        new_york = shop.config(schedule={"timezone": "America/New_York"})
        shop.write("shop", "WindowedPipeline", new_york)
        done = shop.command(*command)
        assert done.returncode == 2
        assert "Windows of 90m are possible in UTC only, not in America/New_York" in done.stderr
    finally:
        shop.write("shop", "WindowedPipeline", shop.config())
    done = run([sys.executable, "-m", "pipeline_platform.cli", *command], shop.folder)
    assert done.returncode == 1
    assert "The environment variable SHOP_DB_PASSWORD is not set." in done.stdout


def test_a_source_that_fails_twice_and_heals(shop: Shop) -> None:
    window = "2024-03-10-06:00"
    waits = shop.config(source_system={"lock_timeout_seconds": 0.3})
    shop.write("shop", "WindowedPipeline", waits)
    try:
        with shop.database.connect() as holder, holder.transaction():
            holder.execute("LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE")
            process = shop.start("run", "shop", "--window", window)
            assert process.stderr is not None
            told = [process.stderr.readline() for _ in range(2)]
        out, _ = process.communicate(timeout=120)
    finally:
        shop.write("shop", "WindowedPipeline", shop.config())
    assert process.returncode == 0, out
    assert [line[:11] for line in told] == ["attempt 1: ", "attempt 2: "]
    assert "SUCCESS after 3 attempts: 10 rows" in out
    runs = shop.runs(window)
    assert [row[:2] for row in runs] == [("FAILED", 0), ("FAILED", 1), ("SUCCESS", 2)]
    assert all((later[2] - row[2]).total_seconds() >= 1 for row, later in pairwise(runs))


@pytest.mark.fault_row(7, on="postgres")
def test_ctrl_c_frees_the_window_and_is_not_retried(shop: Shop) -> None:
    window = "2024-03-10-07:30"
    with shop.database.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE")
        process = shop.start("run", "shop", "--window", window)
        deadline = time.monotonic() + 120
        while not shop.runs(window):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Interrupted; a window that was running is free again." in err
    assert "Traceback" not in out + err
    assert "psycopg" not in err
    assert [row[:2] for row in shop.runs(window)] == [("FAILED", 0)]
    assert shop.rows(
        "SELECT count(*) FROM state.pipeline_records WHERE owner IS NOT NULL OR lease_until > now()"
    ) == [(0,)]
    done = shop.command("run", "shop", "--window", window)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 10 rows" in done.stdout

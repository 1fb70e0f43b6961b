"""How long a retry waits after the failure before it, and which number it has."""

import time
import uuid
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline_platform.flow.run import RunRequest
from pipeline_platform.flow.step import StepFailedError, perform
from pipeline_platform_tests.pipelines import (
    LOG,
    create_postgres_orders,
    make_pipeline,
    postgres_config,
    postgres_store,
    run_window,
)
from pipeline_platform_tests.servers.postgres import Database

DAY = datetime(2024, 1, 1, tzinfo=timezone.utc)
KEY = "2024-01-01"
FIRST_WAIT = 0.6
# What a claim takes besides, on a busy machine.
SLACK = 0.59


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [("exponential", [1, 2, 4]), ("linear", [1, 1, 1]), ("none", [0, 0, 0])],
)
def test_waits_and_numbers(
    tmp_path: Path, postgres: Database, strategy: str, waits: list[int]
) -> None:
    create_postgres_orders(postgres, [DAY], 10)
    store = postgres_store(postgres, tmp_path)
    retry = {"backoff_strategy": strategy, "backoff_seconds": FIRST_WAIT}
    orders = make_pipeline(
        postgres_config(postgres, retry=retry, source_system={"table": "not_there_yet"}), tmp_path
    )
    window = orders.windows.window_of_key(KEY)
    for number in range(4):
        if number == 2:
            time.sleep(FIRST_WAIT / 2)  # what Dagster takes to start the retry counts as waited
        request = RunRequest(uuid.uuid4().hex, first=True, last=False, retry_number=number)
        with pytest.raises(StepFailedError, match="not_there_yet"):
            perform("source", orders, window, store, request, LOG)
    rows = list(reversed(store.latest_runs("orders", 10)))
    assert [row.pipeline_retry_number for row in rows] == [0, 1, 2, 3]
    for wanted, (failed, after) in zip(waits, pairwise(rows), strict=True):
        assert failed.pipeline_end_timestamp is not None
        waited = (after.pipeline_start_timestamp - failed.pipeline_end_timestamp).total_seconds()
        started = FIRST_WAIT / 2 if after is rows[2] else 0.0
        wait = max(wanted * FIRST_WAIT, started)
        assert wait <= waited < wait + SLACK, (wanted, waited)

    with postgres.connect() as connection:
        connection.execute("ALTER TABLE public.orders RENAME TO not_there_yet")
    assert run_window(orders, store, KEY).pipeline_retry_number == 4
    forced = run_window(orders, store, KEY, force=True)
    assert (forced.pipeline_status, forced.pipeline_retry_number) == ("SUCCESS", 0)

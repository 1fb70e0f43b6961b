"""A sensor's questions wait for seconds, whatever the config allows a run."""

import time
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pytest

from pipeline_platform.automation import impatience
from pipeline_platform.automation.due_windows import RequestedRuns
from pipeline_platform.automation.impatience import SECONDS_PER_QUESTION, impatient_pipeline
from pipeline_platform.automation.recheck import look
from pipeline_platform_tests.pipelines import (
    create_postgres_orders,
    make_pipeline,
    postgres_config,
    postgres_store,
    run_window,
)
from pipeline_platform_tests.servers.postgres import Database

DAY = datetime(2024, 1, 1, tzinfo=timezone.utc)


def test_only_the_waits_are_others(postgres: Database, tmp_path: Path) -> None:
    short = {"lock_timeout_seconds": 0.5}
    patient = make_pipeline(postgres_config(postgres, source_system=short), tmp_path)
    quick = impatient_pipeline(patient)
    before, source, target = (
        system.model_dump()
        for system in (
            patient.config.source_system, quick.config.source_system, quick.config.target_system,
        )
    )  # fmt: skip
    assert before["statement_timeout_seconds"] > SECONDS_PER_QUESTION
    assert source["statement_timeout_seconds"] == SECONDS_PER_QUESTION
    assert source["lock_timeout_seconds"] == 0.5
    assert target["lock_timeout_seconds"] == SECONDS_PER_QUESTION
    assert quick.hashes == patient.hashes


def test_a_source_that_is_locked_ends_the_tick_in_time(
    postgres: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impatience, "SECONDS_PER_QUESTION", 0.5)
    create_postgres_orders(postgres, [DAY], 10)
    patient = make_pipeline(postgres_config(postgres), tmp_path)
    store = postgres_store(postgres, tmp_path)
    run_window(patient, store, "2024-01-01")
    quick = impatient_pipeline(patient)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        postgres.connect() as holder,
        holder.transaction(),
    ):
        holder.execute("LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        result = look(quick, store, datetime.now(timezone.utc), None, RequestedRuns(instance))
        assert time.monotonic() - began < 10
    assert isinstance(result.skip_reason, dg.SkipReason)
    assert "cannot count now, nothing is concluded" in str(result.skip_reason.skip_message)

"""A resolved secret is in nobody's text: configs, connectors, stores, errors (goal S3).

Logs, event storage, metadata and manifests of whole runs: flagship/test_canary*.py.
"""

import copy
import json
import pickle
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from pipeline_platform.config.load import parse_config
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.systems import StateSystem
from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.io_manager import DriveTableIOManager
from pipeline_platform.errors import PipelineError
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform_tests.config.examples import values
from pipeline_platform_tests.pipelines import run_window

CANARY = "canary-81c5c1f0d2"
SECRET = "env:SECURITY_TEST_SECRET"
CLOSED = 1
SNOWFLAKE = {
    "type": "snowflake", "account": "acme", "user": "u", "password": SECRET, "database": "d",
    "host": "127.0.0.1", "port": CLOSED, "protocol": "http", "login_timeout_seconds": 1,
    "network_timeout_seconds": 1,
}  # fmt: skip
POSTGRES = {
    "type": "postgres", "host": "127.0.0.1", "port": CLOSED, "sslmode": "disable",
    "database": "d", "user": "u", "password": SECRET, "connect_timeout_seconds": 2,
}  # fmt: skip
STACKS: dict[str, dict[str, Any]] = {
    "flagship": {
        "source_system": {
            "type": "elasticsearch", "hosts": f"http://127.0.0.1:{CLOSED}", "index": "orders",
            "query_field": "at", "api_key": SECRET, "request_timeout_seconds": 1,
        },
        "stage_system": {
            "type": "s3", "bucket": "acme-stage", "access_key_id": SECRET,
            "secret_access_key": SECRET, "session_token": SECRET, "max_attempts": 1,
            "endpoint_url": f"http://127.0.0.1:{CLOSED}",
        },
        "target_system": {**SNOWFLAKE, "schema": "s", "table": "t"},
    },
    "postgres": {
        "source_system": {**POSTGRES, "table": "t", "query_field": "at",
                          "query_field_timezone": "UTC"},
        "target_system": {**POSTGRES, "schema": "s", "table": "t"},
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURITY_TEST_SECRET", CANARY)


@pytest.fixture(params=STACKS)
def config(request: pytest.FixtureRequest) -> PipelineConfig:
    return parse_config(values(**STACKS[request.param])).config


def texts_of(thing: Any, depth: int = 4) -> Iterator[str]:
    """What a debugger, a log line or an error message would show of it, and of its parts."""
    yield repr(thing)
    yield str(thing)
    if depth and hasattr(thing, "__dict__"):
        for part in vars(thing).values():
            yield from texts_of(part, depth - 1)


def test_configs_hold_references_only(config: PipelineConfig) -> None:
    shown = [
        *texts_of(config), config.model_dump_json(), str(config.model_dump()),
        json.dumps(config.model_dump(mode="json")), str(config.hashes()),
        pickle.dumps(config).decode("latin-1"), repr(copy.deepcopy(config)),
        json.dumps(PipelineConfig.model_json_schema()),
    ]  # fmt: skip
    assert CANARY not in "".join(shown)
    assert SECRET in config.model_dump_json()
    assert pickle.loads(pickle.dumps(config)) == config


def test_connectors_hold_references_only(config: PipelineConfig, tmp_path: Path) -> None:
    """Before and after they were used; nobody answers here."""
    pipeline = Pipeline(config, tmp_path)
    parts = (pipeline.source, pipeline.stage, pipeline.target)
    for _ in range(2):
        for part in parts:
            assert CANARY not in "".join(texts_of(part))
            assert CANARY not in str(part.check())
    assert isinstance(getattr(pipeline.stage, "_storage", None), object)


def causes(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def failing(config: PipelineConfig, folder: Path) -> Iterator[Callable[[], object]]:
    pipeline = Pipeline(config, folder)
    window = pipeline.windows.window_of_key("2013-01-01").slice(pipeline.name)
    yield lambda: pipeline.source.count(window)
    yield lambda: pipeline.source.read(window).__enter__()
    yield lambda: pipeline.target.count(window)
    yield lambda: pipeline.target.commit_row(window)
    if config.stage_system.type == "s3":
        yield lambda: pipeline.stage.attempts(window)
    for state in ({**POSTGRES}, {**SNOWFLAKE}):
        adapter: TypeAdapter[Any] = TypeAdapter(StateSystem)
        store = build_store(adapter.validate_python(state), base_dir=folder)
        yield store.migrate
        yield store.now
        yield partial(run_window, pipeline, store, "2013-01-01")


def test_errors_with_all_their_causes_tell_nothing(config: PipelineConfig, tmp_path: Path) -> None:
    seen = 0
    for call in failing(config, tmp_path):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call()
        assert CANARY not in causes(caught.value) + repr(caught.value)
        seen += isinstance(caught.value, PipelineError)
    assert seen >= 6


def test_the_io_manager_is_dagster_config_without_a_secret(tmp_path: Path) -> None:
    """Dagster stores the config of a resource with each run."""
    manager = DriveTableIOManager(state={**POSTGRES}, base_dir=str(tmp_path), held_wait_seconds=0)
    assert CANARY not in "".join([*texts_of(manager), manager.model_dump_json()])
    assert SECRET in manager.model_dump_json()


def test_the_s3_client_shows_no_key(config: PipelineConfig) -> None:
    if config.stage_system.type != "s3":
        return
    bucket = S3Bucket(config.stage_system, Path())  # type: ignore[arg-type]
    assert CANARY not in f"{bucket.client!r} {bucket!r} {vars(bucket)!r} {bucket.client.meta!r}"

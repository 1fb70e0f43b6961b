"""A canary in every credential of commands: their output, Dagster's files and the process list."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_platform_tests.flagship.canary import Canaries, files_below
from pipeline_platform_tests.flagship.credentials import Credentials
from pipeline_platform_tests.flagship.stack import MAPPINGS, Stack
from pipeline_platform_tests.fresh_clone import copy_work_tree, run
from pipeline_platform_tests.servers.elasticsearch import SecuredElasticsearch

DAGSTER = {
    "python_logs": {"managed_python_loggers": ["pipeline_platform"], "python_log_level": "DEBUG"},
    "telemetry": {"enabled": False},
}


@contextmanager
def process_list() -> Iterator[set[str]]:
    """All command lines of the machine while the block runs."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.3):
            listed = subprocess.run(
                ["ps", "-axww", "-o", "args="], capture_output=True, text=True, timeout=30,
                check=True,
            )  # fmt: skip
            seen.update(listed.stdout.splitlines())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project without its pipelines; Dagster's home is in it."""
    folder = copy_work_tree(tmp_path / "clone")
    for name in ("flights", "flights_elasticsearch"):
        (folder / "pipeline_platform/defs" / name / "defs.yaml").unlink()
    (folder / "home").mkdir()
    (folder / "home/dagster.yaml").write_text(yaml.safe_dump(DAGSTER))
    return folder


def write_pipeline(project: Path, config: dict[str, Any]) -> None:
    place = project / "pipeline_platform/defs" / config["pipeline_metadata"]["pipeline_name"]
    place.mkdir()
    component = {"type": "pipeline_platform.WindowedPipeline", "attributes": config}
    (place / "defs.yaml").write_text(yaml.safe_dump(component))


@pytest.mark.timeout(600)
def test_commands_tell_no_secret(
    stack: Stack,
    elasticsearch_secured: SecuredElasticsearch,
    credentials: Credentials,
    project: Path,
) -> None:
    server, has = elasticsearch_secured, credentials
    index = server.new_index(MAPPINGS)
    server.add(index, stack.documents)
    account = {**stack.database.as_config(), "password": None, **has.key_pair()}
    login = {"user": server.user, "password": has.env("search-password", server.password)}
    source = {"hosts": [server.url], "ca_certs": str(server.ca_file), "index": index}
    s3 = {"secret_access_key": has.env("S3-secret", stack.bucket.server.secret_key)}
    orders = stack.config(
        pipeline_metadata={"pipeline_name": "told"}, source_system={**source, **login},
        stage_system=s3, target_system={**account, "table": "told"},
    )  # fmt: skip
    write_pipeline(project, {name: without_nulls(section) for name, section in orders.items()})
    login["password"] = has.env("wrong-password")
    s3["secret_access_key"] = has.env("wrong-S3-secret")
    refused = stack.config(
        pipeline_metadata={"pipeline_name": "refused"}, source_system={**source, **login},
        stage_system=s3, target_system={**account, "table": "refused"},
    )  # fmt: skip
    write_pipeline(project, {name: without_nulls(section) for name, section in refused.items()})
    state = without_nulls({"type": "snowflake", "schema": "pipeline_platform", **account})
    drive_table = project / "pipeline_platform/defs/drive_table/snowflake.yaml"
    drive_table.write_text(yaml.safe_dump(state))
    before = {place for place, _ in files_below(project)}

    texts: list[tuple[str, str | bytes]] = []
    with process_list() as seen:
        for arguments, exit_code in (
            (["run", "told", "--window", stack.key], 0),
            (["run", "refused", "--window", stack.key], 1),
            (["validate"], 2),
        ):
            words = [sys.executable, "-m", "pipeline_platform.cli", *arguments]
            home = {"DRIVE_TABLE": "snowflake", "DAGSTER_HOME": str(project / "home")}
            done = run(words, project, env=home)
            output = done.stdout + done.stderr
            assert done.returncode == exit_code, output
            texts.append((" ".join(arguments), output))
    assert any("pipeline_platform.cli run told" in line for line in seen)
    texts += [("process list", line) for line in seen]
    written = [(place, text) for place, text in files_below(project) if place not in before]
    everything = [*texts, *written]
    assert has.canaries().leaks_in(everything) == {}
    places = " ".join(Canaries({"reason": "unable to authenticate user"}).leaks_in(everything))
    for place in ("run refused", "validate", "home/"):
        assert place in places, (place, places)


def without_nulls(section: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if value is not None}

"""A window goes on where it stopped, and what is right already is not read again."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from pipeline_platform.fault_points import VARIABLE, InjectedFaultError, fault_hook
from pipeline_platform_tests.flagship.outcomes import require_whole
from pipeline_platform_tests.flagship.stack import Stack
from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.servers.http_proxy import HttpProxy, is_search

EXPIRE_LEASE = (
    "UPDATE pipeline_platform.pipeline_records "
    "SET lease_until = DATEADD('hour', -1, lease_until) WHERE owner IS NOT NULL"
)


def documents_read(proxy: HttpProxy) -> bool:
    """Whether any request since the last look could have brought documents."""
    requests = list(proxy.requests)
    proxy.requests.clear()
    searches = [request.json for request in requests if is_search(request)]
    assert searches, "the source was not even counted"
    return any(search["size"] > 0 for search in searches)


def test_what_is_staged_or_right_is_not_read_again(
    stack: Stack, elasticsearch_proxy: HttpProxy
) -> None:
    config = stack.through(elasticsearch_proxy.url)
    stack.add(10)

    def fail(name: str) -> None:
        if name == "load.before_begin":
            raise InjectedFaultError("Injected.")

    with fault_hook(fail):
        failed = stack.run(config)
    assert failed["phase_failed"] == "stage_to_target_transfer"
    assert documents_read(elasticsearch_proxy)

    resumed = stack.run(config)
    assert resumed["pre_validation_phase"]["phase_specific_details"]["action"] == "continue"
    assert resumed["source_to_stage_transfer_phase"]["status"] == "SKIPPED"
    assert not documents_read(elasticsearch_proxy)
    assert stack.rows() == stack.expected()

    again = stack.run(config)
    assert again["pipeline_status"] == "SKIPPED"
    assert not documents_read(elasticsearch_proxy)


def test_killed_between_copy_and_commit(stack: Stack) -> None:
    server = stack.database.server
    if server.is_real:
        pytest.skip("the sessions of a process that died are the account's to end")
    before = stack.rows()
    stack.add(10)
    port: Any = server.config["port"]
    with HttpProxy(f"http://127.0.0.1:{port}") as snowflake:
        through = {"port": int(snowflake.url.rpartition(":")[2])}
        order = {
            "config": stack.config(target_system=through),
            "state": stack.state,
            "folder": str(stack.folder),
            "key": stack.key,
        }
        died = subprocess.run(
            [sys.executable, "-m", "pipeline_platform_tests.flagship.worker"],
            input=json.dumps(order), env={**os.environ, VARIABLE: "load.before_commit:kill"},
            cwd=ROOT, text=True, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert died.returncode == -signal.SIGKILL, died.stderr
    assert stack.rows() == before
    [running] = stack.query(
        "SELECT epoch, pipeline_status FROM pipeline_platform.pipeline_execution_drive "
        "ORDER BY epoch DESC LIMIT 1"
    )
    assert running["pipeline_status"] == "RUNNING"

    end_sessions(snowflake)
    with stack.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(EXPIRE_LEASE)
    row = stack.run()
    assert row["epoch"] == running["epoch"] + 1
    assert row["source_to_stage_transfer_phase"]["status"] == "SKIPPED"
    assert (row["pipeline_status"], stack.rows()) == ("SUCCESS", stack.expected())
    [dead] = stack.query(
        "SELECT pipeline_status, phase_failed FROM pipeline_platform.pipeline_execution_drive "
        f"WHERE epoch = {running['epoch']}"
    )
    assert dead == {"pipeline_status": "FAILED", "phase_failed": "stage_to_target_transfer"}
    left = stack.query("SHOW TABLES LIKE 'ORDERS_LOAD_%' IN SCHEMA analytics")
    assert left == []


def end_sessions(snowflake: HttpProxy) -> None:
    """What Snowflake does with the sessions of a client that is gone: their transactions end."""
    tokens = {request.headers.get("Authorization", "") for request in snowflake.requests}
    for token in tokens:
        if "Token=" in token and "None" not in token:
            url = f"{snowflake.upstream.geturl()}/session?delete=true"
            headers = {"Authorization": token}
            request = urllib.request.Request(url, method="POST", headers=headers, data=b"{}")
            urllib.request.urlopen(request, timeout=10).close()


@pytest.mark.parametrize("way", ["put", "external stage"])
def test_many_files_are_counted_one_by_one(stack: Stack, way: str) -> None:
    stack.add(10)
    changes: dict[str, Any] = {"stage_system": {"rows_per_file": 300, "rows_per_group": 100}}
    if way == "external stage":
        if stack.database.server.is_real:
            pytest.skip("an account needs an integration to read a bucket")
        with stack.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE STAGE landing URL = 's3://{stack.bucket.name}/stage/'")
        changes["target_system"] = {"external_stage": "public.landing"}
    row = stack.run(stack.config(**changes))
    require_whole(stack, row)
    files = stack.manifest(row["epoch"])["files"]
    number = len(stack.documents)
    assert [file["rows"] for file in files] == [300] * (number // 300) + [number % 300]
    details = row["stage_to_target_transfer_phase"]["phase_specific_details"]
    assert details["rows_copied"] == number
    assert len(details["query_ids"]["COPY"]) == 1

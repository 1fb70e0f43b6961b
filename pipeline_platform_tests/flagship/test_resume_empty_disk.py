"""Workers die on the way of a great window; each next one starts with an empty disk.

What the server itself counted says which of them read documents.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch.helpers import bulk

from pipeline_platform.fault_points import VARIABLE
from pipeline_platform_tests.flagship.stack import MAPPINGS, Stack, order
from pipeline_platform_tests.flagship.test_resume import EXPIRE_LEASE
from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.servers.s3 import S3Server
from pipeline_platform_tests.servers.snowflake import SnowflakeServer

DOCUMENTS = 200_000
PAGE = 2_000
PAGES = DOCUMENTS // PAGE
LONGEST_SECONDS = 120.0


@pytest.fixture
def great(
    elasticsearch_server: ElasticsearchServer,
    s3_server: S3Server,
    snowflake_server: SnowflakeServer,
    tmp_path: Path,
) -> Iterator[Stack]:
    if snowflake_server.is_real:
        pytest.skip("the sessions of a process that died are the account's to end")
    bucket, database = s3_server.new_bucket(), snowflake_server.new_database()
    index = elasticsearch_server.new_index(MAPPINGS, {"number_of_shards": 2})
    stack = Stack(elasticsearch_server, index, bucket, database, tmp_path, name="great")
    stack.store.migrate()
    actions = ({"_op_type": "create", "_source": order(number)} for number in range(DOCUMENTS))
    bulk(elasticsearch_server.client(), actions, index=index, refresh=True, chunk_size=5_000)
    yield stack
    elasticsearch_server.client().indices.delete(index=index)
    snowflake_server.drop(database)
    bucket.drop()


class Workers:
    """Processes that move the day, one after another, each in an empty folder of its own."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._number = 0

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        self._number += 1
        disk = self._folder / f"disk{self._number}"
        (disk / "tmp").mkdir(parents=True)
        stack = self._stack
        source = {"batch_rows": PAGE, "page_bytes": 8 << 20, "request_timeout_seconds": 60}
        given = {
            "config": stack.config(source_system=source), "state": stack.state,
            "folder": str(disk), "key": stack.key,
        }  # fmt: skip
        own = {"HOME": str(disk), "TMPDIR": str(disk / "tmp"), "PYTHONPATH": str(ROOT)}
        worker = subprocess.Popen(
            [sys.executable, "-m", "pipeline_platform_tests.flagship.worker"],
            cwd=disk, env={**os.environ, **own, **environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(given))
        worker.stdin.close()
        worker.stdin = None
        return worker

    def end(self, worker: "subprocess.Popen[str]") -> int:
        """Its exit code; nobody else may have the window afterwards."""
        told, _ = worker.communicate(timeout=LONGEST_SECONDS)
        assert worker.returncode in (0, -signal.SIGKILL), told
        with self._stack.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(EXPIRE_LEASE)
        return worker.returncode


class Searches:
    """What the server counted since the last look: searches, and those that brought documents."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._seen = self._now()

    def _now(self) -> tuple[int, int]:
        client = self._stack.server.client()
        found = client.indices.stats(index=self._stack.index, metric="search")
        search = found["_all"]["primaries"]["search"]
        return search["query_total"], search["fetch_total"]

    def since(self) -> tuple[int, int]:
        """Per shard; without forgetting them."""
        (queries, fetches), (before, fetched) = self._now(), self._seen
        return queries - before, fetches - fetched

    def forget(self) -> None:
        self._seen = self._now()


def test_of_three_workers_the_last_reads_nothing(great: Stack, tmp_path: Path) -> None:
    workers, searches = Workers(great, tmp_path), Searches(great)

    killed = workers.start()
    deadline = time.monotonic() + LONGEST_SECONDS
    while searches.since()[1] < PAGES // 3:
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert workers.end(killed) == -signal.SIGKILL
    assert searches.since()[1] < PAGES
    assert "manifest.json" not in great.staged(1)

    searches.forget()
    ready = workers.start(**{VARIABLE: "load.before_commit_row:kill"})
    assert workers.end(ready) == -signal.SIGKILL
    assert searches.since()[1] >= PAGES
    manifest = great.manifest(2)
    assert (manifest["snapshot_count"], manifest["rows"]) == (DOCUMENTS, DOCUMENTS)

    searches.forget()
    assert workers.end(workers.start()) == 0
    queries, fetches = searches.since()
    assert fetches == 0
    assert 0 < queries <= 10
    require_all(great)

    searches.forget()
    assert great.run()["pipeline_status"] == "SKIPPED"
    assert searches.since()[1] == 0


def require_all(stack: Stack) -> None:
    """Every document once, as it was indexed; one run that succeeded, none still running."""
    [found] = stack.query(
        "SELECT count(*) AS n, count(DISTINCT id) AS ids, min(id) AS least, max(id) AS greatest, "
        "count_if(note = 'n' || id || ' ä') AS same, "
        'count_if(DATE_PART(EPOCH_MILLISECOND, "AT") = '
        f"{int(stack.day.timestamp() * 1000)} + FLOOR(id / 1000)) AS timed FROM analytics.great"
    )
    assert (found["least"], found["greatest"]) == (0, DOCUMENTS - 1)
    assert {found[name] for name in ("n", "ids", "same", "timed")} == {DOCUMENTS}
    runs = stack.query(
        "SELECT pipeline_status FROM pipeline_platform.pipeline_execution_drive ORDER BY epoch"
    )
    assert [run["pipeline_status"] for run in runs] == ["FAILED", "FAILED", "SUCCESS"]

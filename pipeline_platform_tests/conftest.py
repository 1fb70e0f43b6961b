"""Fixtures of all tests: servers once per session, started when a test asks for one.

Each test gets a database, an index or a bucket of its own.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import pytest
from hypothesis import settings

from pipeline_platform_tests.faults.rows import pytest_configure
from pipeline_platform_tests.servers.elasticsearch import (
    ElasticsearchCluster,
    ElasticsearchServer,
    SecuredElasticsearch,
)
from pipeline_platform_tests.servers.elasticsearch import elasticsearch_server as new_elasticsearch
from pipeline_platform_tests.servers.fakesnow import snowflake_server as new_snowflake_server
from pipeline_platform_tests.servers.http_proxy import HttpProxy
from pipeline_platform_tests.servers.left_out import (
    in_environment,
    or_left_out,
    pytest_terminal_summary,
)
from pipeline_platform_tests.servers.logs import pytest_runtest_makereport
from pipeline_platform_tests.servers.postgres import Database, PostgresServer
from pipeline_platform_tests.servers.s3 import S3Bucket, S3Server
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase, SnowflakeServer
from pipeline_platform_tests.servers.toxiproxy import Toxiproxy, toxiproxy_server
from pipeline_platform_tests.servers.versitygw import s3_server as new_s3_server
from pipeline_platform_tests.temporary import temporary_files_in_memory

__all__ = ["pytest_configure", "pytest_runtest_makereport", "pytest_terminal_summary"]

temporary_files_in_memory()

# The one that make names is the user's.
os.environ.pop("DAGSTER_HOME", None)
# What one of the many processes compiles, the next need not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The first example of a test may pay for an import; time is not what these tests are about.
settings.register_profile("tests", deadline=None, database=None)
settings.load_profile("tests")

_LONG_STORY_SECONDS = 600


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long stories come first, module by module: at the end one would run alone, while the other
    workers have ended. Those that wait are all in the first worker's share of the tests, one after
    another, so that there is always something to do meanwhile."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    stories: list[dict[str, list[pytest.Item]]] = [{} for _ in range(workers)]
    busy: dict[str, int] = {}
    for item in filter(_is_long, items):
        module = item.nodeid.partition("::")[0]
        worker = 0
        if item.get_closest_marker("waits") is None and workers > 1:
            worker = 1 + busy.setdefault(module, len(busy)) % (workers - 1)
        stories[worker].setdefault(module, []).append(item)
    others = iter([item for item in items if not _is_long(item)])
    ordered: list[pytest.Item] = []
    for worker, modules in enumerate(stories):
        share = (len(items) - len(ordered)) // (workers - worker)
        first = [item for module in modules.values() for item in module]
        ordered += [*first, *islice(others, max(share - len(first), 0))]
    items[:] = [*ordered, *others]


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look through it again, and
    what tests leave is less than it is made for."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure(config: pytest.Config) -> None:
    """At its end Python clears away all that it can see, which takes a worker seconds."""
    if not hasattr(config, "workerinput"):
        gc.unfreeze()


def _is_long(item: pytest.Item) -> bool:
    limit = item.get_closest_marker("timeout")
    return limit is not None and limit.args[0] >= _LONG_STORY_SECONDS


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[Database]:
    database = postgres_server.new_database()
    yield database
    postgres_server.drop(database)


@pytest.fixture(scope="session")
def elasticsearch_server() -> Iterator[ElasticsearchServer]:
    """One node without security."""
    with or_left_out(new_elasticsearch()) as server:
        yield server


@pytest.fixture(scope="session")
def elasticsearch_nodes() -> Iterator[ElasticsearchCluster]:
    with or_left_out(ElasticsearchCluster()) as cluster:
        yield cluster


@pytest.fixture
def elasticsearch_cluster(
    elasticsearch_nodes: ElasticsearchCluster,
) -> Iterator[ElasticsearchCluster]:
    """Two nodes; a test may kill the second, it is started again afterwards."""
    yield elasticsearch_nodes
    elasticsearch_nodes.repair()


@pytest.fixture(scope="session")
def elasticsearch_secured() -> Iterator[SecuredElasticsearch]:
    """One node with TLS and login."""
    with or_left_out(SecuredElasticsearch()) as server, in_environment(server.environment):
        yield server


@pytest.fixture
def elasticsearch_proxy(elasticsearch_server: ElasticsearchServer) -> Iterator[HttpProxy]:
    """A proxy before the node, without faults as yet."""
    with HttpProxy(elasticsearch_server.url, elasticsearch_server.ca_file) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with or_left_out(new_s3_server()) as server, in_environment(server.environment):
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[S3Bucket]:
    bucket = s3_server.new_bucket()
    yield bucket
    bucket.drop()


@pytest.fixture(scope="session")
def snowflake_server(request: pytest.FixtureRequest) -> Iterator[SnowflakeServer]:
    """It reads `s3://` stages from `s3_server`, where this machine can run that."""
    s3: S3Server | None = None
    with suppress(pytest.skip.Exception):
        s3 = request.getfixturevalue("s3_server")
    with or_left_out(new_snowflake_server(s3)) as server, in_environment(server.environment):
        yield server


@pytest.fixture
def snowflake_database(snowflake_server: SnowflakeServer) -> Iterator[SnowflakeDatabase]:
    database = snowflake_server.new_database()
    yield database
    snowflake_server.drop(database)


@pytest.fixture(scope="session")
def toxiproxy() -> Iterator[Toxiproxy]:
    with or_left_out(toxiproxy_server()) as server:
        yield server

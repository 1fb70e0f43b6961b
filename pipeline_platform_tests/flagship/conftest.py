"""One stack for the tests of a file; each test adds documents, so that its window is due again."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pipeline_platform_tests.flagship.canary_places import EVERYTHING, Home, Told
from pipeline_platform_tests.flagship.credentials import Credentials
from pipeline_platform_tests.flagship.outcomes import require_whole
from pipeline_platform_tests.flagship.stack import MAPPINGS, Stack
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.servers.s3 import S3Server
from pipeline_platform_tests.servers.snowflake import SnowflakeServer

PREVIEW = "ignore:Specifying a partitions_def on an AssetCheckSpec:dagster.PreviewWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(PREVIEW))


@pytest.fixture(scope="module")
def stack(
    elasticsearch_server: ElasticsearchServer,
    s3_server: S3Server,
    snowflake_server: SnowflakeServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    bucket, database = s3_server.new_bucket(), snowflake_server.new_database()
    index = elasticsearch_server.new_index(MAPPINGS, {"number_of_shards": 2})
    stack = Stack(elasticsearch_server, index, bucket, database, tmp_path_factory.mktemp("stack"))
    stack.store.migrate()
    stack.add(2_000)
    require_whole(stack, stack.run())
    yield stack
    elasticsearch_server.drop_indices()
    snowflake_server.drop(database)
    bucket.drop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Credentials:
    return Credentials(monkeypatch)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("dagster_home")
    with dg.DagsterInstance.local_temp(str(folder), {"python_logs": EVERYTHING}) as instance:
        yield Home(folder, instance)


@pytest.fixture
def told(
    stack: Stack,
    home: Home,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Told:
    return Told(stack, home, caplog, capfd)

"""All pairs of systems that there are, on servers that somebody else starts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline_platform_tests.faults.pair import Pair, Worker
from pipeline_platform_tests.faults.systems import (
    DuckDBWarehouse,
    ElasticsearchSource,
    PostgresSource,
    PostgresWarehouse,
    SnowflakeWarehouse,
    Source,
    Warehouse,
)
from pipeline_platform_tests.servers.http_proxy import HttpProxy

QUICK_PAIRS = (
    "postgres-postgres", "elasticsearch-duckdb", "postgres-duckdb", "elasticsearch-postgres",
)  # fmt: skip
SNOWFLAKE_PAIRS = ("postgres-snowflake", "elasticsearch-snowflake")
PAIRS = (*QUICK_PAIRS, *SNOWFLAKE_PAIRS)

Servers = Callable[[str], Any]
"""The running server of a name: postgres, elasticsearch or snowflake."""


@contextmanager
def new_pair(
    name: str, servers: Servers, workers: tuple[Worker, Worker] | None = None
) -> Iterator[Pair]:
    """`<source>-<target>`, with databases of its own, which end with their servers."""
    source_name, _, target_name = name.partition("-")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="pipeline-faults-")))
        source = _source(source_name, servers)
        warehouse = _warehouse(target_name, servers, stack, folder)
        if workers is None:
            workers = stack.enter_context(two_workers())
        yield Pair(name, source, warehouse, folder, workers)


@contextmanager
def two_workers() -> Iterator[tuple[Worker, Worker]]:
    """They end with the block."""
    workers = Worker(), Worker()
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


def _source(name: str, servers: Servers) -> Source:
    server = servers(name)
    if name == "elasticsearch":
        return ElasticsearchSource(server)
    return PostgresSource(server.new_database())


def _warehouse(name: str, servers: Servers, stack: ExitStack, folder: Path) -> Warehouse:
    if name == "duckdb":
        return DuckDBWarehouse(folder)
    server = servers(name)
    database = server.new_database()
    if name == "postgres":
        return PostgresWarehouse(database)
    proxy = stack.enter_context(HttpProxy(f"http://127.0.0.1:{server.port}"))
    return SnowflakeWarehouse(database, proxy)

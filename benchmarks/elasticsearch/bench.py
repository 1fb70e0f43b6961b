"""A run of the Elasticsearch part: its server, its indices, and worlds that read from them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import Bench
from benchmarks.data import DAY, FIRST_DAY
from benchmarks.elasticsearch.documents import SMALL, Shape
from benchmarks.elasticsearch.indexing import SHARDS, new_index
from benchmarks.elasticsearch.install import peers
from benchmarks.elasticsearch.sides.side import Job
from benchmarks.world import World
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.servers.elasticsearch.node import SINGLE_NODE, ElasticsearchNode

KIND = "elasticsearch"
HEAP_MEGABYTES = 1024
# With the collector of the tests' node, the memory in use is mostly garbage for much of the time.
SETTINGS = {**SINGLE_NODE, "indices.breaker.total.use_real_memory": "false"}
DOCUMENTS = 200_000
"""Of the window that the sides deliver."""


@dataclass
class SearchBench(Bench):
    """Beside a server on the same machine. Indices are made at their first use and kept."""

    node: ElasticsearchNode
    shape: Shape = SMALL
    indices: dict[tuple[str, tuple[int, ...]], str] = field(default_factory=dict)

    def of(self, shape: Shape) -> "SearchBench":
        """The same with documents of this shape."""
        return replace(self, shape=shape)

    def index(self, documents_of_days: Sequence[int]) -> str:
        """Two shards, so many documents in each day."""
        key = (self.shape.name, tuple(documents_of_days))
        if key not in self.indices:
            self.indices[key] = new_index(self.node, self.shape, documents_of_days)
        return self.indices[key]

    @property
    def documents(self) -> int:
        """Of the window that the sides deliver."""
        return self.rows(DOCUMENTS)

    def job(self, folder: Path, documents_of_days: Sequence[int] = (), day: int = 0) -> Job:
        """A day of such an index, by default that window, to be delivered into an empty folder."""
        index = self.index(documents_of_days or [self.documents])
        start = FIRST_DAY + day * DAY
        bounds = (start.isoformat(), (start + DAY).isoformat())
        return Job(self.node.url, index, *bounds, str(folder))

    @contextmanager
    def world(self, kind: str, rows_of_days: list[int]) -> Iterator[World]:
        """From an index of so many documents in each day into a DuckDB file."""
        assert kind == KIND
        source = {
            "type": "elasticsearch",
            "hosts": [self.node.url],
            "index": self.index(rows_of_days),
            "query_field": "placed_at",
        }
        with TemporaryDirectory(prefix="pipeline-platform-bench-") as name:
            folder = Path(name)
            yield World(kind, folder, pipelines.duckdb_store(folder), None, source=source)

    def versions(self) -> Mapping[str, str]:
        """The server's and the peers'."""
        server = self.node.client().info()["version"]["number"]
        return {"Elasticsearch": str(server), **peers().versions()}


def default_slices() -> int:
    """As many readers as the platform chooses for an index of two shards."""
    return min(SHARDS, os.cpu_count() or 1)


@contextmanager
def elasticsearch_bench(quick: bool) -> Iterator[SearchBench]:
    """With a server of its own on this machine, whose cores it shares with its readers."""
    with ElasticsearchNode(
        heap_megabytes=HEAP_MEGABYTES, quick_start=False, settings=SETTINGS
    ) as node:
        yield SearchBench(quick, node)

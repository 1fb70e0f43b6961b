"""Two nodes of Elasticsearch, the second of which may be killed."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from typing_extensions import Self

from pipeline_platform_tests.servers.compose import new_project
from pipeline_platform_tests.servers.elasticsearch.node import ElasticsearchNode
from pipeline_platform_tests.servers.elasticsearch.server import ElasticsearchServer

BOTH = {"wait_for_nodes": "2"}


class ElasticsearchCluster(ElasticsearchServer):
    """Start with `with ElasticsearchCluster() as cluster`.

    `first` answers requests and holds the cluster together; `second` only has data, so that the
    cluster goes on without it. Clients of the cluster speak to `first`.
    """

    def __init__(self, *, heap_megabytes: int = 256) -> None:
        super().__init__()
        self.first = ElasticsearchNode(heap_megabytes=heap_megabytes, health=BOTH)
        self.second = ElasticsearchNode(name="node-2", heap_megabytes=heap_megabytes, health=BOTH)
        seeds = f"127.0.0.1:{self.first.transport_port},127.0.0.1:{self.second.transport_port}"
        together = {
            "discovery.seed_hosts": seeds,
            "cluster.initial_master_nodes": self.first.name,
        }
        self.first.settings = together
        self.second.settings = {**together, "node.roles": "data,ingest"}
        self.url = self.first.url
        self.first.service, self.second.service = "elasticsearch-node-1", "elasticsearch-node-2"
        self.second.port_variable = "ELASTICSEARCH_SECOND_PORT"
        self.first.project = self.second.project = new_project()

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(2) as pool:
            starts = [pool.submit(node.start) for node in (self.first, self.second)]
        for start in starts:
            if start.exception() is not None:
                self.__exit__()
            start.result()
        return self

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self.second.__exit__(*details)
        self.first.__exit__(*details)

    def new_split_index(self, mappings: Mapping[str, Any] | None = None) -> str:
        """A fresh index with a shard on each node and no replicas."""
        name = self.new_index(
            mappings,
            {"number_of_shards": 2, "routing.allocation.total_shards_per_node": 1},
        )
        self.client().cluster.health(index=name, wait_for_status="green", timeout="20s")
        return name

    def repair(self) -> None:
        """Start the second node if it does not run; remove all indices of the tests."""
        if not self.second.is_running:
            self.second.start()
        self.drop_indices()

    def log(self) -> str:
        """The ends of both nodes' logs."""
        return f"{self.first.log()}\n--- second node ---\n{self.second.log()}"

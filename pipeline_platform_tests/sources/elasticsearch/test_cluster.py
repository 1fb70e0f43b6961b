"""One of two nodes is killed, and with it half of the documents: never a part of a window."""

from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.errors import TransientError
from pipeline_platform.sources.elasticsearch.source import ElasticsearchSource
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchCluster
from pipeline_platform_tests.sources.contract import START, WINDOW
from pipeline_platform_tests.sources.elasticsearch.documents import (
    ORDERS,
    Documents,
    ids_of,
    rows_of,
)

ROWS = 1_000


@pytest.fixture
def orders(elasticsearch_cluster: ElasticsearchCluster, tmp_path: Path) -> Documents:
    documents = Documents(elasticsearch_cluster, tmp_path)
    index = elasticsearch_cluster.new_split_index({"properties": ORDERS})
    documents.take("orders", index, ORDERS)
    documents.insert("orders", [(n, START) for n in range(ROWS)])
    return documents


def source_of(orders: Documents, **settings: Any) -> ElasticsearchSource:
    return orders.source(**{"busy_timeout_seconds": 1, "request_timeout_seconds": 10, **settings})


@pytest.mark.fault_row(10)
def test_node_killed_before_the_read(
    elasticsearch_cluster: ElasticsearchCluster, orders: Documents
) -> None:
    source = source_of(orders)
    elasticsearch_cluster.second.kill()
    with pytest.raises(TransientError):
        source.count(WINDOW)
    with pytest.raises(TransientError), source.read(WINDOW):
        pass
    (failed,) = [check for check in source.check() if not check.passed]
    assert (failed.name, failed.transient) == ("source readable", True)
    elasticsearch_cluster.second.start()
    assert ids_of(source_of(orders, busy_timeout_seconds=30)) == list(range(ROWS))


@pytest.mark.fault_row(10, 11)
def test_node_killed_during_the_read(
    elasticsearch_cluster: ElasticsearchCluster, orders: Documents
) -> None:
    with source_of(orders, batch_rows=20).read(WINDOW) as snapshot:
        next(snapshot.batches)
        elasticsearch_cluster.second.kill()
        with pytest.raises(TransientError):
            rows_of(snapshot)
    elasticsearch_cluster.second.start()
    assert ids_of(source_of(orders, busy_timeout_seconds=30)) == list(range(ROWS))

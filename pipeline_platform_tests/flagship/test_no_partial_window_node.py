"""One of two nodes is killed, and with it the only copy of half of the documents."""

from dataclasses import replace

import pytest

from pipeline_platform_tests.flagship.outcomes import (
    hurry,
    require_nothing,
    require_whole,
    while_reading,
)
from pipeline_platform_tests.flagship.stack import MAPPINGS, Stack
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchCluster


@pytest.fixture
def split(stack: Stack, elasticsearch_cluster: ElasticsearchCluster) -> Stack:
    """A shard on each node, without replicas."""
    index = elasticsearch_cluster.new_split_index(MAPPINGS)
    return replace(stack, server=elasticsearch_cluster, index=index, documents=[])


@pytest.mark.fault_row(10, 11, on="elasticsearch")
def test_killed_while_it_is_read_and_before(
    split: Stack, elasticsearch_cluster: ElasticsearchCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    split.add(3_000)
    require_whole(split, split.run())
    before = split.rows()
    split.add(10)
    second = elasticsearch_cluster.second

    with while_reading(second.kill):
        row = split.run()
    require_nothing(split, row, before, "HTTP 503|shards answered|point in time")

    assert not second.is_running
    row = split.run()
    require_nothing(split, row, before, "HTTP 503|shards answered", phase="pre_validation")

    second.start()
    elasticsearch_cluster.client().cluster.health(
        index=split.index, wait_for_status="green", timeout="30s"
    )
    require_whole(split, split.run())

"""What other tests rely on in the Elasticsearch servers."""

import pytest
from elasticsearch import ApiError

from pipeline_platform_tests.servers.elasticsearch import ElasticsearchCluster, ElasticsearchServer


def test_documents_are_found_in_a_fresh_index(elasticsearch_server: ElasticsearchServer) -> None:
    index = elasticsearch_server.new_index({"properties": {"at": {"type": "date_nanos"}}})

    added = elasticsearch_server.add(
        index, [{"at": "2024-01-01T00:00:00.999999999Z"}, {"at": "2024-01-02T00:00:00Z"}]
    )

    client = elasticsearch_server.client()
    day = {"range": {"at": {"gte": "2024-01-01T00:00:00Z", "lt": "2024-01-02T00:00:00Z"}}}
    assert added == 2
    assert client.count(index=index, query=day)["count"] == 1
    assert client.info()["version"]["number"].startswith("8.")


def test_a_template_makes_a_data_stream(elasticsearch_server: ElasticsearchServer) -> None:
    client = elasticsearch_server.client()
    stream = elasticsearch_server.new_name()
    client.indices.put_index_template(
        name=stream, index_patterns=[stream], data_stream={}, priority=500
    )

    elasticsearch_server.add(stream, [{"@timestamp": "2024-01-01T00:00:00Z"}])

    found = client.indices.resolve_index(name=stream)["data_streams"]
    point_in_time = client.open_point_in_time(index=stream, keep_alive="1m")["id"]
    page = client.search(pit={"id": point_in_time}, sort=["_shard_doc"])
    assert [each["name"] for each in found] == [stream]
    assert page["hits"]["hits"][0]["_index"].startswith(f".ds-{stream}-")
    client.close_point_in_time(id=point_in_time)


def test_without_its_second_node_a_cluster_answers_with_half(
    elasticsearch_cluster: ElasticsearchCluster,
) -> None:
    client = elasticsearch_cluster.client()
    index = elasticsearch_cluster.new_split_index()
    elasticsearch_cluster.add(index, ({"n": n} for n in range(100)))
    point_in_time = client.open_point_in_time(index=index, keep_alive="5m")["id"]

    elasticsearch_cluster.second.kill()
    client.cluster.health(wait_for_nodes="1", timeout="20s")

    page = client.search(pit={"id": point_in_time}, size=100)
    count = client.count(index=index)
    assert page["_shards"]["failed"] == count["_shards"]["failed"] == 1
    assert len(page["hits"]["hits"]) == count["count"] < 100
    with pytest.raises(ApiError) as refused:
        client.search(index=index, allow_partial_search_results=False)
    assert refused.value.meta.status == 503

    elasticsearch_cluster.second.start()
    assert client.count(index=index)["count"] == 100

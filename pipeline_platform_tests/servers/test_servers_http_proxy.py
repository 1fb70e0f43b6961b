"""What other tests rely on in the HTTP proxy before Elasticsearch."""

import time
import urllib.request
from http.client import IncompleteRead

import pytest
from elasticsearch import (
    ApiError,
    ConnectionError,
    ConnectionTimeout,
    Elasticsearch,
    SerializationError,
)

from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.servers.http_proxy import HttpProxy, is_search


@pytest.fixture
def index(elasticsearch_server: ElasticsearchServer) -> str:
    index = elasticsearch_server.new_index()
    elasticsearch_server.add(index, [{"n": n} for n in range(10)])
    return index


@pytest.fixture
def client(
    elasticsearch_server: ElasticsearchServer, elasticsearch_proxy: HttpProxy
) -> Elasticsearch:
    """Its requests go through the proxy, and it tries each once."""
    return elasticsearch_server.client(hosts=[elasticsearch_proxy.url], max_retries=0)


def test_requests_pass_and_are_recorded(
    client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str
) -> None:
    found = client.search(index=index, size=3)

    (request,) = elasticsearch_proxy.requests
    assert len(found["hits"]["hits"]) == 3
    assert (request.method, request.path) == ("POST", f"/{index}/_search")
    assert request.json == {"size": 3}


def test_so_many_requests_are_refused(
    client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str
) -> None:
    elasticsearch_proxy.refuse(429, times=2)

    statuses = []
    for _ in range(3):
        try:
            statuses.append(client.search(index=index).meta.status)
        except ApiError as refused:
            statuses.append(refused.meta.status)

    assert statuses == [429, 429, 200]


def test_for_so_long_requests_are_refused(
    client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str
) -> None:
    elasticsearch_proxy.refuse(503, seconds=0.3)
    with pytest.raises(ApiError, match="503"):
        client.search(index=index)
    time.sleep(0.3)
    assert client.search(index=index).meta.status == 200


def test_a_fault_is_about_the_requests_it_names(
    client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str
) -> None:
    broken = elasticsearch_proxy.break_circuit(when=is_search)

    with pytest.raises(ApiError, match="circuit_breaking_exception"):
        client.search(index=index)

    assert client.count(index=index)["count"] == 10
    assert broken.met == 1


def test_a_body_is_cut(client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str) -> None:
    elasticsearch_proxy.cut_body(100, when=is_search)
    with pytest.raises(ConnectionError):
        client.search(index=index)
    with (
        urllib.request.urlopen(f"{elasticsearch_proxy.url}/{index}/_search", timeout=10) as answer,
        pytest.raises(IncompleteRead) as cut,
    ):
        answer.read()
    assert len(cut.value.partial) == 100


def test_a_body_is_not_json(
    client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str
) -> None:
    elasticsearch_proxy.corrupt(when=is_search)
    with pytest.raises(SerializationError):
        client.search(index=index)


def test_a_body_is_rewritten(
    client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str
) -> None:
    elasticsearch_proxy.rewrite(lambda page: page.update(timed_out=True), when=is_search, times=1)

    assert client.search(index=index)["timed_out"]
    assert not client.search(index=index)["timed_out"]


def test_an_answer_hangs_until_it_is_healed(
    client: Elasticsearch, elasticsearch_proxy: HttpProxy, index: str
) -> None:
    elasticsearch_proxy.hang(when=is_search)
    with pytest.raises(ConnectionTimeout):
        client.options(request_timeout=0.3).search(index=index)

    elasticsearch_proxy.heal()
    assert client.search(index=index).meta.status == 200

"""Filling an index as fast as a server beside us takes it."""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from benchmarks.elasticsearch.documents import Shape
from pipeline_platform_tests.servers.elasticsearch.server import ElasticsearchServer

SHARDS = 2
_BULK_DOCUMENTS = 10_000
_AT_ONCE = 2
_BULK_SECONDS = 60.0
_SETTLE_SECONDS = 120.0
_SETTINGS = {
    "number_of_shards": SHARDS,
    "refresh_interval": "-1",
    "translog.durability": "async",
}


def new_index(server: ElasticsearchServer, shape: Shape, documents_of_days: Sequence[int]) -> str:
    """An index of two shards with so many documents in each day; its merges have ended."""
    mappings = {"dynamic": "strict", "properties": shape.properties}
    name = server.new_index(mappings, _SETTINGS)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        under_way: set[Future[None]] = set()
        for body in _bulks(shape, documents_of_days):
            if len(under_way) >= _AT_ONCE:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            under_way.add(pool.submit(_send, server.url, name, body))
        for future in under_way:
            future.result()
    client = server.client(request_timeout=_BULK_SECONDS)
    client.indices.refresh(index=name)
    client.indices.flush(index=name)
    found = client.count(index=name)["count"]
    if found != sum(documents_of_days):
        raise RuntimeError(f"{name} has {found} documents, not {sum(documents_of_days)}.")
    deadline = time.monotonic() + _SETTLE_SECONDS
    while client.indices.stats(index=name, metric="merge")["_all"]["total"]["merges"]["current"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Elasticsearch still merges {name}.")
        time.sleep(0.2)
    return name


def _bulks(shape: Shape, documents_of_days: Sequence[int]) -> Iterator[bytes]:
    for day, number in enumerate(documents_of_days):
        documents = shape.documents(day, number)
        while lines := [
            f'{{"create":{{}}}}\n{text}\n' for text in islice(documents, _BULK_DOCUMENTS)
        ]:
            yield "".join(lines).encode()


def _send(url: str, index: str, body: bytes) -> None:
    connection = http.client.HTTPConnection(url.partition("://")[2], timeout=_BULK_SECONDS)
    try:
        connection.request(
            "POST", f"/{index}/_bulk?filter_path=errors,items.*.error", body,
            {"content-type": "application/x-ndjson"},
        )  # fmt: skip
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    if response.status != 200 or answer["errors"]:
        raise RuntimeError(f"Elasticsearch refused documents: {str(answer)[:500]}")

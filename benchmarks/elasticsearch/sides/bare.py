"""The bare read loop: the same slices and pages over plain HTTP, their bytes dropped."""

import http.client
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.elasticsearch.sides.side import Job, main
from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.sources.elasticsearch.pages import LARGEST_PAGE, PageSize

_TIMEOUT_SECONDS = 60.0
_PIT = re.compile(rb'"pit_id":"([^"]+)"')
_SORT = b'"sort":['
_PAGE_BYTES: int = ElasticsearchSource.model_fields["page_bytes"].default


def deliver(job: Job) -> Callable[[], int]:
    """Read everything; the hits are counted by a mark that every one of them has."""
    assert job.slices is not None
    slices = job.slices
    pit = json.loads(_ask(job, _connection(job), "POST", f"/{job.index}/_pit?keep_alive=5m"))["id"]
    try:
        with ThreadPoolExecutor(slices) as pool:
            read = sum(pool.map(lambda number: _slice(job, pit, number, slices), range(slices)))
    finally:
        _ask(job, _connection(job), "DELETE", "/_pit", {"id": pit})
    return lambda: read


def _slice(job: Job, pit: str, number: int, slices: int) -> int:
    connection = _connection(job)
    size = PageSize(_PAGE_BYTES, LARGEST_PAGE)
    page: dict[str, Any] = {
        "query": job.query, "sort": [{"_shard_doc": "asc"}], "track_total_hits": False,
    }  # fmt: skip
    if slices > 1:
        page["slice"] = {"id": number, "max": slices}
    read = 0
    while True:
        page |= {"pit": {"id": pit, "keep_alive": "5m"}, "size": size.documents}
        answer = _ask(job, connection, "POST", "/_search", page)
        hits = answer.count(_SORT)
        if not hits:
            return read
        read += hits
        size.seen(hits, len(answer))
        last = answer.rindex(_SORT) + len(_SORT)
        page["search_after"] = [int(answer[last : answer.index(b"]", last)])]
        found = _PIT.search(answer, 0, 100_000)
        assert found is not None
        pit = found[1].decode()


def _connection(job: Job) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(job.url.partition("://")[2], timeout=_TIMEOUT_SECONDS)


def _ask(
    job: Job,
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
) -> bytes:
    content = None if body is None else json.dumps(body).encode()
    connection.request(method, path, content, {"content-type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise RuntimeError(f"{method} {path}: {answer[:500]!r}")
    return answer


if __name__ == "__main__":
    main(deliver)

"""The point in time is lost in the middle of a read: the window is read again, from zero."""

import time
from contextlib import suppress
from typing import Any

import pytest
from elasticsearch import NotFoundError

from pipeline_platform_tests.flagship.outcomes import (
    TRANSFER,
    hurry,
    require_nothing,
    require_whole,
    while_reading,
)
from pipeline_platform_tests.flagship.stack import Stack
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchNode
from pipeline_platform_tests.servers.http_proxy import (
    Answer,
    HttpProxy,
    Request,
    Upstream,
    is_search,
)


def newest_point_in_time(proxy: HttpProxy) -> str:
    searches = [request.json for request in proxy.requests if is_search(request)]
    return str([search["pit"]["id"] for search in searches if "pit" in search][-1])


def snapshots_lost(row: dict[str, Any]) -> int:
    lost: int = row[f"{TRANSFER}_phase"]["phase_specific_details"]["snapshots_lost"]
    return lost


@pytest.mark.fault_row(11, on="elasticsearch snowflake")
def test_deleted_by_somebody(stack: Stack, elasticsearch_proxy: HttpProxy) -> None:
    stack.add(2_000)

    def delete() -> None:
        client = stack.server.client()
        client.close_point_in_time(id=newest_point_in_time(elasticsearch_proxy))

    with while_reading(delete):
        row = stack.run(stack.through(elasticsearch_proxy.url))
    assert snapshots_lost(row) == 1
    require_whole(stack, row)


def test_deleted_again_and_again(
    stack: Stack, elasticsearch_proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    stack.add(1_000)
    require_whole(stack, stack.run())
    before = stack.rows()
    stack.add(10)
    deleted: set[str] = set()

    def delete(request: Request, upstream: Upstream) -> Answer:
        deleted.add(request.json["pit"]["id"])
        with suppress(NotFoundError):
            stack.server.client().close_point_in_time(id=request.json["pit"]["id"])
        return upstream()

    elasticsearch_proxy.spoil(
        delete, when=lambda request: is_search(request) and "search_after" in request.json
    )
    config = stack.through(elasticsearch_proxy.url)
    row = stack.run(config)
    assert len(deleted) == 3
    require_nothing(stack, row, before, "lost the window's point in time")
    elasticsearch_proxy.heal()
    require_whole(stack, stack.run(config))


@pytest.mark.fault_row(11, on="elasticsearch snowflake")
def test_expired(stack: Stack, elasticsearch_proxy: HttpProxy) -> None:
    stack.add(1_000)
    # Nodes of the tests look once a second for what expired, others once a minute.
    seconds = 4.5 if isinstance(stack.server, ElasticsearchNode) else 65
    with while_reading(lambda: time.sleep(seconds)):
        row = stack.run(stack.through(elasticsearch_proxy.url, keep_alive="2s"))
    assert snapshots_lost(row) == 1
    require_whole(stack, row)

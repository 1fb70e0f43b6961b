"""Pages of one frozen view of the indices: never a part of it, and nothing twice."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from pipeline_platform.connections.elasticsearch import ConnectionBrokenError, ElasticsearchClient
from pipeline_platform.errors import PipelineError, SnapshotLostError, TransientError
from pipeline_platform.sources.elasticsearch.odd_response import search_response
from pipeline_platform.sources.elasticsearch.patience import Patience, nothing
from pipeline_platform.sources.elasticsearch.response import (
    Hit,
    SearchResponse,
)

FIRST_PAGE = 200
LARGEST_PAGE = 10_000
"""Documents: the default of index.max_result_window."""
_FASTEST_GROWTH = 10.0
_GROWTH_AFTER_BUSY = 1.25

_CLOSE_SECONDS = 10.0

_SORT = msgspec.json.Decoder(list[int])

_WHOLE = {"allow_partial_search_results": "false"}
# A pattern that matches nothing and an index that is closed are errors, not fewer documents.
_ALL_NAMED = {
    "ignore_unavailable": "false",
    "allow_no_indices": "false",
    "expand_wildcards": "open,closed",
}


def path_of(indices: Sequence[str]) -> str:
    """Indices as one part of a URL's path."""
    return ",".join(quote(name, safe="*") for name in indices)


def ask_index(
    client: ElasticsearchClient, indices: Sequence[str], what: str, **params: str
) -> dict[str, Any]:
    """Mappings or settings of all concrete indices behind the names, by index."""
    path = f"/{path_of(indices)}/{what}"
    return dict(client.ask_json("GET", path, params=_ALL_NAMED | params))


def largest_page(client: ElasticsearchClient, indices: Sequence[str]) -> int:
    """Documents that a page may have: index.max_result_window, at most 10,000."""
    name = "index.max_result_window"
    found = ask_index(client, indices, f"_settings/{name}", flat_settings="true")
    set_to = [int(index["settings"][name]) for index in found.values() if name in index["settings"]]
    return min([LARGEST_PAGE, *set_to])


def search_indices(
    client: ElasticsearchClient, indices: Sequence[str], body: Mapping[str, Any]
) -> SearchResponse:
    """One search outside any point in time, checked to be whole."""
    params = _WHOLE | _ALL_NAMED
    path = f"/{path_of(indices)}/_search"
    return _whole(client.place, client.ask("POST", path, params=params, body=body))


def _whole(place: str, answer: bytes) -> SearchResponse:
    """The response; TransientError if any shard's documents may be missing in it."""
    try:
        response = search_response(answer)
    except msgspec.DecodeError as error:
        raise ConnectionBrokenError(
            f"{place} gave an answer that is cut short or not a search response.",
            hint="Check hosts for a proxy.",
        ) from error
    shards = response.shards
    clusters = response.clusters
    if response.timed_out or response.terminated_early:
        what = "ended before it was complete"
    elif shards.failed or shards.successful < shards.total:
        what = f"is partial: {shards.successful} of {shards.total} shards answered"
    elif clusters is not None and clusters.successful < clusters.total:
        what = f"is partial: {clusters.successful} of {clusters.total} clusters answered"
    else:
        return response
    raise TransientError(
        f"{place}: a search {what}.", hint="It is not used; check the health of the cluster."
    )


class PageSize:
    """Documents per page, so that a page has about `page_bytes`."""

    def __init__(self, page_bytes: int, most: int) -> None:
        self._page_bytes = page_bytes
        self._most = most
        self._growth = _FASTEST_GROWTH
        self.documents = min(FIRST_PAGE, most)

    def seen(self, documents: int, size: int) -> None:
        """Adapt to a page of so many documents and bytes."""
        fitting = self._page_bytes * documents // max(size, 1)
        highest = int(self.documents * self._growth) + 1
        self.documents = max(1, min(fitting, highest, self._most))

    def shrink(self) -> None:
        """The cluster is busy: half as many, and slower growth from now on."""
        self.documents = max(1, self.documents // 2)
        self._growth = _GROWTH_AFTER_BUSY


class PointInTime:
    """One frozen view of the indices, shared by all slices. Leaving the block closes it.

    Every answer may name the view anew; the newest name is sent. SnapshotLostError when the
    server no longer has it.
    """

    def __init__(
        self,
        client: ElasticsearchClient,
        indices: Sequence[str],
        *,
        keep_alive_seconds: int,
        patience: Patience,
    ) -> None:
        self._client = client
        self._indices = indices
        self._keep_alive = f"{keep_alive_seconds}s"
        self._patience = patience
        self._lock = threading.Lock()
        self._id = ""
        self._closed = False

    def __enter__(self) -> "PointInTime":
        path = f"/{path_of(self._indices)}/_pit"
        params = _ALL_NAMED | {"keep_alive": self._keep_alive}
        answer = self._patience.until_answered(
            lambda: self._client.ask_json("POST", path, params=params)
        )
        self._id = answer["id"]
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what the server keeps; what still reads gets an error. Safe to repeat."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            body = {"id": self._id}
            self._client.ask("DELETE", "/_pit", body=body, timeout_seconds=_CLOSE_SECONDS)
        except PipelineError:
            # It ends by itself after keep_alive.
            return

    def search(self, body: Mapping[str, Any]) -> SearchResponse:
        """One search of the view, checked to be whole."""
        return self._search(lambda: body, lambda size: None, nothing)

    def pages(
        self, query: Mapping[str, Any], size: PageSize, slice_number: int, slices: int
    ) -> Iterator[list[Hit]]:
        """Documents of one slice, page by page; only an empty page ends it."""
        page: dict[str, Any] = {
            **query,
            "sort": [{"_shard_doc": "asc"}],
            "track_total_hits": False,
        }
        if slices > 1:
            page["slice"] = {"id": slice_number, "max": slices}
        last: list[int] = []
        received = 0

        def body() -> dict[str, Any]:
            after = {"search_after": last} if last else {}
            return page | after | {"size": size.documents}

        def count_bytes(number: int) -> None:
            nonlocal received
            received = number

        while True:
            hits = self._search(body, count_bytes, size.shrink).hits.hits
            if not hits:
                return
            size.seen(len(hits), received)
            before, last = last, _SORT.decode(hits[-1].sort)
            if last <= before:
                raise TransientError(
                    f"{self._client.place}: a page does not follow the page before it.",
                    hint="The window is read again.",
                )
            yield hits

    def _search(
        self,
        body: Callable[[], Mapping[str, Any]],
        received: Callable[[int], None],
        on_busy: Callable[[], None],
    ) -> SearchResponse:
        def ask() -> SearchResponse:
            pit = {"id": self._id, "keep_alive": self._keep_alive}
            request = {**body(), "pit": pit}
            answer = self._client.ask("POST", "/_search", params=_WHOLE, body=request)
            received(len(answer))
            return _whole(self._client.place, answer)

        response = self._patience.until_answered(ask, on_busy)
        if not response.pit_id:
            raise SnapshotLostError(
                f"{self._client.place} answered without the point in time.",
                hint="The window is read again.",
            )
        self._id = response.pit_id
        return response

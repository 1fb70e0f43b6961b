"""A window is read whole or not at all, whatever the server or the way to it does."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline_platform.config.systems import LocalStage
from pipeline_platform.errors import PipelineError, SnapshotLostError, TransientError
from pipeline_platform.movement import AttemptPath, Manifest
from pipeline_platform.sources.elasticsearch import patience as elasticsearch_patience
from pipeline_platform.sources.elasticsearch import slices as elasticsearch_slices
from pipeline_platform.sources.elasticsearch.source import ElasticsearchSource
from pipeline_platform.stages import build_stage
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchNode, ElasticsearchServer
from pipeline_platform_tests.servers.http_proxy import HttpProxy, Request, is_search
from pipeline_platform_tests.servers.toxiproxy import Relay, Toxiproxy
from pipeline_platform_tests.sources.contract import START, WINDOW
from pipeline_platform_tests.sources.elasticsearch.documents import (
    ORDERS,
    Documents,
    ids_of,
    rows_of,
)

ROWS = 2_000
ALL = list(range(ROWS))


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elasticsearch_patience, "_FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(elasticsearch_patience, "_LONGEST_PAUSE_SECONDS", 0.2)


@pytest.fixture(scope="module")
def documents(
    elasticsearch_server: ElasticsearchServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Documents]:
    """One index for all tests; none of them changes it."""
    documents = Documents(elasticsearch_server, tmp_path_factory.mktemp("documents"))
    documents.create("orders", ORDERS, shards=2)
    documents.insert("orders", [(n, START) for n in range(ROWS)])
    yield documents
    elasticsearch_server.drop_indices()


@pytest.fixture
def source(documents: Documents, elasticsearch_proxy: HttpProxy) -> ElasticsearchSource:
    return through(documents, elasticsearch_proxy.url)


def through(documents: Documents, url: str, **settings: Any) -> ElasticsearchSource:
    return documents.source(
        **{
            "hosts": [url],
            "batch_rows": 300,
            "busy_timeout_seconds": 3,
            "request_timeout_seconds": 10,
            **settings,
        }
    )


def is_page(request: Request) -> bool:
    """One that asks for documents."""
    return is_search(request) and request.json["size"] > 0


def is_later_page(request: Request) -> bool:
    return is_page(request) and "search_after" in request.json


def page_sizes(proxy: HttpProxy) -> list[int]:
    return [request.json["size"] for request in proxy.requests if is_page(request)]


def stage(source: ElasticsearchSource, folder: Path) -> Manifest:
    """Read the window into a stage of files."""
    place = build_stage(LocalStage(type="local", path="stage"), base_dir=folder)
    with source.read(WINDOW) as snapshot:
        return place.write(
            AttemptPath(WINDOW, 1),
            snapshot,
            pipeline_id="orders_run1",
            query_field="at",
            config_hashes={},
            still_ours=lambda: None,
        )


def nothing_staged(source: ElasticsearchSource, folder: Path, reason: str) -> PipelineError:
    """The window fails for this reason and leaves no manifest."""
    with pytest.raises(PipelineError, match=reason) as raised:
        stage(source, folder)
    assert not list(folder.rglob("manifest.json"))
    return raised.value


@pytest.mark.parametrize("fault", ["refuse 429", "refuse 503", "break_circuit"])
@pytest.mark.fault_row(9)
def test_busy_cluster_is_waited_for_with_smaller_pages(
    source: ElasticsearchSource, elasticsearch_proxy: HttpProxy, fault: str
) -> None:
    name, *status = fault.split()
    spoil = getattr(elasticsearch_proxy, name)
    spoil(*map(int, status), times=4, when=is_later_page)
    assert ids_of(source) == ALL
    sizes = page_sizes(elasticsearch_proxy)
    biggest = sizes.index(300)
    assert min(sizes[biggest:]) < 300


@pytest.mark.fault_row(9)
def test_429_for_seconds_from_the_first_request_on(
    source: ElasticsearchSource, elasticsearch_proxy: HttpProxy
) -> None:
    elasticsearch_proxy.refuse(429, seconds=1.0)
    with source.read(WINDOW) as snapshot:
        assert sorted(rows_of(snapshot)) == ALL


@pytest.mark.fault_row(9)
def test_patience_with_a_busy_cluster_ends(
    documents: Documents, elasticsearch_proxy: HttpProxy, tmp_path: Path
) -> None:
    source = through(documents, elasticsearch_proxy.url, busy_timeout_seconds=0.5)
    elasticsearch_proxy.refuse(429, when=is_later_page)
    began = time.monotonic()
    error = nothing_staged(source, tmp_path, "busy_timeout_seconds")
    assert isinstance(error, TransientError)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("fault", ["cut_body 5000", "corrupt"])
@pytest.mark.fault_row(14)
def test_page_that_comes_damaged_is_asked_for_again(
    source: ElasticsearchSource, elasticsearch_proxy: HttpProxy, fault: str
) -> None:
    name, *sent = fault.split()
    getattr(elasticsearch_proxy, name)(*map(int, sent), times=2, when=is_later_page)
    assert ids_of(source) == ALL


@pytest.mark.parametrize("fault", ["cut_body 5000", "corrupt"])
@pytest.mark.fault_row(14)
def test_pages_that_always_come_damaged_stage_nothing(
    source: ElasticsearchSource, elasticsearch_proxy: HttpProxy, tmp_path: Path, fault: str
) -> None:
    name, *sent = fault.split()
    getattr(elasticsearch_proxy, name)(*map(int, sent), when=is_later_page)
    assert isinstance(
        nothing_staged(source, tmp_path, "cut short|connection failed"), TransientError
    )


PARTIAL = {
    "timed_out": lambda answer: answer.update(timed_out=True),
    "terminated_early": lambda answer: answer.update(terminated_early=True),
    "shards failed": lambda answer: answer["_shards"].update(failed=1),
    "shards missing": lambda answer: answer["_shards"].update(successful=1),
    "cluster skipped": lambda answer: answer.update(_clusters={"total": 2, "successful": 1}),
}


@pytest.mark.parametrize("what", PARTIAL)
@pytest.mark.fault_row(10)
def test_partial_answers_are_errors_for_pages_and_counts(
    source: ElasticsearchSource, elasticsearch_proxy: HttpProxy, tmp_path: Path, what: str
) -> None:
    reason = "is partial|ended before it was complete"
    elasticsearch_proxy.rewrite(PARTIAL[what], when=is_later_page)
    assert isinstance(nothing_staged(source, tmp_path, reason), TransientError)
    elasticsearch_proxy.heal()
    elasticsearch_proxy.rewrite(PARTIAL[what], when=is_search)
    assert isinstance(nothing_staged(source, tmp_path, reason), TransientError)
    with pytest.raises(TransientError, match=reason):
        source.count(WINDOW)


def test_every_search_forbids_partial_answers_and_the_newest_name_is_sent(
    documents: Documents, source: ElasticsearchSource, elasticsearch_proxy: HttpProxy
) -> None:
    client = documents.server.client()
    other = client.open_point_in_time(index=documents.index("orders"), keep_alive="1m")["id"]
    renamed = elasticsearch_proxy.rewrite(
        lambda answer: answer.update(pit_id=other),
        times=1,
        when=lambda request: is_search(request) and request.json["size"] == 0,
    )
    assert ids_of(source) == ALL
    assert renamed.met == 1
    searches = [request for request in elasticsearch_proxy.requests if is_search(request)]
    assert all("allow_partial_search_results=false" in request.path for request in searches)
    pages = [request for request in searches if is_page(request)]
    assert {request.json["pit"]["id"] for request in pages} == {other}
    assert {request.json["pit"]["keep_alive"] for request in pages} == {"300s"}
    assert {request.json["track_total_hits"] for request in pages} == {False}
    (closed,) = [r for r in elasticsearch_proxy.requests if r.method == "DELETE"]
    assert (urlsplit(closed.path).path, closed.json) == ("/_pit", {"id": other})


def test_pages_wait_for_a_reader_that_is_slow(
    documents: Documents, elasticsearch_proxy: HttpProxy
) -> None:
    slices = 2
    source = through(documents, elasticsearch_proxy.url, batch_rows=20, slices=slices)
    with source.read(WINDOW) as snapshot:
        first = next(snapshot.batches)
        time.sleep(0.7)
        # Read, decoded, waiting to be decoded, waiting to be taken: one page of each slice.
        assert len(page_sizes(elasticsearch_proxy)) <= 4 * slices + 1
        rest = rows_of(snapshot)
    assert sorted(first.rows.column("id").to_pylist() + rest) == ALL


@pytest.mark.fault_row(24)
def test_server_that_hangs_is_left_in_time(
    documents: Documents, elasticsearch_proxy: HttpProxy, tmp_path: Path
) -> None:
    source = through(documents, elasticsearch_proxy.url, request_timeout_seconds=0.7)
    elasticsearch_proxy.hang(when=is_later_page)
    began = time.monotonic()
    error = nothing_staged(source, tmp_path, "request_timeout_seconds")
    assert isinstance(error, TransientError)
    assert time.monotonic() - began < 5


def test_leaving_does_not_wait_for_a_server_that_hangs(
    source: ElasticsearchSource, elasticsearch_proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elasticsearch_slices, "_JOIN_SECONDS", 0.1)
    elasticsearch_proxy.hang(times=2, when=is_later_page)
    began = time.monotonic()
    with source.read(WINDOW) as snapshot:
        next(snapshot.batches)
    assert time.monotonic() - began < 3
    assert [r.method for r in elasticsearch_proxy.requests].count("DELETE") == 1


@contextmanager
def lost(documents: Documents, proxy: HttpProxy, times: int | None = None) -> Iterator[None]:
    """The server loses each point in time while its pages are read."""

    def lose(request: Request, upstream: Any) -> Any:
        documents.server.client().close_point_in_time(id=request.json["pit"]["id"])
        return upstream()

    proxy.spoil(lose, times=times, when=is_later_page)
    yield
    proxy.heal()


@pytest.mark.fault_row(11)
def test_point_in_time_that_is_deleted_is_a_lost_snapshot(
    documents: Documents,
    source: ElasticsearchSource,
    elasticsearch_proxy: HttpProxy,
    tmp_path: Path,
) -> None:
    with lost(documents, elasticsearch_proxy):
        error = nothing_staged(source, tmp_path, "lost the window's point in time")
    assert isinstance(error, SnapshotLostError)


@pytest.mark.fault_row(11)
def test_point_in_time_that_expires_is_a_lost_snapshot(
    documents: Documents, elasticsearch_proxy: HttpProxy, tmp_path: Path
) -> None:
    source = through(documents, elasticsearch_proxy.url, keep_alive="1s", slices=1)

    def late(_: Request, upstream: Any) -> Any:
        # Nodes of the tests look once a second, others once a minute.
        time.sleep(2.5 if isinstance(documents.server, ElasticsearchNode) else 65)
        return upstream()

    elasticsearch_proxy.spoil(late, times=1, when=is_later_page)
    error = nothing_staged(source, tmp_path, "lost the window's point in time")
    assert isinstance(error, SnapshotLostError)


@pytest.fixture
def relay(toxiproxy: Toxiproxy, documents: Documents) -> Iterator[Relay]:
    made = toxiproxy.relay(urlsplit(documents.server.url).netloc)
    yield made
    made.remove()


@pytest.mark.parametrize("fault", ["hang", "reset", "cut_after", "down"])
@pytest.mark.fault_row(24)
def test_network_that_breaks_while_pages_are_read_stages_nothing(
    documents: Documents, relay: Relay, tmp_path: Path, fault: str
) -> None:
    source = through(documents, f"http://{relay.address}", request_timeout_seconds=1, batch_rows=50)
    faults: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "hang": relay.hang,
        "reset": relay.reset,
        "cut_after": lambda: relay.cut_after(3_000),
        "down": relay.down,
    }
    with source.read(WINDOW) as snapshot:
        next(snapshot.batches)
        with faults[fault](), pytest.raises(TransientError):
            rows_of(snapshot)
    assert stage(source, tmp_path).rows == ROWS

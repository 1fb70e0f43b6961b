"""Documents that the server takes and gives back, and that no strict reader of JSON takes."""

import json
import urllib.error
import urllib.request

import msgspec
import pytest

from pipeline_platform.sources.elasticsearch.odd_response import search_response
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.sources.contract import START, WINDOW
from pipeline_platform_tests.sources.elasticsearch.documents import Documents

AT = int(START.timestamp() * 1000)
MAPPING = {
    "dynamic": False,
    "properties": {
        "at": {"type": "date"},
        "k": {"type": "keyword"},
        "o": {"type": "object", "enabled": False},
    },
}
HALF, STRANGE = "k: text that is not valid Unicode", "the document is not JSON that can be read"
SOURCES: list[tuple[bytes, str | None]] = [
    (rb'{"k":"x\ud800y"}', HALF),
    (rb'{"\udc00":1}', None),
    (rb'{"o":{"k":"\ud800"}}', None),
    (b'{"k":1 /* "}] */}', STRANGE),
    (b'{// "}\n"k":"x"}', STRANGE),
    (b'\xef\xbb\xbf{"k":"x"}', None),
    (b'{"o":{"_source":{"_source":"}"}}}', None),
    (b'{"k":"_source"}', None),
    (rb'{"k":"\\\" : \u0000","o":"{\"_source\":{"}', None),
    (b'{\n  "k" : "x"\n}', None),
]
HEAD = b'{"timed_out":false,"_shards":{"total":1,"successful":1,"failed":0},"pit_id":"p","hits":'


def documents_with_at() -> list[bytes]:
    """The time goes first, behind the brace that begins the object."""
    return [source.replace(b"{", b'{"at":%d,' % AT, 1) for source, _ in SOURCES]


def put(server: ElasticsearchServer, path: str, body: bytes) -> int:
    request = urllib.request.Request(
        server.url + path, body, {"Content-Type": "application/json"}, method="PUT"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_through_the_server(documents: Documents) -> None:
    """Each is a row or a rejected record, and the page that they are in is read."""
    server = documents.server
    index = documents.take("odd", server.new_index(MAPPING), {})
    for number, source in enumerate(documents_with_at()):
        assert put(server, f"/{index}/_doc/{number}?refresh=true", source) == 201, source
    with documents.source("odd", id_column="_id").read(WINDOW) as snapshot:
        batches = list(snapshot.batches)
    assert snapshot.count == len(SOURCES)
    rows = {row["_id"]: row for batch in batches for row in batch.rows.to_pylist()}
    records = [record for batch in batches for record in batch.rejected]
    reasons = {json.loads(record.record)["_id"]: record.reason for record in records}
    assert reasons == {str(n): reason for n, (_, reason) in enumerate(SOURCES) if reason}
    assert set(rows) | set(reasons) == {str(n) for n in range(len(SOURCES))}
    assert rows["1"]["unmapped_fields"] == '{"\\udc00":1}'
    assert rows["2"]["o"] == '{"k":"\\ud800"}'
    assert rows["6"]["o"] == '{"_source":{"_source":"}"}}'
    assert (rows["8"]["k"], rows["8"]["o"]) == ('\\" : \0', '"{\\"_source\\":{"')
    assert [rows[n]["k"] for n in ("5", "7", "9")] == ["x", "_source", "x"]


def test_the_server_refuses_what_would_be_read_in_two_ways(documents: Documents) -> None:
    """Keys that are there twice, numbers that are none, bytes that are no text."""
    server = documents.server
    index = server.new_index(MAPPING)
    for source in (b'{"k":1,"k":2}', b'{"o":{"a":1,"a":2}}', b'{"o":NaN}', b'{"o":"\xff"}'):
        assert put(server, f"/{index}/_doc/1", source) == 400, source


def answer(*sources: bytes) -> bytes:
    hits = b",".join(
        b'{"_id":"%d","_index":"i","_source":%s,"sort":[%d]}' % (number, source, number)
        for number, source in enumerate(sources)
    )
    return HEAD + b'{"hits":[%s]}}' % hits


def test_each_document_is_cut_out_whole() -> None:
    sources = [source for source, _ in SOURCES]
    hits = search_response(answer(*sources)).hits.hits
    found = [bytes(hit.source) for hit in hits]
    assert found == [source[source.index(b"{") :] for source in sources]
    assert [bytes(hit.sort) for hit in hits] == [b"[%d]" % n for n in range(len(sources))]


def test_a_hit_without_source_stays_without() -> None:
    odd = answer(rb'{"k":"\ud800"}', b"{}").replace(b',"_source":{}', b"")
    assert [bytes(hit.source) for hit in search_response(odd).hits.hits] == [
        rb'{"k":"\ud800"}', b"",
    ]  # fmt: skip


@pytest.mark.parametrize("source", [rb'{"k":"\ud800"}', b'{"k":1/* } */}'])
@pytest.mark.fault_row(14)
def test_a_cut_answer_is_an_error(source: bytes) -> None:
    whole = answer(source, b'{"k":"x"}')
    assert len(search_response(whole).hits.hits) == 2
    for end in range(len(whole)):
        with pytest.raises(msgspec.DecodeError):
            search_response(whole[:end])


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"error": {"_source": 1}}'])
def test_what_is_no_answer_is_an_error(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        search_response(text)

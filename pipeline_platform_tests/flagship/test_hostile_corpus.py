"""50,000 hostile documents in one window: each value is in Snowflake, or its document is among the
rejected with a reason.

What must be there is read again from Elasticsearch by urllib and the json module, and what is
there by Snowflake's own driver: nothing of the platform takes part in either.
"""

import json
import os
import re
import ssl
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from pipeline_platform_tests.flagship.stack import Stack, failure
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer, own
from pipeline_platform_tests.sources.elasticsearch.hostile_documents import (
    CONFIG,
    MAPPING,
    SETTINGS,
    hostile_documents,
)
from pipeline_platform_tests.sources.elasticsearch.hostile_oracle import (
    UNMAPPED,
    exact_json,
    expected_row,
    kinds,
)

COUNT = int(os.environ.get("HOSTILE_DOCUMENTS", "50000"))
PAGE = 5_000
IDENTITY = re.compile(r'"_id":"(\d+)"')
SOURCE = '"_source":'
DATES = {"date", "date_nanos", "seconds", "local"}
METADATA = {"_pipeline_name", "_pipeline_window_start"}


@pytest.fixture(scope="module")
def hostile(stack: Stack) -> Stack:
    """The documents in an index of their own, as they are, byte by byte."""
    index = stack.server.new_index(MAPPING, {"number_of_shards": 2, **SETTINGS})
    client = stack.server.client()
    operations: list[Any] = []
    for document in hostile_documents(COUNT):
        operations += [{"create": {"_id": document.id}}, document.source]
        if len(operations) == 2 * PAGE:
            assert not client.bulk(index=index, operations=operations)["errors"]
            operations.clear()
    if operations:
        assert not client.bulk(index=index, operations=operations)["errors"]
    client.indices.refresh(index=index)
    day = datetime(2025, 11, 15, tzinfo=timezone.utc)
    return replace(stack, index=index, name="hostile", day=day)


def ask(server: ElasticsearchServer, path: str, body: Mapping[str, Any]) -> str:
    headers = {"Content-Type": "application/json"}
    if own.API_KEY in os.environ:
        headers["Authorization"] = f"ApiKey {os.environ[own.API_KEY]}"
    trust = ssl.create_default_context(cafile=os.environ.get(own.CA_CERTS))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    request = urllib.request.Request(
        f"{server.url}{path}", method="POST", headers=headers, data=json.dumps(body).encode()
    )
    with opener.open(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def sources(stack: Stack) -> Iterator[tuple[str, str]]:
    """`_id` and the text of `_source` of all documents, by a scroll."""
    decoder = json.JSONDecoder()
    text = ask(stack.server, f"/{stack.index}/_search?scroll=1m", {"size": PAGE})
    while True:
        found = IDENTITY.search(text)
        if found is None:
            return
        while found is not None:
            start = text.index(SOURCE, found.end()) + len(SOURCE)
            _, end = decoder.raw_decode(text, start)
            yield found.group(1), text[start:end]
            found = IDENTITY.search(text, end)
        scroll = json.loads(text)["_scroll_id"]
        text = ask(stack.server, "/_search/scroll", {"scroll": "1m", "scroll_id": scroll})


def as_json(stack: Stack) -> list[str]:
    """Fields staged as JSON text; the test server's TIMESTAMP_TZ would lose nanoseconds."""
    return [*CONFIG["json_fields"], *([] if stack.database.server.is_real else ["exact"])]


def in_snowflake(stack: Stack, names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Rows by `_id`, under the fields' own names; dates as nanoseconds."""
    fields = kinds("json", as_json(stack))
    in_microseconds = {name for name in fields if fields[name] in DATES - {"date_nanos"}}

    def value_of(staged: str, name: str) -> str:
        column = f'"{staged.upper()}"'
        if fields.get(name) not in DATES:
            return column
        unit = "MICROSECOND" if name in in_microseconds else "NANOSECOND"
        return f"DATE_PART(EPOCH_{unit}, {column})"

    columns = ", ".join(value_of(*column) for column in names.items())
    rows: dict[str, dict[str, Any]] = {}
    with stack.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM analytics.hostile")
        for values in cursor:
            row = dict(zip(names.values(), values, strict=True))
            for name in in_microseconds:
                row[name] = None if row[name] is None else row[name] * 1000
            assert rows.setdefault(str(row.pop("_id")), row) is row
    return rows


def rejected_documents(stack: Stack, manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Lines of the stage's file of rejected rows, by `_id`."""
    key = stack.attempt(manifest["epoch"]) + manifest["rejected_file"]["path"]
    lines = [json.loads(line) for line in stack.bucket.get(key).splitlines()]
    rejected = {json.loads(line["record"])["_id"]: line for line in lines}
    assert len(rejected) == len(lines)
    return rejected


@pytest.mark.timeout(600)
@pytest.mark.fault_row(14, on="elasticsearch")
def test_every_value_arrives_or_its_document_is_rejected(hostile: Stack) -> None:
    tolerances = {"source_to_stage_tolerance_percent": 100}
    json_fields = as_json(hostile)
    pages = {"batch_rows": 10_000, "page_bytes": 4 << 20}
    run = hostile.run(
        hostile.config(
            source_system={**CONFIG, **pages, "json_fields": json_fields},
            phases={"audit": {"count_tolerances": tolerances}},
        )
    )
    assert run["pipeline_status"] == "SUCCESS", failure(run)
    manifest = hostile.manifest(run["epoch"])
    rows = in_snowflake(hostile, manifest["original_names"])
    rejected = rejected_documents(hostile, manifest)
    assert len(rows) + len(rejected) == COUNT
    assert not rows.keys() & rejected.keys()

    read = 0
    fields = kinds("json", json_fields)
    texts = {name for name, kind in fields.items() if kind == "json"} | {UNMAPPED}
    for name, source in sources(hostile):
        read += 1
        expected = expected_row(source.encode(), "json", json_fields)
        if expected is None:
            assert rejected[name]["reason"]
            assert source in rejected[name]["record"]
            continue
        assert name in rows, (source, rejected[name]["reason"])
        row = rows[name]
        for field in texts:
            row[field] = None if row[field] is None else exact_json(row[field])
        assert exact(row) == exact(expected), source
    assert read == COUNT

    counts = run["audit_phase"]["phase_specific_details"]
    assert (counts["source_count"], counts["target_count"]) == (COUNT, len(rows))
    reasons = Counter(line["reason"] for line in rejected.values())
    assert manifest["rejected_reasons"] == reasons
    assert COUNT / 20 < len(rejected) < COUNT / 2
    assert len(reasons) > 15


def exact(row: Mapping[str, Any]) -> dict[str, str]:
    """`repr` keeps apart 1, 1.0, True and -0.0."""
    return {name: f"{type(value).__name__} {value!r}" for name, value in sorted(row.items())}

"""Every value of the hostile documents, through a real server, against an independent reader."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.movement import SourceBatch
from pipeline_platform_tests.sources.contract import WINDOW
from pipeline_platform_tests.sources.elasticsearch.documents import Documents
from pipeline_platform_tests.sources.elasticsearch.hostile_documents import (
    CONFIG,
    MAPPING,
    SETTINGS,
    STRICT_MAPPING,
    HostileDocument,
    hostile_documents,
)
from pipeline_platform_tests.sources.elasticsearch.hostile_oracle import (
    UNMAPPED,
    exact_json,
    expected_row,
    kinds,
)

COUNT = int(os.environ.get("HOSTILE_DOCUMENTS", "2000"))


def load(documents: Documents, mapping: Mapping[str, Any], corpus: list[HostileDocument]) -> None:
    """The documents as they are, byte by byte."""
    server = documents.server
    index = server.new_index(mapping, {"number_of_shards": 2, **SETTINGS})
    documents.take("hostile", index, {})
    for first in range(0, len(corpus), 1000):
        operations: list[Any] = []
        for document in corpus[first : first + 1000]:
            operations += [{"create": {"_id": document.id}}, document.source]
        answer = server.client().bulk(index=index, operations=operations, refresh=True)
        refused = [item for item in answer["items"] if "error" in item["create"]]
        assert refused == []


def staged_rows(batches: list[SourceBatch], names: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Rows by `_id` under the fields' own names; dates as nanoseconds."""
    rows: dict[str, dict[str, Any]] = {}
    for batch in batches:
        columns: dict[str, list[Any]] = {}
        for staged, column in zip(batch.rows.schema.names, batch.rows.columns, strict=True):
            if pa.types.is_timestamp(column.type):
                factor = 1 if column.type.unit == "ns" else 1000
                ticks = column.cast(pa.int64()).to_pylist()
                values = [None if t is None else t * factor for t in ticks]
            else:
                values = column.to_pylist()
            columns[names[staged]] = values
        for place, name in enumerate(columns.pop("_id")):
            rows[str(name)] = {field: values[place] for field, values in columns.items()}
    return rows


@pytest.mark.parametrize(
    ("mapping", "objects"),
    [(MAPPING, "json"), (MAPPING, "flatten"), (STRICT_MAPPING, "json")],
    ids=["json", "flatten", "strict"],
)
@pytest.mark.fault_row(14)
def test_every_value_is_in_a_row_or_its_document_is_rejected(
    documents: Documents, mapping: dict[str, Any], objects: str
) -> None:
    corpus = list(hostile_documents(COUNT, mapping=mapping))
    load(documents, mapping, corpus)
    source = documents.source("hostile", objects=objects, **CONFIG)
    with source.read(WINDOW) as snapshot:
        batches = list(snapshot.batches)
    rows = staged_rows(batches, snapshot.original_names)
    records = [record for batch in batches for record in batch.rejected]
    rejected = {json.loads(record.record)["_id"]: record for record in records}
    assert snapshot.count == COUNT == len(rows) + len(records)
    assert len(rejected) == len(records)

    texts = {name for name, kind in kinds(objects).items() if kind == "json"} | {UNMAPPED}
    for document in corpus:
        expected = expected_row(document.source, objects)
        if expected is None:
            assert document.id in rejected, document.source
            assert rejected[document.id].reason
            assert document.source.decode() in rejected[document.id].record
            continue
        assert document.id in rows, (document.source, rejected[document.id].reason)
        row: dict[str, Any] = dict.fromkeys(expected) | rows[document.id]
        for name in texts:
            row[name] = None if row[name] is None else exact_json(row[name])
        assert exact(row) == exact(expected), document.source
    reasons = Counter(record.reason for record in records)
    assert len(rows) > COUNT / 2
    assert len(records) > COUNT / 20
    assert len(reasons) > 12, reasons


def exact(row: dict[str, Any]) -> dict[str, str]:
    """`repr` keeps apart 1, 1.0, True and -0.0."""
    return {name: f"{type(value).__name__} {value!r}" for name, value in sorted(row.items())}

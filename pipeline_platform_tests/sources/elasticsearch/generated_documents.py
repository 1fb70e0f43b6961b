"""Hits and decoders as the tests of decoding need them, without a server."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.movement import SourceBatch
from pipeline_platform.sources.elasticsearch.decode import Decoder
from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn, document_columns
from pipeline_platform.sources.elasticsearch.response import Hit

AT = "2025-11-15T10:00:00Z"


def config(**settings: Any) -> ElasticsearchSource:
    required = {"type": "elasticsearch", "hosts": "http://localhost:9200", "index": "orders"}
    return ElasticsearchSource.model_validate({**required, "query_field": "at", **settings})


def columns(
    mappings: Mapping[str, Mapping[str, Any]], **settings: Any
) -> dict[str, DocumentColumn]:
    """Columns by name; `mappings` gives each index its `mappings`."""
    answer = {index: {"mappings": mapping} for index, mapping in mappings.items()}
    return {c.name: c for c in document_columns(answer, config(**settings))}


def decoder(
    properties: Mapping[str, Any], root: Mapping[str, Any] | None = None, **settings: Any
) -> Decoder:
    """Of one index; `at` is a date unless the properties say otherwise."""
    mapping = {**(root or {}), "properties": {"at": {"type": "date"}, **properties}}
    return Decoder(list(columns({"orders": mapping}, **settings).values()), config(**settings))


def hits(documents: Iterable[str | bytes | Mapping[str, Any]]) -> list[Hit]:
    """Documents, numbered, as JSON text or as what becomes it."""
    return [
        Hit(id=str(number), index="orders", source=msgspec.Raw(_raw(document)))
        for number, document in enumerate(documents)
    ]


def told(batch: SourceBatch) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows, and reasons with the ids of the documents."""
    refused = []
    for record in batch.rejected:
        name = json.loads(record.record)["_id"]
        refused.append((name, record.reason))
    return batch.rows.to_pylist(), refused


def _raw(document: str | bytes | Mapping[str, Any]) -> bytes:
    if isinstance(document, bytes):
        return document
    if isinstance(document, str):
        return document.encode()
    return json.dumps(document).encode()

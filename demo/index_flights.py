"""Index the 336,776 flights of 2013 into Elasticsearch, as documents with the file's columns."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from elasticsearch import Elasticsearch

from demo.load_flights import flights_csv

INDEX = "flights"
BULK_DOCUMENTS = 5_000
_TEXTS = ("carrier", "tailnum", "origin", "dest")
_NUMBERS = (
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time",
    "sched_arr_time", "arr_delay", "flight", "air_time", "distance", "hour", "minute",
)  # fmt: skip
MAPPINGS = {
    "dynamic": "strict",
    "properties": {
        "time_hour": {"type": "date"},
        **{name: {"type": "keyword"} for name in _TEXTS},
        **{name: {"type": "integer"} for name in _NUMBERS},
    },
}


def index_flights(client: Elasticsearch) -> int:
    """Make the index anew; the documents in it."""
    client.indices.delete(index=INDEX, ignore_unavailable=True)
    settings = {"number_of_shards": 2, "number_of_replicas": 0, "refresh_interval": "-1"}
    client.indices.create(index=INDEX, mappings=MAPPINGS, settings=settings)
    with TemporaryDirectory() as folder:
        for bulk in _bulks(flights_csv(Path(folder))):
            answer = client.bulk(index=INDEX, operations=bulk)
            if answer["errors"]:
                raise RuntimeError(f"Elasticsearch refused documents: {answer['items'][0]}")
    client.indices.refresh(index=INDEX)
    return int(client.count(index=INDEX)["count"])


def _bulks(path: Path) -> Iterator[list[str]]:
    lines: list[str] = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            lines += ['{"index":{}}', json.dumps(_document(row))]
            if len(lines) >= 2 * BULK_DOCUMENTS:
                yield lines
                lines = []
    if lines:
        yield lines


def _document(row: dict[str, str]) -> dict[str, Any]:
    return {
        name: int(value) if name in _NUMBERS else value
        for name, value in row.items()
        if value != "NA"
    }

"""Rows of the source contract as documents of Elasticsearch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import elasticsearch.helpers

from pipeline_platform.config.elasticsearch import ElasticsearchSource as Config
from pipeline_platform.movement import Snapshot, WindowSlice
from pipeline_platform.sources.elasticsearch.source import ElasticsearchSource
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.sources.contract import WINDOW

KINDS = {
    "INTEGER": {"type": "integer"},
    "BIGINT": {"type": "long"},
    "TIMESTAMPTZ": {"type": "date"},
    "TIMESTAMP": {"type": "date", "format": "yyyy-MM-dd HH:mm:ss[.SSSSSS]||yyyy-MM-dd HH:mm:ss.S"},
    "TEXT": {"type": "keyword"},
}
ORDERS = {"id": {"type": "integer"}, "at": {"type": "date"}}


class Documents:
    """Indices of one test, under names of its own."""

    def __init__(self, server: ElasticsearchServer, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._names: dict[str, str] = {}
        self._keys: dict[str, list[str]] = {}

    def index(self, table: str) -> str:
        """The name on the server."""
        return self._names.setdefault(table, self.server.new_name())

    def create(
        self, table: str, properties: Mapping[str, Any], shards: int = 1, **settings: Any
    ) -> str:
        """A fresh index."""
        mappings = {"properties": properties}
        settings = {"number_of_shards": shards, **settings}
        return self.take(table, self.server.new_index(mappings, settings), properties)

    def take(self, table: str, index: str, properties: Mapping[str, Any]) -> str:
        """An index that is there."""
        self._names[table], self._keys[table] = index, list(properties)
        return index

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Documents under ids of their own where they have one."""
        keys = self._keys[table]
        self.add(table, ({k: plain(v) for k, v in zip(keys, row, strict=True)} for row in rows))

    def add(self, table: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Documents as they are."""
        index = self.index(table)

        def actions() -> Iterator[dict[str, Any]]:
            for document in documents:
                own = {"_id": str(document["id"])} if "id" in document else {}
                yield {"_index": index, "_source": document, **own}

        elasticsearch.helpers.bulk(self.server.client(), actions(), refresh=True)

    def delete(self, table: str, ids: Iterable[int]) -> None:
        """Documents by their id."""
        index = self.index(table)
        actions = ({"_op_type": "delete", "_index": index, "_id": str(n)} for n in ids)
        elasticsearch.helpers.bulk(self.server.client(), actions, refresh=True)

    def drop(self, table: str) -> None:
        """The whole index."""
        self.server.client().indices.delete(index=self._names.pop(table))

    def source(self, table: str = "orders", **settings: Any) -> ElasticsearchSource:
        """A source of the index; `settings` replace what the server's connection says."""
        names = {"index": self.index(table), "query_field": "at"}
        config = Config.model_validate(
            {"type": "elasticsearch", **self.server.config(), **names, **settings}
        )
        return ElasticsearchSource(config, base_dir=self._folder)


def plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def ids_of(source: ElasticsearchSource, window: WindowSlice = WINDOW) -> list[int]:
    """Ids read, which must be as many as the snapshot and a count of its own say."""
    with source.read(window) as snapshot:
        ids = sorted(rows_of(snapshot))
        assert snapshot.count == len(ids)
    assert source.count(window) == len(ids)
    return ids


def rows_of(snapshot: Snapshot) -> list[int]:
    """The column `id` of all batches."""
    ids: list[int] = []
    for batch in snapshot.batches:
        assert not batch.rejected
        ids += batch.rows.column("id").to_pylist()
    return ids

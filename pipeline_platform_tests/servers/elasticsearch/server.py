"""An Elasticsearch server as tests use it: clients, fresh indices, and its config section."""

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from typing_extensions import Self

REQUEST_SECONDS = 30.0
LOGINS = {"basic_auth", "api_key", "bearer_auth"}
INDEX_PREFIX = "pipeline-platform-test-"


class ElasticsearchServer:
    """What is the same for a node that tests started and for a server somewhere else.

    `with` starts it, where it is ours to start, and at the end removes its indices and closes
    its clients.
    """

    url: str

    @property
    def ca_file(self) -> Path | None:
        """The certificate authority to trust, where it is not a usual one."""
        return None

    def __init__(self) -> None:
        self._clients: list[Elasticsearch] = []
        self._own: Elasticsearch | None = None
        self._indices: list[str] = []
        self.names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._clients:
            self._clients.pop().close()
        self._own = None

    def client(self, **options: Any) -> Elasticsearch:
        """A client, closed with the server; without options it is always the same one."""
        if self._own is not None and not options:
            return self._own
        login = self._login()
        if LOGINS & options.keys():
            login = {name: value for name, value in login.items() if name not in LOGINS}
        client = Elasticsearch(
            **{"hosts": [self.url], "request_timeout": REQUEST_SECONDS, **login, **options}
        )
        self._clients.append(client)
        if not options:
            self._own = client
        return client

    def config(self) -> dict[str, Any]:
        """The connection part of a source's config section."""
        return {"hosts": [self.url]}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that `config()` refers to, with their values."""
        return {}

    def new_name(self) -> str:
        """A name that nothing has: for an index, a data stream or its template."""
        name = f"{INDEX_PREFIX}{uuid.uuid4().hex[:12]}"
        self.names.append(name)
        return name

    def new_index(
        self,
        mappings: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> str:
        """A fresh, empty index; one shard and no replicas unless `settings` say otherwise."""
        name = self.new_name()
        self.client().indices.create(
            index=name,
            mappings=mappings,
            settings={"number_of_shards": 1, "number_of_replicas": 0, **(settings or {})},
        )
        self._indices.append(name)
        return name

    def add(self, index: str, documents: Iterable[Mapping[str, Any]]) -> int:
        """Index documents (their `_source`), visible to searches afterwards; how many."""
        actions = ({"_op_type": "create", "_source": document} for document in documents)
        added, _ = bulk(self.client(), actions, index=index, refresh=True)
        return added

    def drop_indices(self) -> None:
        """Remove the indices that `new_index` made."""
        while self._indices:
            self.client().indices.delete(index=self._indices.pop(), ignore_unavailable=True)

    def _login(self) -> dict[str, Any]:
        return {}

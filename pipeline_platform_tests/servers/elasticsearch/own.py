"""An Elasticsearch that is somewhere already, named by environment variables."""

import os
from pathlib import Path
from typing import Any

from pipeline_platform_tests.servers.elasticsearch.server import ElasticsearchServer

URL = "PIPELINE_PLATFORM_ELASTICSEARCH_URL"
API_KEY = "PIPELINE_PLATFORM_ELASTICSEARCH_API_KEY"
CA_CERTS = "PIPELINE_PLATFORM_ELASTICSEARCH_CA_CERTS"


class OwnElasticsearch(ElasticsearchServer):
    """A server that tests did not start; they remove the indices they made in it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    @property
    def ca_file(self) -> Path | None:
        return Path(os.environ[CA_CERTS]) if CA_CERTS in os.environ else None

    def __exit__(self, *details: object) -> None:
        try:
            self.drop_indices()
            for name in self.names:
                self._drop_stream(name)
        finally:
            super().__exit__(*details)

    def config(self) -> dict[str, Any]:
        login = {"api_key": f"env:{API_KEY}"} if API_KEY in os.environ else {}
        trust = {"ca_certs": str(self.ca_file)} if self.ca_file else {}
        return {**super().config(), **login, **trust}

    def _drop_stream(self, name: str) -> None:
        # 400 and 405: a node from Maven cannot delete data streams, nor a template in use.
        indices = self.client().options(ignore_status=(400, 404, 405)).indices
        indices.delete_data_stream(name=name)
        indices.delete_index_template(name=name)
        indices.delete(index=name)

    def _login(self) -> dict[str, Any]:
        names = {"api_key": API_KEY, "ca_certs": CA_CERTS}
        return {key: os.environ[name] for key, name in names.items() if name in os.environ}

"""Indices of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.sources.elasticsearch.documents import Documents


@pytest.fixture
def documents(elasticsearch_server: ElasticsearchServer, tmp_path: Path) -> Iterator[Documents]:
    yield Documents(elasticsearch_server, tmp_path)
    elasticsearch_server.drop_indices()

"""Elasticsearch of its own: real nodes from Maven's jars, or Docker's image."""

import os

from pipeline_platform_tests.servers.elasticsearch.cluster import ElasticsearchCluster
from pipeline_platform_tests.servers.elasticsearch.node import ElasticsearchNode
from pipeline_platform_tests.servers.elasticsearch.own import URL, OwnElasticsearch
from pipeline_platform_tests.servers.elasticsearch.secured import SecuredElasticsearch
from pipeline_platform_tests.servers.elasticsearch.server import ElasticsearchServer

__all__ = [
    "ElasticsearchCluster",
    "ElasticsearchNode",
    "ElasticsearchServer",
    "SecuredElasticsearch",
    "elasticsearch_server",
]


def elasticsearch_server() -> ElasticsearchServer:
    """A node to start with `with`, or the server that the environment names."""
    own = os.environ.get(URL)
    return OwnElasticsearch(own) if own else ElasticsearchNode()

"""Systems that rows are read from."""

from pathlib import Path

from pipeline_platform.config.systems import SourceSystem
from pipeline_platform.connectors import build_connector
from pipeline_platform.sources.base import Source

SOURCES: dict[str, str] = {
    "duckdb": "pipeline_platform.sources.duckdb:DuckDBSource",
    "elasticsearch": "pipeline_platform.sources.elasticsearch.source:ElasticsearchSource",
    "postgres": "pipeline_platform.sources.postgres:PostgresSource",
}


def build_source(system: SourceSystem, *, base_dir: Path) -> Source:
    """The source of a config section; relative paths count from `base_dir`.

    Raises ConfigurationError if its class cannot be imported. Nothing is opened yet.
    """
    source: Source = build_connector(system, SOURCES, base_dir=base_dir)
    return source

"""helpers.scan as it is, its hits as Python objects to Arrow tables to one Parquet file."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan

from benchmarks.elasticsearch.sides.side import BATCH_DOCUMENTS, Job, main

Hits = Iterable[Mapping[str, Any]]


def deliver(job: Job) -> Callable[[], int]:
    """Default page size and JSON decoder."""
    with Elasticsearch(job.url) as client:
        return write(job, scan(client, index=job.index, query={"query": job.query}))


def write(job: Job, hits: Hits) -> Callable[[], int]:
    """Batches of documents to Parquet; the first one decides the schema."""
    path = job.files / "window.parquet"
    writer: pq.ParquetWriter | None = None
    each = iter(hits)
    while documents := [hit["_source"] for hit in islice(each, BATCH_DOCUMENTS)]:
        table = pa.Table.from_pylist(documents, schema=writer and writer.schema)
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return lambda: int(pq.read_metadata(path).num_rows)


if __name__ == "__main__":
    main(deliver)

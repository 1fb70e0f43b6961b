"""dlt with a resource around helpers.scan, to Parquet in a folder."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import dlt  # type: ignore[import-not-found,unused-ignore]
import pyarrow.parquet as pq
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan

from benchmarks.elasticsearch.sides.side import BATCH_DOCUMENTS, Job, main


def deliver(job: Job) -> Callable[[], int]:
    """Pages of documents, so that dlt need not look at each; all else as it comes."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(job.files / "dlt"),
        destination=dlt.destinations.filesystem(bucket_url=str(job.files / "files")),
        dataset_name="bench",
    )
    with Elasticsearch(job.url) as client:

        def documents() -> Iterator[list[Any]]:
            hits = scan(client, index=job.index, query={"query": job.query})
            while page := [hit["_source"] for hit in islice(hits, BATCH_DOCUMENTS)]:
                yield page

        resource = dlt.resource(documents, name="documents")
        pipeline.run(resource, loader_file_format="parquet").raise_on_failed_jobs()
    files = (job.files / "files" / "bench" / "documents").glob("*.parquet")
    return lambda: sum(pq.read_metadata(path).num_rows for path in files)


if __name__ == "__main__":
    main(deliver)

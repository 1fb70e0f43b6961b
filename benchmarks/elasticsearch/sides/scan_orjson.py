"""helpers.scan with pages of 10,000 and orjson as the decoder, else as the default one."""

from collections.abc import Callable

from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan
from elasticsearch.serializer import OrjsonSerializer

from benchmarks.elasticsearch.sides.scan import write
from benchmarks.elasticsearch.sides.side import Job, main

PAGE = 10_000


def deliver(job: Job) -> Callable[[], int]:
    """The same, tuned."""
    with Elasticsearch(job.url, serializer=OrjsonSerializer()) as client:
        hits = scan(client, index=job.index, query={"query": job.query}, size=PAGE)
        return write(job, hits)


if __name__ == "__main__":
    main(deliver)

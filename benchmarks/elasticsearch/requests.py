"""L5: how many requests and statements a window takes beside the pages of its documents."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import elastic_transport

from benchmarks.counting import FEW_ROWS, MANY_ROWS, ROWS_PER_FILE, counted_statements
from benchmarks.data import key_of_day
from benchmarks.elasticsearch.bench import KIND, SearchBench
from benchmarks.measure import Measure


@dataclass
class Requests:
    """What was sent to the server: pages of documents, and all else."""

    pages: int = 0
    others: int = 0

    def add(self, target: str, body: Mapping[str, Any] | None) -> None:
        """Take one request into account."""
        is_page = body is not None and "_shard_doc" in json.dumps(body.get("sort", ()))
        if target.startswith("/_search") and is_page:
            self.pages += 1
        else:
            self.others += 1


def request_counts(bench: SearchBench) -> Measure:
    """Requests and SQL statements of few documents, of many, and of many in many files."""
    many = bench.rows(MANY_ROWS)
    cases: tuple[tuple[str, int, dict[str, Any]], ...] = (
        (f"{FEW_ROWS} documents", 0, {}),
        (f"{many} documents", 1, {}),
        ("many files", 1, {"stage_system": {"rows_per_file": ROWS_PER_FILE}}),
    )
    samples: dict[str, list[float]] = {}
    told = []
    with bench.world(KIND, [FEW_ROWS, many]) as world:
        for name, day, changes in cases:
            pipeline = world.pipeline(**changes)
            # The first run of a window also registers it.
            world.move(pipeline, key_of_day(day))
            world.forget_window()
            with counted_requests() as requests, counted_statements(world) as statements:
                row = world.move(pipeline, key_of_day(day))
            files = row.phases["source_to_stage_transfer"].phase_specific_details["files"]
            assert files > 100 if changes else files == 1
            samples[name] = [float(requests.others + len(statements))]
            told.append(
                f"{name}: {requests.others} requests, {len(statements)} statements, "
                f"{requests.pages} pages, files: {files}"
            )
    counts = [values[0] for values in samples.values()]
    return Measure(
        f"L5.{KIND}", max(counts) - min(counts), "calls", 0, "at most", samples,
        "Difference in requests to Elasticsearch, pages of documents left out, and SQL statements "
        f"to DuckDB of one window ({'; '.join(told)}).",
    )  # fmt: skip


@contextmanager
def counted_requests() -> Iterator[Requests]:
    """Every request that the client sends within the block."""
    requests = Requests()
    send = elastic_transport.Transport.perform_request

    def counting(self: Any, method: str, target: str, **options: Any) -> Any:
        requests.add(target, options.get("body"))
        return send(self, method, target, **options)

    with patch.object(elastic_transport.Transport, "perform_request", counting):
        yield requests

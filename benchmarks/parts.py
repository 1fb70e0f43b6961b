"""The parts of the benchmarks, each a command of its own, with what each of them measures."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import claims, counting, dagster_tax, laws, loading, scale
from benchmarks.bench import Bench, database_bench
from benchmarks.elasticsearch import goals, memory, requests, slices
from benchmarks.elasticsearch.bench import DOCUMENTS, elasticsearch_bench
from benchmarks.elasticsearch.bench import KIND as ELASTICSEARCH
from benchmarks.elasticsearch.documents import SMALL, WIDE
from benchmarks.measure import Measure
from benchmarks.world import KINDS

# Of the laws' windows: the smallest is more than one row group, the last ten times as many.
SIZES = (150_000, 480_000, 1_500_000)

# A part's takes get that part's bench.
Take = Callable[[Any], Measure | Sequence[Measure]]


@dataclass(frozen=True)
class Part:
    """Measures that are taken in one run, with the systems they need."""

    title: str
    command: str
    endings: tuple[str, ...]
    """How the ids of its measures end."""
    packages: tuple[str, ...]
    open: Callable[[bool], AbstractContextManager[Bench]]
    takes: Mapping[str, Take]
    """By name: `<goal>.<kind>`, or the goal alone. A take may give several measures."""

    def owns(self, measure_id: str) -> bool:
        """Whether a measure of this id is of this part."""
        return measure_id.rpartition(".")[2] in self.endings


_PER_KIND: dict[str, Callable[..., Measure | Sequence[Measure]]] = {
    "P9": loading.load_rate,
    "P10": counting.audit_share,
    "P11": dagster_tax.dagster_tax,
    "L1": laws.time_by_rows,
    "L2": laws.memory_by_rows,
    "L3": claims.claim_cost,
    "L4": loading.load_by_target_size,
    "L5": counting.statement_counts,
    "L7": dagster_tax.events_of_a_run,
    "D2": scale.sensor_tick,
}

DATABASES = Part(
    "Databases",
    "make bench",
    (*KINDS, "D1"),
    ("dagster", "duckdb", "pyarrow", "psycopg", "adbc-driver-postgresql"),
    database_bench,
    {
        f"{goal}.{kind}": partial(take, kind=kind)
        for goal, take in _PER_KIND.items()
        for kind in KINDS
    }
    | {"D1": scale.definitions_loading},
)
SEARCH = Part(
    "Elasticsearch",
    "make bench-elasticsearch",
    (ELASTICSEARCH,),
    ("dagster", "duckdb", "pyarrow", "elasticsearch", "msgspec"),
    elasticsearch_bench,
    {
        f"P1-P5.{SMALL.name}": partial(goals.deliveries, shape=SMALL),
        f"P1-P5.{WIDE.name}": partial(goals.deliveries, shape=WIDE),
        "P9": lambda bench: loading.load_rate(bench.of(WIDE), ELASTICSEARCH, DOCUMENTS),
        "P10": lambda bench: counting.audit_share(bench.of(WIDE), ELASTICSEARCH, DOCUMENTS),
        "L1": partial(laws.time_by_rows, kind=ELASTICSEARCH, sizes_wanted=SIZES),
        "L2": partial(memory.memory_by_documents, sizes_wanted=SIZES),
        "L5": requests.request_counts,
        "L8": slices.slices,
    },
)
PARTS = {"databases": DATABASES, "elasticsearch": SEARCH}

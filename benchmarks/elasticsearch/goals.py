"""P1 to P5: how fast a window of Elasticsearch becomes files, and what that costs the client."""

from collections.abc import Iterable, Sequence

from benchmarks.elasticsearch.bench import KIND, SearchBench
from benchmarks.elasticsearch.comparison import (
    BARE,
    DUMP,
    DUMP_OPTIONS,
    OURS,
    SCAN,
    SCAN_TUNED,
    Comparison,
    all_sides,
    compare,
    delivered,
    elasticdump,
)
from benchmarks.elasticsearch.documents import SMALL, Shape
from benchmarks.elasticsearch.install import peers
from benchmarks.measure import Measure, median_of_ratios, medians

TO_SCAN, TO_TUNED_SCAN, TO_BARE_LOOP, TO_ELASTICDUMP = 2.2, 1.8, 0.50, 2.0
MOST_CPU = 0.65


def deliveries(bench: SearchBench, shape: Shape) -> Sequence[Measure]:
    """All five goals for documents of one shape, from the same samples."""
    taken = compare(bench.of(shape), all_sides())
    window = (
        f"of one day's {bench.documents:,} documents ({shape.name}: {len(shape.properties)} "
        f"fields, {shape.average_bytes()} bytes), 2 shards"
    )
    every = ", ".join(f"{side} {rate:,.0f}" for side, rate in medians(taken.rates()).items())
    p1 = (
        f"Documents a second {window}, from Elasticsearch to Parquet with proof and manifest, to "
        "`helpers.scan` as it is, `Table.from_pylist` and one Parquet file (zstd). Every side is "
        "a fresh process beside the server, its start and imports not counted. Documents a "
        f"second: {every}."
    )
    p2 = f"The same {window}, to `helpers.scan(size=10000)` with the orjson serializer."
    p3 = (
        f"The same {window}, to the bare read loop: one point in time, the same slices and sizes "
        "of pages over plain HTTP, their bytes dropped."
    )
    p5 = (
        f"The same {window}, to `elasticdump {' '.join(DUMP_OPTIONS)}` into a file of JSON lines; "
        "this version has no cap of requests in a time."
    )
    if shape is SMALL:
        default = delivered(bench.of(shape), DUMP, elasticdump(peers()))
        rate = default.documents / default.seconds
        p5 += f" With its defaults (100 documents a page) it gave {rate:,.0f}, of one sample."
    return [
        _faster(f"P1.{shape.name}", taken, SCAN, TO_SCAN, taken.samples, p1),
        _faster(f"P2.{shape.name}", taken, SCAN_TUNED, TO_TUNED_SCAN, (OURS, SCAN_TUNED), p2),
        _faster(f"P3.{shape.name}", taken, BARE, TO_BARE_LOOP, (OURS, BARE), p3),
        _cpu(f"P4.{shape.name}", taken, window),
        _faster(f"P5.{shape.name}", taken, DUMP, TO_ELASTICDUMP, (OURS, DUMP), p5),
    ]


def _faster(
    name: str, taken: Comparison, peer: str, bar: float, shown: Iterable[str], compared: str
) -> Measure:
    rates = taken.rates()
    value = median_of_ratios(rates, OURS, peer)
    samples = {side: rates[side] for side in shown}
    return Measure(f"{name}.{KIND}", value, "x", bar, "at least", samples, compared)


def _cpu(name: str, taken: Comparison, window: str) -> Measure:
    cpu = taken.cpu_per_million()
    memory = {f"{side} MiB": values for side, values in taken.peak_mib().items()}
    return Measure(
        f"{name}.{KIND}", median_of_ratios(cpu, OURS, SCAN), "x", MOST_CPU, "at most",
        cpu | memory,
        f"CPU seconds of the client (user and system) for a million documents, {window}, to P1's "
        "baseline. MiB: greatest resident memory of the process, its imports included.",
    )  # fmt: skip

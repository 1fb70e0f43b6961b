"""L8: two readers of two shards are faster than one, and more than shards do no harm."""

import os
from collections.abc import Sequence
from statistics import median

from benchmarks.elasticsearch.bench import KIND, SearchBench
from benchmarks.elasticsearch.comparison import Deliver, bare_loop, compare, platform
from benchmarks.elasticsearch.sides.side import Job, Sample
from benchmarks.measure import Measure, median_of_ratios, medians

GAIN, SHARE_OF_LIMIT, MORE_SLICES = 1.5, 0.9, 0.9
NUMBERS = (1, 2, 4)


def least_gain(bare_gain: float, cores_left: float) -> float:
    """What a second slice must gain: 1.5, or 0.9 of what there is to be had if that is less.

    It can gain no more than it gains the bare loop, which only waits for the server; and no more
    than the machine's cores are to those that one slice keeps busy, `cores_left`. A limit below
    one says that nothing is to be had; no loss is asked for then but the tenth.
    """
    return min(GAIN, SHARE_OF_LIMIT * max(1.0, min(bare_gain, cores_left)))


def slices(bench: SearchBench) -> Sequence[Measure]:
    """Documents a second with 1, 2 and 4 slices, ours and the bare loop's."""
    busy: list[float] = []
    sides: dict[str, Deliver] = {}
    for number in NUMBERS:
        sides[_ours(number)] = platform(number)
        sides[_bare(number)] = bare_loop(number)
    sides[_ours(1)] = _with_cores(bench, sides[_ours(1)], busy)
    taken = compare(bench, sides)
    rates = taken.rates()
    gain = median_of_ratios(rates, _ours(2), _ours(1))
    bare_gain = median_of_ratios(rates, _bare(2), _bare(1))
    cores = _cores() / median(busy)
    shown = ", ".join(f"{side} {rate:,.0f}" for side, rate in medians(rates).items())
    more = median_of_ratios(rates, _ours(4), _ours(2))
    return [
        Measure(
            f"L8.two_slices.{KIND}", gain, "x", round(least_gain(bare_gain, cores), 2),
            "at least", rates,
            f"Documents a second of two slices of two shards to those of one, "
            f"{bench.documents:,} documents ({shown}). The bar is 1.5, or 0.9 of what is to be had "
            f"here: the bare loop gains {bare_gain:.2f}, and one slice of ours keeps "
            f"{median(busy):.2f} of the machine's {_cores()} cores busy (server and client), which "
            f"leaves {cores:.2f}.",
        ),
        Measure(
            f"L8.more_slices.{KIND}", more, "x", MORE_SLICES, "at least",
            {side: rates[side] for side in (_ours(4), _ours(2))},
            "Documents a second of four slices of two shards to those of two.",
        ),
    ]  # fmt: skip


def _with_cores(bench: SearchBench, deliver: Deliver, busy: list[float]) -> Deliver:
    """Notes how many cores the server and the side were busy with."""

    def noted(job: Job) -> Sample:
        before = _server_cpu_seconds(bench)
        sample = deliver(job)
        server = _server_cpu_seconds(bench) - before
        busy.append((server + sample.cpu_seconds) / sample.seconds)
        return sample

    return noted


def _server_cpu_seconds(bench: SearchBench) -> float:
    [node] = bench.node.client().nodes.stats(metric="process")["nodes"].values()
    return int(node["process"]["cpu"]["total_in_millis"]) / 1000


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ours(number: int) -> str:
    return f"ours {number}"


def _bare(number: int) -> str:
    return f"bare loop {number}"

"""L2: the memory of reading and staging does not grow with the window."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.elasticsearch.bench import KIND, SearchBench
from benchmarks.elasticsearch.comparison import platform
from benchmarks.laws import MOST_MEMORY
from benchmarks.measure import Measure, Take, interleaved, medians


def memory_by_documents(bench: SearchBench, sizes_wanted: Sequence[int]) -> Measure:
    """Peak resident memory of a fresh process that stages a window, for n and 10n documents.

    Of the sizes the first and the last are compared, one is ten times the other.
    """
    sizes = [bench.rows(size) for size in sizes_wanted]
    take: Callable[[int], float] = partial(_peak_mib, bench, sizes)
    sides: dict[str, Take] = {
        f"{sizes[day]} documents": partial(take, day) for day in (0, len(sizes) - 1)
    }
    samples = interleaved(bench.repeats, sides, warm_up=False)
    small, large = medians(samples).values()
    return Measure(
        f"L2.{KIND}", large / small, "x", MOST_MEMORY, "at most", samples,
        "Peak resident memory (MiB) of a fresh process that reads one window of "
        f"{sizes[-1]:,} documents ({bench.shape.name}) and stages it, to one of {sizes[0]:,}; "
        "pages of 8 MiB, row groups of 122,880. The load that follows is in L2.duckdb.",
    )  # fmt: skip


def _peak_mib(bench: SearchBench, sizes: Sequence[int], day: int) -> float:
    with TemporaryDirectory(prefix="pipeline-platform-bench-") as folder:
        sample = platform()(bench.job(Path(folder), sizes, day))
    assert sample.documents == sizes[day]
    return sample.peak_mib

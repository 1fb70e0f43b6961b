"""One window delivered by the platform and its peers in turn, each in a process of its own."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.elasticsearch.bench import SearchBench, default_slices
from benchmarks.elasticsearch.install import Peers, peers
from benchmarks.elasticsearch.sides.side import Job, Sample, run_side
from benchmarks.measure import interleaved

OURS, BARE = "ours", "bare loop"
SCAN, SCAN_TUNED = "scan", "scan 10000 orjson"
DUMP = "elasticdump"
DLT = "dlt"

DUMP_OPTIONS = ("--limit=10000", "--throttleInterval=0")
_WARM_UPS = 3

Deliver = Callable[[Job], Sample]


@dataclass(frozen=True)
class Comparison:
    """Samples by side, in rounds; every one of them delivered all documents."""

    samples: Mapping[str, Sequence[Sample]]

    def rates(self) -> dict[str, list[float]]:
        """Documents a second."""
        return {
            side: [sample.documents / sample.seconds for sample in samples]
            for side, samples in self.samples.items()
        }

    def cpu_per_million(self) -> dict[str, list[float]]:
        """CPU seconds of the client for a million documents."""
        return {
            side: [1e6 * sample.cpu_seconds / sample.documents for sample in samples]
            for side, samples in self.samples.items()
        }

    def peak_mib(self) -> dict[str, list[float]]:
        """Greatest resident memory, MiB."""
        return {
            side: [sample.peak_mib for sample in samples] for side, samples in self.samples.items()
        }


def compare(bench: SearchBench, sides: Mapping[str, Deliver]) -> Comparison:
    """Rounds of one sample of each side, the server warm. RuntimeError if documents are missing."""
    samples: dict[str, list[Sample]] = {side: [] for side in sides}

    def take(side: str) -> float:
        sample = delivered(bench, side, sides[side])
        samples[side].append(sample)
        return sample.seconds

    for _ in range(0 if bench.quick else _WARM_UPS):
        delivered(bench, BARE, bare_loop(default_slices()))
    takes = {side: (lambda side=side: take(side)) for side in sides}
    interleaved(bench.repeats, takes, before_each=os.sync, warm_up=False)
    return Comparison(samples)


def all_sides() -> dict[str, Deliver]:
    """The platform, the bare loop and the peers."""
    installed = peers()
    return {
        OURS: platform(),
        BARE: bare_loop(default_slices()),
        SCAN: _python("scan", installed.python),
        SCAN_TUNED: _python("scan_orjson", installed.python),
        DUMP: elasticdump(installed, *DUMP_OPTIONS),
        DLT: _python("dlt_scan", installed.python),
    }


def platform(slices: int | None = None) -> Deliver:
    """The real source and stage; by default with the slices that they choose."""
    return lambda job: run_side("ours", replace(job, slices=slices), sys.executable)


def bare_loop(slices: int) -> Deliver:
    """What any reader of so many slices has to wait for."""
    return lambda job: run_side("bare", replace(job, slices=slices), sys.executable)


def _python(module: str, python: Path) -> Deliver:
    return lambda job: run_side(module, job, python)


def elasticdump(installed: Peers, *options: str) -> Deliver:
    """Without the time that Node and the program take to start."""

    def deliver(job: Job) -> Sample:
        program = replace(job, program=str(installed.elasticdump))
        start = run_side("elasticdump", replace(program, options=("--version",)), sys.executable)
        whole = run_side("elasticdump", replace(program, options=options), sys.executable)
        return replace(
            whole,
            seconds=whole.seconds - start.seconds,
            cpu_seconds=whole.cpu_seconds - start.cpu_seconds,
        )

    return deliver


def delivered(bench: SearchBench, side: str, deliver: Deliver) -> Sample:
    """One sample of the bench's window. RuntimeError if documents are missing."""
    with TemporaryDirectory(prefix="pipeline-platform-bench-") as folder:
        sample = deliver(bench.job(Path(folder)))
    if sample.documents != bench.documents:
        raise RuntimeError(f"{side} delivered {sample.documents} of {bench.documents} documents.")
    return sample

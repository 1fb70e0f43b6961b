"""What every side is told and tells. Standard library only: the peers' environment runs it too."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
STATUS = Path("/proc/self/status")
BATCH_DOCUMENTS = 10_000
SIDE_SECONDS = 300
_POOL = "ARROW_DEFAULT_MEMORY_POOL"


@dataclass(frozen=True)
class Job:
    """One window of an index, `[start, end)` of the field `placed_at`, and an empty folder."""

    url: str
    index: str
    start: str
    end: str
    folder: str
    slices: int | None = None
    program: str | None = None
    """What the side starts, where it is not a Python library."""
    options: tuple[str, ...] = ()
    """Of that program."""

    @property
    def query(self) -> dict[str, Any]:
        """The window in the server's language."""
        return {"bool": {"filter": [{"range": {"placed_at": {"gte": self.start, "lt": self.end}}}]}}

    @property
    def files(self) -> Path:
        """The folder for what is delivered."""
        return Path(self.folder)


@dataclass(frozen=True)
class Sample:
    """What delivering cost, the process's start and its imports left out.

    seconds: wall clock. cpu_seconds: user and system time of the process and its children.
    peak_mib: greatest resident memory of the whole process or a child, whichever is greater.
    """

    documents: int
    seconds: float
    cpu_seconds: float
    peak_mib: float


def main(deliver: Callable[[Job], Callable[[], int]]) -> None:
    """Deliver the job of the only argument; print the sample.

    `deliver` returns how to count the delivered documents, which is not measured.
    """
    job = Job(**json.loads(sys.argv[1]))
    cpu, began = _cpu_seconds(), time.perf_counter()
    count = deliver(job)
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    print(json.dumps(asdict(Sample(count(), seconds, cpu, _peak_mib()))))


def run_side(module: str, job: Job, python: str | Path) -> Sample:
    """The sample of a side in a fresh process. Raises RuntimeError if it fails."""
    done = subprocess.run(
        [python, "-m", f"{__package__}.{module}", json.dumps(asdict(job))],
        cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=SIDE_SECONDS,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-2000:]}")
    # Libraries may print as well; the sample comes last.
    return Sample(**json.loads(done.stdout.splitlines()[-1]))


def _environment() -> dict[str, str]:
    """Without what the platform set for its own processes: every side starts as its users do."""
    return {name: value for name, value in os.environ.items() if name != _POOL}


def _cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _peak_mib() -> float:
    """Linux lets a child inherit the ru_maxrss of its parent, so there its status file is read."""
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**20
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        own = int(line.split()[1]) / 1024
    return max(own, children)

"""Moves one window in a process of its own and tells how much memory that took at its peak."""

import json
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.world import EMBEDDED, World
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.servers.postgres import Database

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Job:
    """Which window to move, and where its world is."""

    kind: str
    folder: str
    key: str
    database: Database | None

    def as_json(self) -> str:
        """The argument for the process."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> "Job":
        """What `as_json` wrote."""
        values = json.loads(text)
        database = values.pop("database")
        return cls(**values, database=Database(**database) if database else None)

    def world(self) -> World:
        """The world that the parent made."""
        folder = Path(self.folder)
        if self.kind == EMBEDDED:
            return World(self.kind, folder, pipelines.duckdb_store(folder), None)
        assert self.database is not None
        store = pipelines.postgres_store(self.database, folder)
        return World(self.kind, folder, store, self.database)


def peak_mib() -> float:
    """Peak resident memory of this process.

    Linux lets a child inherit the ru_maxrss of its parent, so there its status file is read.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    bytes_of_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_of_unit / 2**20


def main() -> None:
    """Move the window of the only argument."""
    job = Job.parse(sys.argv[1])
    world = job.world()
    world.move(world.pipeline(), job.key)
    print(json.dumps({"peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()

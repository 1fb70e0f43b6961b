"""A load in a process of its own, to be killed: `python -m ... FOLDER EPOCH`."""

import sys
from pathlib import Path

from pipeline_platform_tests.targets.staged import SCHEMA, Staging, rows_of
from pipeline_platform_tests.targets.test_duckdb import DuckDBFile

if __name__ == "__main__":
    folder, epoch = Path(sys.argv[1]), int(sys.argv[2])
    target = DuckDBFile(folder).target()
    target.prepare(SCHEMA)
    target.load(Staging(folder).request(rows_of(9, first=500), epoch=epoch))

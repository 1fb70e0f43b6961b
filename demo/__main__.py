"""The demo: seven days of flights from one DuckDB file into another, then one again."""

import os

from demo import load_flights
from demo.windows import demo_project, run_days
from pipeline_platform.report import console

GOODBYE = """
The rows are in data/warehouse.duckdb, table analytics.flights; what happened is in the view
pipeline_platform.pipeline_execution_drive of the same file. How to go on:
  .venv/bin/pipeline-platform status flights
  .venv/bin/pipeline-platform run flights --window 2013-11-03
  make ui          the same in the browser
"""


def main() -> int:
    """Run the demo from the project's folder; 0 if every window is right."""
    out = console()
    project = demo_project()
    os.chdir(project.root)
    rows = load_flights.main()
    out.print(f"{load_flights.DATABASE}: table flights, {rows:,} rows")
    right = run_days(project, "flights", out)
    out.print(GOODBYE, markup=False)
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""The demo: seven days of flights across the change to daylight saving time, then one again."""

import os
from pathlib import Path

from demo import load_flights
from pipeline_platform.project import find_project
from pipeline_platform.report import console, results_table, window_line
from pipeline_platform.runner import run_window

PIPELINE = "flights"
DAYS = [f"2013-03-{day:02d}" for day in range(7, 14)]
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
    project = find_project(Path(__file__).parent)
    os.chdir(project.root)
    rows = load_flights.main()
    out.print(f"{load_flights.DATABASE}: table flights, {rows:,} rows")
    plan = project.pipeline(PIPELINE).pipeline.windows
    windows = [plan.window_of_key(day) for day in DAYS]
    results = []
    with project.instance() as instance:
        for number, window in enumerate(windows, 1):
            progress = f"[{number}/{len(windows)}]"
            with out.status(f"{progress} {PIPELINE} {window.key} ..."):
                result = run_window(project, PIPELINE, window, instance)
            results.append(result)
            out.print(progress, window_line(PIPELINE, result))
        out.print(results_table(PIPELINE, results))
        if results[0].verdict == "SUCCESS":
            out.print("Once more, what is right already:")
            results.append(run_window(project, PIPELINE, windows[0], instance))
            out.print(window_line(PIPELINE, results[-1]))
    out.print(GOODBYE, markup=False)
    return 0 if all(result.success for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())

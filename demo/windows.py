"""Runs the demo's seven days of one pipeline and prints what happened."""

from pathlib import Path

from rich.console import Console

from pipeline_platform.project import Project, find_project
from pipeline_platform.report import results_table, window_line
from pipeline_platform.runner import run_window

# Across the change to daylight saving time.
DAYS = [f"2013-03-{day:02d}" for day in range(7, 14)]


def demo_project() -> Project:
    """The project that the demo is part of."""
    return find_project(Path(__file__).parent)


def run_days(project: Project, pipeline: str, out: Console) -> bool:
    """Run the days, then the first one again, which is right already; whether all are right."""
    plan = project.pipeline(pipeline).pipeline.windows
    windows = [plan.window_of_key(day) for day in DAYS]
    results = []
    with project.instance() as instance:
        for number, window in enumerate(windows, 1):
            progress = f"[{number}/{len(windows)}]"
            with out.status(f"{progress} {pipeline} {window.key} ..."):
                result = run_window(project, pipeline, window, instance)
            results.append(result)
            out.print(progress, window_line(pipeline, result))
        out.print(results_table(pipeline, results))
        if results[0].verdict == "SUCCESS":
            out.print("Once more, what is right already:")
            results.append(run_window(project, pipeline, windows[0], instance))
            out.print(window_line(pipeline, results[-1]))
    return all(result.success for result in results)

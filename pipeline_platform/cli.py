"""Commands: `run`, `backfill`, `recheck`, `status`, `validate`.

Exit codes: 0 success or already right, 1 failed, 2 bad usage or config, 130 interrupted.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.automation.recheck import recheck_tag
from pipeline_platform.backfill import plan_backfill
from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.flow.recheck import recounts
from pipeline_platform.project import Project, find_project
from pipeline_platform.report import (
    console,
    left_out_line,
    recheck_line,
    recheck_table,
    records_table,
    results_table,
    runs_table,
    summary_line,
    window_line,
    window_progress,
)
from pipeline_platform.runner import BACKFILL_TAG, WindowResult, run_window, wishes
from pipeline_platform.validation import Finding, validate_path, validate_project

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130

Force = Annotated[
    bool, typer.Option("--force", help="Move windows again even if they are right already.")
]
Restate = Annotated[
    bool,
    typer.Option(
        "--restate",
        help="Replace rows of this pipeline's windows that had other bounds, after a change of "
        "query_window.duration or schedule.timezone.",
    ),
]

app = typer.Typer(
    help="Time-windowed data pipelines: run a window, see what happened, check a config.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = console()
err = console(stderr=True)


@app.callback()
def main() -> None:
    """Run inside a project: a folder whose pyproject.toml has [tool.dg.project], or below it."""
    # What a driver has to say comes as an error of ours; its own log lines would only confuse.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    window: Annotated[
        list[str],
        typer.Option("--window", help="Partition key, e.g. 2013-03-07; may be given repeatedly."),
    ],
    force: Force = False,
    restate: Restate = False,
) -> None:
    """Move windows from source to target through Dagster, with retries and backoff."""
    with _reported_errors():
        project = _enter_project()
        plan = project.pipeline(pipeline).pipeline.windows
        windows = [plan.window_of_key(key) for key in dict.fromkeys(window)]
        results = []
        with project.instance() as instance:
            for one in windows:
                with out.status(f"{pipeline} {one.key} ..."):
                    result = run_window(
                        project,
                        pipeline,
                        one,
                        instance,
                        tags=wishes(force=force, restate=restate),
                        before_retry=_tell_retry,
                    )
                results.append(result)
                out.print(window_line(pipeline, result))
        out.print(results_table(pipeline, results))
        if not all(result.success for result in results):
            raise typer.Exit(FAILED)


@app.command()
def backfill(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    begin: Annotated[
        str, typer.Option("--from", help="First window: a day (2013-03-07) or a partition key.")
    ],
    end: Annotated[
        str, typer.Option("--to", help="First day or partition key that is left out (exclusive).")
    ],
    failed_only: Annotated[
        bool, typer.Option("--failed-only", help="Only windows whose last run failed.")
    ] = False,
    missing_only: Annotated[
        bool,
        typer.Option(
            "--missing-only",
            help="Only windows that were never brought through their audit and did not fail.",
        ),
    ] = False,
    force: Force = False,
    restate: Restate = False,
) -> None:
    """Move all windows of a range, oldest first, with retries; a failed one does not stop it."""
    with _reported_errors():
        project = _enter_project()
        found = project.pipeline(pipeline).pipeline
        project.store.migrate()
        plan = plan_backfill(
            found, project.store, begin, end, failed_only=failed_only, missing_only=missing_only
        )
        out.print(left_out_line(plan))
        if not plan.windows:
            return
        results: list[WindowResult] = []
        tags = wishes(force=force, restate=restate)
        tags[BACKFILL_TAG] = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        try:
            with project.instance() as instance, window_progress(out, pipeline) as progress:
                for one in progress.track(plan.windows):
                    result = run_window(
                        project, pipeline, one, instance,
                        tags=tags, before_retry=_tell_retry,
                    )  # fmt: skip
                    results.append(result)
                    progress.console.print(window_line(pipeline, result))
        finally:
            if results:
                out.print(results_table(pipeline, results))
                out.print(summary_line(results, plan.failed_before))
        if not all(result.success for result in results):
            raise typer.Exit(FAILED)


@app.command()
def recheck(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    windows: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many of the last audited windows; recheck.windows without it."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what is not as committed.")
    ] = False,
) -> None:
    """Count audited windows again and load those that grew; fails if one is not as committed."""
    with _reported_errors():
        project = _enter_project()
        found = project.pipeline(pipeline).pipeline
        project.store.migrate()
        limit = windows or found.config.recheck.windows
        with out.status(f"{pipeline}: counting the last {limit} windows again ..."):
            counted = list(recounts(found, project.store, limit))
        out.print(recheck_table(pipeline, counted))
        again = [] if dry_run else [one for one in counted if one.reload]
        results = []
        if again:
            with project.instance() as instance:
                for one in again:
                    result = run_window(
                        project, pipeline, one.window, instance,
                        tags=recheck_tag(one), before_retry=_tell_retry,
                    )  # fmt: skip
                    results.append(result)
                    out.print(window_line(pipeline, result))
            counted = list(recounts(found, project.store, limit))
        left = [one for one in counted if one.deviations]
        out.print(recheck_line(counted, left))
        if left or not all(result.success for result in results):
            raise typer.Exit(FAILED)


@app.command()
def status(
    pipeline: Annotated[
        str | None, typer.Argument(help="Name of the pipeline; all of them without it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs to show.")] = 20,
) -> None:
    """Show the windows of a pipeline and its latest runs, from the drive table."""
    with _reported_errors():
        project = _enter_project()
        names = [project.pipeline(pipeline).pipeline.name] if pipeline else [*project.pipelines]
        if not names:
            out.print(f"There is no pipeline in {project.root} yet.", markup=False)
            return
        store = project.store
        store.migrate()
        out.print(records_table(store, sorted(names)))
        runs = runs_table(store, sorted(names), limit)
        out.print(runs if runs.row_count else "No run yet.")


@app.command()
def validate(
    path: Annotated[
        Path | None,
        typer.Argument(
            exists=True, help="A config file or a folder of defs/; the whole project without it."
        ),
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect/--no-connect", help="Also check that the systems answer.")
    ] = True,
) -> None:
    """Check configs, and that source, stage and target answer and hold what they name."""
    with _reported_errors():
        if path is not None:
            findings = validate_path(path.resolve(), connect=connect)
        else:
            findings = validate_project(_enter_project(), connect=connect)
        passed = True
        for finding in findings:
            _print_finding(finding)
            passed = passed and finding.passed
        if not passed:
            raise typer.Exit(BAD_USAGE)


def _print_finding(finding: Finding) -> None:
    console, mark = (out, "[green]✓[/]") if finding.passed else (err, "[red]✗[/]")
    console.print(f"{mark} ", end="")
    console.print(f"{finding.where}  {finding.text}", markup=False)


def _tell_retry(result: WindowResult) -> None:
    err.print(f"attempt {result.attempts}: {result.reason} Trying again.", markup=False)


def _enter_project() -> Project:
    """Work from the project's folder: relative paths of dagster.yaml count from there."""
    project = find_project(Path.cwd())
    os.chdir(project.root)
    return project


@contextmanager
def _reported_errors() -> Iterator[None]:
    try:
        yield
    except PipelineError as error:
        err.print(str(error), style="red", markup=False)
        bad_usage = isinstance(error, ConfigurationError)
        raise typer.Exit(BAD_USAGE if bad_usage else FAILED) from error
    except KeyboardInterrupt as interrupt:
        err.print("Interrupted; a window that was running is free again.", style="red")
        raise typer.Exit(INTERRUPTED) from interrupt


if __name__ == "__main__":
    app()

"""Commands: `run`, `status`, `validate`.

Exit codes: 0 success or already right, 1 failed, 2 bad usage or config.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.project import Project, find_project
from pipeline_platform.report import records_table, results_table, runs_table
from pipeline_platform.runner import run_window
from pipeline_platform.validation import Finding, validate_path, validate_project

FAILED, BAD_USAGE = 1, 2

app = typer.Typer(
    help="Time-windowed data pipelines: run a window, see what happened, check a config.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


@app.callback()
def main() -> None:
    """Run inside a project: a folder whose pyproject.toml has [tool.dg.project], or below it."""


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    window: Annotated[
        list[str],
        typer.Option("--window", help="Partition key, e.g. 2013-03-07; may be given repeatedly."),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Move the window again even if it is right already.")
    ] = False,
) -> None:
    """Move windows from source to target through Dagster, with retries and backoff."""
    with _reported_errors():
        project = _enter_project()
        found = project.pipeline(pipeline)
        windows = [found.pipeline.windows.window_of_key(key) for key in window]
        results = []
        with project.instance() as instance:
            for one in windows:
                with out.status(f"{pipeline} {one.key} ..."):
                    result = run_window(project, pipeline, one, instance, force=force)
                results.append(result)
                verdict = "[green]✓[/]" if result.success else "[red]✗[/]"
                out.print(f"{verdict} {pipeline} {one.key}  {result.reason}", highlight=False)
        out.print(results_table(pipeline, results))
        if not all(result.success for result in results):
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
        names = [pipeline] if pipeline else sorted(project.pipelines())
        for name in names:
            project.pipeline(name)
        store = project.store()
        store.migrate()
        out.print(records_table(store, names))
        out.print(runs_table(store, names, limit))


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
    """Check configs, and that source, stage and target are there and fit."""
    with _reported_errors():
        if path is not None:
            findings = list(validate_path(path.resolve(), connect=connect))
        else:
            findings = list(validate_project(_enter_project(), connect=connect))
        for finding in findings:
            _print_finding(finding)
        if not all(finding.passed for finding in findings):
            raise typer.Exit(BAD_USAGE)


def _print_finding(finding: Finding) -> None:
    mark = "[green]✓[/]" if finding.passed else "[red]✗[/]"
    console = out if finding.passed else err
    console.print(f"{mark} {finding.where}  ", end="", highlight=False)
    console.print(finding.text, markup=False, highlight=False, soft_wrap=True)


def _enter_project() -> Project:
    """Work from the project's folder: relative paths of dagster.yaml count from there."""
    project = find_project(Path.cwd())
    os.chdir(project.root)
    return project


@contextmanager
def _reported_errors() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_USAGE) from error
    except PipelineError as error:
        err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        err.print("Interrupted; the window is free again and may be run again.", style="red")
        sys.exit(130)


if __name__ == "__main__":
    app()

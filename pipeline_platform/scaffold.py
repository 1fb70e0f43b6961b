"""What `dg scaffold defs` writes for a pipeline and for the drive table."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn

import dagster as dg
import typer
from pydantic import BaseModel, Field, ValidationError

from pipeline_platform.config.attributes import (
    DEFS_FILE,
    DRIVE_TABLE_TYPE,
    PIPELINE_TYPE,
    components_in,
    pipeline_name_in,
)
from pipeline_platform.config.layout import find_layout
from pipeline_platform.config.load import shown_path
from pipeline_platform.config.sections import PipelineMetadata
from pipeline_platform.config.template import drive_table_template, pipeline_template
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.naming import safe_column_name

Warehouse = Literal["duckdb", "postgres"]


class PipelineOptions(BaseModel):
    """Options of `dg scaffold defs pipeline_platform.WindowedPipeline NAME`."""

    source: Warehouse = Field("postgres", description="Where rows are read from.")
    target: Warehouse = Field("duckdb", description="Where rows end.")


class DriveTableOptions(BaseModel):
    """Options of `dg scaffold defs pipeline_platform.DriveTable NAME`."""

    type: Warehouse = Field("duckdb", description="The database that holds the drive table.")


class PipelineScaffolder(dg.Scaffolder[PipelineOptions]):
    """Writes a pipeline named like its folder, and a drive table if the project has none."""

    @classmethod
    def get_scaffold_params(cls) -> type[PipelineOptions]:
        """`--source` and `--target`."""
        return PipelineOptions

    def scaffold(self, request: dg.ScaffoldRequest[PipelineOptions]) -> None:
        """Refuses a name that a pipeline cannot have, or that another one has; writes nothing then.

        The drive table is of the target's kind: the state belongs into the warehouse.
        """
        name = request.target_path.name
        _refuse_python(request)
        try:
            PipelineMetadata(pipeline_name=name)
        except ValidationError:
            _refuse(
                request,
                f"{name} cannot be the name of a pipeline: it must begin with a lower-case letter "
                "and have only lower-case letters, digits and underscores, at most 63. "
                f"Try: {_command(PIPELINE_TYPE, _legal(name))}",
            )
        defs_folder = find_layout(request.target_path).defs_folder
        for file, component in _components(defs_folder, PIPELINE_TYPE):
            if pipeline_name_in(component.get("attributes")) == name:
                _refuse(
                    request,
                    f"There is a pipeline {name} already, in {shown_path(file)}. Choose another "
                    "name.",
                )
        kinds = request.params
        text = pipeline_template(name, source=kinds.source, target=kinds.target)
        _write(request.target_path, text)
        drive_table = defs_folder / "drive_table"
        if not (any(_components(defs_folder, DRIVE_TABLE_TYPE)) or drive_table.exists()):
            _write(drive_table, drive_table_template(kinds.target))
        typer.echo(
            f"Now put your own host, table and so on into {shown_path(request.target_path)}, and "
            f"check it with: pipeline-platform validate {shown_path(request.target_path)}"
        )


class DriveTableScaffolder(dg.Scaffolder[DriveTableOptions]):
    """Writes the drive table of a project."""

    @classmethod
    def get_scaffold_params(cls) -> type[DriveTableOptions]:
        """`--type`."""
        return DriveTableOptions

    def scaffold(self, request: dg.ScaffoldRequest[DriveTableOptions]) -> None:
        """Refuses a second drive table; writes nothing then."""
        _refuse_python(request)
        defs_folder = find_layout(request.target_path).defs_folder
        for file, _ in _components(defs_folder, DRIVE_TABLE_TYPE):
            _refuse(
                request,
                f"The project has a drive table already, in {shown_path(file)}, and can have only "
                "one. Edit that file.",
            )
        _write(request.target_path, drive_table_template(request.params.type))


def _components(defs_folder: Path, kind: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Components of a type in the project's files; a file that is not YAML is for `validate`."""
    for file in sorted(defs_folder.rglob(DEFS_FILE)):
        with suppress(ConfigurationError):
            for document in components_in(file, kind):
                yield file, document.values


def _write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / DEFS_FILE
    with file.open("x", encoding="utf-8") as new:
        new.write(text)
    typer.echo(f"Wrote {shown_path(file)}.")


def _legal(name: str) -> str:
    with suppress(ConfigurationError):
        legal = safe_column_name(name).lstrip("_")[:63]
        return legal if legal[:1].isalpha() else f"p_{legal}"
    return "orders"


def _command(component: str, name: str) -> str:
    return f"dg scaffold defs {component} {name}"


def _refuse_python(request: dg.ScaffoldRequest[Any]) -> None:
    if request.scaffold_format != "yaml" or request.append:
        _refuse(
            request,
            f"{request.type_name} is described in a {DEFS_FILE} of its own. Leave --format out: "
            f"{_command(request.type_name, request.target_path.name)}",
        )


def _refuse(request: dg.ScaffoldRequest[Any], problem: str) -> NoReturn:
    # dg has made the folder before it asks; left behind, it would be "already there" next time.
    with suppress(OSError):
        request.target_path.rmdir()
    typer.echo(problem, err=True)
    raise SystemExit(1)

"""The two doors of a config: inline attributes of a component, or a file of its own beside it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import RootModel, ValidationError

from pipeline_platform.config.connections import Section
from pipeline_platform.config.inline_schema import attributes_schema, state_schema
from pipeline_platform.config.load import (
    LoadedConfig,
    explained,
    load_config,
    parse_config,
    shown_path,
    unreadable,
)
from pipeline_platform.config.locations import (
    Document,
    DocumentError,
    Locations,
    read_document,
    read_documents,
)
from pipeline_platform.config.problems import ConfigFileError
from pipeline_platform.config.systems import StateSystem
from pipeline_platform.errors import ConfigurationError

PIPELINE_TYPE = "pipeline_platform.WindowedPipeline"
DRIVE_TABLE_TYPE = "pipeline_platform.DriveTable"
DEFS_FILE = "defs.yaml"

Resolve = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class PipelineAttributes(RootModel[dict[str, Any]]):
    """Attributes of `pipeline_platform.WindowedPipeline`, checked by `load_attributes`."""

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """What `dg check yaml` compares with, line by line."""
        return attributes_schema()


class StateAttributes(RootModel[dict[str, Any]]):
    """Attributes of `pipeline_platform.DriveTable`, checked by `load_state`."""

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """The connection of one of the drive stores, or the file that holds it."""
        return state_schema()


class _DriveTableFile(Section):
    """A drive table's attributes where they stand in a defs.yaml."""

    attributes: StateSystem


def switched_off(values: Mapping[str, Any]) -> str | None:
    """The name of a pipeline whose attributes say `enabled: false`; None of any other.

    Asked before they are read as a config: variables of a pipeline that is off need not be set.
    """
    metadata = values.get("pipeline_metadata")
    if not isinstance(metadata, Mapping) or metadata.get("enabled") is not False:
        return None
    return str(metadata.get("pipeline_name"))


def load_attributes(values: Mapping[str, Any], folder: Path, project_root: Path) -> LoadedConfig:
    """The config of a component in `folder`, whichever door it uses.

    ConfigFileError lists all mistakes of the config with file and line.
    """
    defs_file = folder / DEFS_FILE if folder.is_dir() else folder
    if "config" in values:
        _refuse_both_doors(values, shown_path(defs_file))
        return load_config(defs_file.parent / str(values["config"]))
    document = _document_of(defs_file, values)
    return parse_config(
        values,
        where=shown_path(defs_file),
        path=defs_file,
        base_dir=project_root,
        locations=document.locations.below("attributes") if document else None,
        key_problems=document.problems if document else (),
    )


def load_state(values: dict[str, Any], folder: Path, resolve: Resolve) -> dict[str, Any]:
    """The attributes of the drive table in `folder` if they are valid.

    They stand inline, or in the file that `config` names, whose templates `resolve` resolves as
    Dagster did those of the attributes. ConfigFileError lists what is wrong with
    them, with file and line. References stay references.
    """
    defs_file = folder / DEFS_FILE if folder.is_dir() else folder
    where = shown_path(defs_file)
    if "config" in values:
        _refuse_both_doors(values, where)
        return _state_in(defs_file.parent / str(values["config"]), resolve)
    nested = {"attributes": values}
    try:
        _DriveTableFile.model_validate(nested)
    except ValidationError as error:
        document = _document_of(defs_file, values, DRIVE_TABLE_TYPE)
        locations = document.locations if document else Locations()
        problems = explained(error, nested, where, locations, _DriveTableFile)
        raise ConfigFileError(where, problems) from None
    return _given(values)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a template left empty: Dagster takes no None in a resource's settings."""
    return {name: value for name, value in values.items() if value is not None}


def _refuse_both_doors(values: Mapping[str, Any], where: str) -> None:
    if set(values) != {"config"}:
        raise ConfigurationError(
            f"{where}: `config` and sections of a config exclude each other.",
            hint="Keep the sections in the file that `config` names, or inline.",
        )


def _state_in(path: Path, resolve: Resolve) -> dict[str, Any]:
    where = shown_path(path)
    try:
        document = read_document(path)
    except DocumentError as error:
        raise unreadable(where, error) from None
    values = dict(resolve(document.values))
    nested = {"attributes": values}
    try:
        _DriveTableFile.model_validate(nested)
    except ValidationError as error:
        problems = explained(error, nested, where, document.locations.above(), _DriveTableFile)
        inside = [replace(one, field=one.field.removeprefix("attributes.")) for one in problems]
        raise ConfigFileError(where, inside) from None
    return _given(values)


def read_defs(path: Path) -> list[Document]:
    """The components in a defs.yaml as they are written; ConfigFileError if it is no YAML."""
    try:
        return read_documents(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        error = DocumentError("the file is not UTF-8 text")
        raise unreadable(shown_path(path), error) from None
    except DocumentError as error:
        raise unreadable(shown_path(path), error) from None


def components_in(path: Path, kind: str) -> list[Document]:
    """The components of one type in a defs.yaml; ConfigFileError if it is no YAML."""
    return [
        one
        for one in read_defs(path)
        if isinstance(one.values, Mapping) and one.values.get("type") == kind
    ]


def _document_of(
    path: Path, values: Mapping[str, Any], kind: str = PIPELINE_TYPE
) -> Document | None:
    """The document these attributes come from; templates in it are resolved by now."""
    if not path.exists():
        return None
    name = pipeline_name_in(values)
    documents = components_in(path, kind)
    named = [one for one in documents if pipeline_name_in(one.values.get("attributes")) == name]
    return next(iter(named or documents), None)


def pipeline_name_in(attributes: object) -> object:
    """The name that a component's attributes give inline; None without one."""
    metadata = attributes.get("pipeline_metadata") if isinstance(attributes, Mapping) else None
    return metadata.get("pipeline_name") if isinstance(metadata, Mapping) else None

"""The two doors of a config: inline attributes of a component, or a file of its own beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import RootModel, TypeAdapter, ValidationError

from pipeline_platform.config.inline_schema import attributes_schema
from pipeline_platform.config.load import (
    LoadedConfig,
    load_config,
    parse_config,
    project_folder,
    shown_path,
    unreadable,
)
from pipeline_platform.config.locations import Document, DocumentError, read_documents
from pipeline_platform.config.problems import ConfigFileError, ConfigProblem
from pipeline_platform.config.systems import StateSystem
from pipeline_platform.errors import ConfigurationError

PIPELINE_TYPE = "pipeline_platform.WindowedPipeline"
DEFS_FILE = "defs.yaml"


class PipelineAttributes(RootModel[dict[str, Any]]):
    """Attributes of `pipeline_platform.WindowedPipeline`, checked by `load_attributes`."""

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """What `dg check yaml` compares with, line by line."""
        return attributes_schema()


class StateAttributes(RootModel[dict[str, Any]]):
    """Attributes of `pipeline_platform.DriveTable`."""

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """The connection of one of the drive stores."""
        return TypeAdapter[StateSystem](StateSystem).json_schema()

    @classmethod
    def checked(cls, values: dict[str, Any], where: str) -> dict[str, Any]:
        """The attributes if they are valid; ConfigFileError lists what is wrong with them."""
        try:
            TypeAdapter[StateSystem](StateSystem).validate_python(values)
        except ValidationError as error:
            problems = [
                ConfigProblem(where, None, None, ".".join(map(str, one["loc"])), one["msg"])
                for one in error.errors(include_url=False, include_input=False)
            ]
            raise ConfigFileError(where, problems) from None
        return values


def load_attributes(values: Mapping[str, Any], folder: Path, project_root: Path) -> LoadedConfig:
    """The config of a component in `folder`, whichever door it uses.

    ConfigFileError lists all mistakes of the config with file and line.
    """
    defs_file = folder / DEFS_FILE if folder.is_dir() else folder
    if "config" in values:
        if set(values) != {"config"}:
            raise ConfigurationError(
                f"{shown_path(defs_file)}: `config` and sections of a config exclude each other.",
                hint="Keep the sections in the file that `config` names, or inline.",
            )
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


def load_file(path: Path) -> Iterator[LoadedConfig]:
    """The configs in a file: a config itself, or the pipelines of a defs.yaml.

    ConfigFileError lists all mistakes of the first config that has any.
    """
    if path.name != DEFS_FILE:
        yield load_config(path)
        return
    for document in _documents(path):
        values = document.values
        if isinstance(values, Mapping) and values.get("type") == PIPELINE_TYPE:
            attributes = values.get("attributes") or {}
            yield load_attributes(attributes, path.parent, project_folder(path))


def _documents(path: Path) -> list[Document]:
    try:
        return read_documents(path.read_text(encoding="utf-8"))
    except DocumentError as error:
        raise unreadable(shown_path(path), error) from None


def _document_of(path: Path, values: Mapping[str, Any]) -> Document | None:
    """The document these attributes come from; templates in it are resolved by now."""
    if not path.exists():
        return None
    name = _name_in(values)
    documents = [one for one in _documents(path) if isinstance(one.values, Mapping)]
    named = [one for one in documents if _name_in(one.values.get("attributes")) == name]
    return next(iter(named or documents), None)


def _name_in(attributes: object) -> object:
    metadata = attributes.get("pipeline_metadata") if isinstance(attributes, Mapping) else None
    return metadata.get("pipeline_name") if isinstance(metadata, Mapping) else None

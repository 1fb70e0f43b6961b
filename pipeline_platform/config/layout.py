"""Where a Dagster project keeps its code, as its pyproject.toml says."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_platform.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class ProjectLayout:
    """A folder whose pyproject.toml has `[tool.dg.project]`, with its modules in it or in `src`."""

    root: Path
    root_module: str
    defs_module: str

    @property
    def import_folder(self) -> Path:
        """The folder that has the root module: `src`, which create-dagster makes, or the root."""
        source = self.root / "src"
        return source if (source / self.root_module.split(".")[0]).exists() else self.root

    @property
    def defs_folder(self) -> Path:
        """The folder with one folder per component; it may not be there yet."""
        return self.import_folder.joinpath(*self.defs_module.split("."))


def find_layout(start: Path) -> ProjectLayout:
    """The nearest project upwards from `start`; ConfigurationError if there is none."""
    for folder in [start.resolve(), *start.resolve().parents]:
        file = folder / "pyproject.toml"
        if file.exists():
            settings = _dg_project(file)
            module = settings.get("root_module")
            if module:
                return ProjectLayout(folder, module, settings.get("defs_module", f"{module}.defs"))
    raise ConfigurationError(
        f"No Dagster project found in {start} or above it.",
        hint="A project is a folder whose pyproject.toml has [tool.dg.project] root_module.",
    )


def _dg_project(file: Path) -> Mapping[str, Any]:
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is not TOML: {error}.") from None
    found: Mapping[str, Any] = settings.get("tool", {}).get("dg", {}).get("project", {})
    return found

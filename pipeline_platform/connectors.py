"""From the `type` of a config section to the connector class."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline_platform.errors import ConfigurationError


def build_connector(
    system: Any, registry: Mapping[str, str], *, base_dir: Path, **more: Any
) -> Any:
    """`Class(system, base_dir=base_dir, **more)` of the class that `system.type` names.

    `registry` maps short names to import paths; anything else is an import path of the user's own,
    `package.module:Class`. Raises ConfigurationError if there is no such module or class.
    """
    path = registry.get(system.type, system.type)
    module_name, _, class_name = path.partition(":")
    try:
        connector = getattr(import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The connector {system.type!r} needs the module {error.name!r}, which is not there.",
            hint="Check the import path, and that the package, or the extra of pipeline-platform, "
            "is installed.",
        ) from error
    except AttributeError as error:
        raise ConfigurationError(
            f"The module {module_name!r} has no class {class_name!r}.",
            hint=f"Known types are {', '.join(sorted(registry))}; others are "
            "`package.module:Class`.",
        ) from error
    return connector(system, base_dir=base_dir, **more)

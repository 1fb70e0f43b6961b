"""Safe column names: snake case, letters, digits and underscores only (pure)."""

import re
from collections.abc import Iterable

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.movement import PIPELINE_COLUMN, WINDOW_COLUMN

RESERVED = (PIPELINE_COLUMN, WINDOW_COLUMN)

_CAMEL_STEP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNSAFE = re.compile(r"[^a-z0-9_]+")


def safe_column_name(name: str) -> str:
    """`OrderID (net)` -> `order_id_net`; a leading digit gets an underscore before it."""
    snake = _CAMEL_STEP.sub("_", name).lower()
    lead = "_" if snake.startswith("_") else ""
    safe = lead + re.sub(r"_+", "_", _UNSAFE.sub("_", snake)).strip("_")
    if safe in ("", "_"):
        raise ConfigurationError(
            f"The column name {name!r} has no letter or digit.",
            hint="Rename it in a view or leave it out with source_system.exclude_columns.",
        )
    return f"_{safe}" if safe[0].isdigit() else safe


def column_names(names: Iterable[str], *, safe: bool = True) -> dict[str, str]:
    """`{source name: staged name}`, in order.

    Raises ConfigurationError where two names fall together (case counts as the same, warehouses
    fold it) or one is reserved for the platform.
    """
    staged: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        new = safe_column_name(name) if safe else name
        if new.lower() in RESERVED:
            raise ConfigurationError(
                f"The column {name!r} becomes {new!r}, a name the platform writes itself.",
                hint="Rename it in a view or leave it out with source_system.exclude_columns.",
            )
        if new.lower() in taken:
            raise ConfigurationError(
                f"The columns {taken[new.lower()]!r} and {name!r} both become {new!r}.",
                hint="Rename one in a view or leave one out with source_system.exclude_columns.",
            )
        taken[new.lower()] = name
        staged[name] = new
    return staged

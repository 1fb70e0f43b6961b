"""The one place where a name becomes part of a SQL text (pure).

Names that come from a source or a config are hostile input; values are never quoted here, they
are bound.
"""

import re

from pipeline_platform.errors import ConfigurationError

POSTGRES_MAX_BYTES = 63
SNOWFLAKE_MAX_CHARACTERS = 255

_FOLDED_BY_SNOWFLAKE = re.compile(r"[a-z_][a-z0-9_$]*")


def quote_duckdb(name: str) -> str:
    """A DuckDB identifier; ConfigurationError for a name that cannot be one."""
    return _double_quoted(name)


def quote_postgres(name: str) -> str:
    """A PostgreSQL identifier; longer ones than 63 bytes are refused, the server would cut them."""
    if len(name.encode()) > POSTGRES_MAX_BYTES:
        raise ConfigurationError(
            f"The name {name[:40]!r}... has {len(name.encode())} bytes; "
            f"PostgreSQL keeps only {POSTGRES_MAX_BYTES}.",
            hint="Choose a shorter name.",
        )
    return _double_quoted(name)


def fold_snowflake(name: str) -> str:
    """The name as Snowflake stores it: `orders` is ORDERS; any other than a plain lower-case name
    is kept as written."""
    return name.upper() if _FOLDED_BY_SNOWFLAKE.fullmatch(name) else name


def quote_snowflake(name: str) -> str:
    """A Snowflake identifier, in the warehouse's own case (`fold_snowflake`)."""
    if len(name) > SNOWFLAKE_MAX_CHARACTERS:
        raise ConfigurationError(
            f"The name {name[:40]!r}... has {len(name)} characters; "
            f"Snowflake takes {SNOWFLAKE_MAX_CHARACTERS}.",
            hint="Choose a shorter name.",
        )
    return _double_quoted(fold_snowflake(name))


def _double_quoted(name: str) -> str:
    if not name:
        raise ConfigurationError("An empty name cannot be an identifier.")
    if "\x00" in name:
        raise ConfigurationError(f"The name {name!r} holds a NUL character.")
    return '"' + name.replace('"', '""') + '"'

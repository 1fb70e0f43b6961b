"""The one place where a name becomes part of a SQL text (pure).

Names that come from a source or a config are hostile input; values are never quoted here, they
are bound.
"""

from pipeline_platform.errors import ConfigurationError

POSTGRES_MAX_BYTES = 63


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


def _double_quoted(name: str) -> str:
    if not name:
        raise ConfigurationError("An empty name cannot be an identifier.")
    if "\x00" in name:
        raise ConfigurationError(f"The name {name!r} holds a NUL character.")
    return '"' + name.replace('"', '""') + '"'

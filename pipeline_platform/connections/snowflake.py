"""How Snowflake is reached: Dagster's Snowflake resource, and connections kept for the next use.

The driver and `dagster_snowflake` belong to the extra `pipeline-platform[snowflake]` and take
seconds to import, so they are imported when first needed.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.snowflake import SnowflakeConnection
from pipeline_platform.connections.idle import IdleConnections
from pipeline_platform.connections.named_file import named_file
from pipeline_platform.connections.snowflake_errors import place, snowflake_error
from pipeline_platform.connections.snowflake_session import SnowflakeSession
from pipeline_platform.errors import ConfigurationError, DataError
from pipeline_platform.quoting import fold_snowflake, quote_snowflake

if TYPE_CHECKING:
    from dagster_snowflake import SnowflakeResource

# Longer than a heartbeat's pause.
IDLE_SECONDS = 300.0

# The server answers within 45 seconds, while a statement runs on too: then it is asked again.
_SOCKET_SECONDS = 120

_PLAIN = re.compile(r"[A-Z_][A-Z0-9_$]*")
_CONNECTION_FIELDS = set(SnowflakeConnection.model_fields)


_idle: IdleConnections[Any] = IdleConnections(IDLE_SECONDS, lambda connection: connection.close())


@contextmanager
def connect_snowflake(
    connection: SnowflakeConnection, base_dir: Path, *, reuse: bool = True
) -> Iterator[SnowflakeSession]:
    """A session with time limits and its clock in UTC.

    A login takes longer than most statements, so the connection is kept for the next use in this
    process when the block ends well, for up to five minutes; after an error it is closed, and an
    open transaction with it. A driver error that leaves the block is mapped by `snowflake_error`.
    `reuse=False` makes a new connection. ConfigurationError: the extra is not installed, or the
    login cannot be put together.
    """
    driver = _driver()
    key = f"{base_dir} {connection.model_dump_json(include=_CONNECTION_FIELDS)}"
    try:
        raw = (_idle.take(key) if reuse else None) or _logged_in(connection, base_dir)
        session = SnowflakeSession(raw)
        try:
            yield session
        except BaseException:
            session.abandon()
            raise
        if session.in_transaction or raw.is_closed():
            session.abandon()
        else:
            _idle.keep(key, raw)
    except driver.Error as error:
        mapped = snowflake_error(error, connection)
        # The driver's text of a data error quotes the value.
        raise mapped from (None if isinstance(mapped, DataError) else error)


def close_idle_connections() -> None:
    """Close what is kept for a next use."""
    _idle.close_older()


def snowflake_resource(connection: SnowflakeConnection, base_dir: Path) -> "SnowflakeResource":
    """Dagster's resource for this connection. It holds the resolved secrets: never log it."""
    _driver()
    from dagster_snowflake import SnowflakeResource

    if not (connection.password or connection.private_key or connection.private_key_path):
        raise ConfigurationError(
            f"{place(connection)}: the config has no login.",
            hint="Set private_key or private_key_path (key pair), or password.",
        )
    secrets = {
        "password": connection.password,
        "private_key": connection.private_key,
        "private_key_password": connection.private_key_passphrase,
    }
    fields: dict[str, Any] = {
        **{name: secret.resolve() for name, secret in secrets.items() if secret is not None},
        "account": connection.account,
        "user": connection.user,
        "database": _login_name(connection.database),
        "role": _login_name(connection.role),
        "warehouse": _login_name(connection.warehouse),
        "private_key_path": _key_file(connection, base_dir),
    }
    return SnowflakeResource(
        **{name: value for name, value in fields.items() if value is not None},
        autocommit=True,
        paramstyle="qmark",
        client_session_keep_alive=False,
        login_timeout=connection.login_timeout_seconds,
        network_timeout=connection.network_timeout_seconds,
        additional_snowflake_connection_args=_more_arguments(connection),
    )


def _more_arguments(connection: SnowflakeConnection) -> dict[str, Any]:
    more: dict[str, Any] = {
        "socket_timeout": _SOCKET_SECONDS,
        "protocol": connection.protocol,
        "session_parameters": {
            "TIMEZONE": "UTC",
            "QUERY_TAG": '{"app":"pipeline_platform"}',
            "STATEMENT_TIMEOUT_IN_SECONDS": connection.statement_timeout_seconds,
            "LOCK_TIMEOUT": connection.lock_timeout_seconds,
            "ABORT_DETACHED_QUERY": True,
            "TRANSACTION_ABORT_ON_ERROR": True,
            "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
            "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
        },
    }
    if connection.host is not None:
        more["host"] = connection.host
    if connection.port is not None:
        more["port"] = connection.port
    return more


def _logged_in(connection: SnowflakeConnection, base_dir: Path) -> Any:
    resource = snowflake_resource(connection, base_dir)
    try:
        # Its context manager would not close after an error, so the connection is closed here.
        return resource.get_connection().__enter__()
    except (ValueError, TypeError, OSError) as error:
        if connection.private_key is None and connection.private_key_path is None:
            raise
        # The cause stays out: it may quote what it could not read.
        raise ConfigurationError(
            f"{place(connection)}: the private key cannot be read ({type(error).__name__}).",
            hint="It must be PEM text (PKCS 8); an encrypted one needs private_key_passphrase.",
        ) from None


def _login_name(name: str | None) -> str | None:
    """At login a name is an identifier: unquoted in upper case, or quoted."""
    if name is None:
        return None
    folded = fold_snowflake(name)
    return folded if _PLAIN.fullmatch(folded) else quote_snowflake(name)


def _key_file(connection: SnowflakeConnection, base_dir: Path) -> str | None:
    given = connection.private_key_path
    return None if given is None else named_file(base_dir, given, "private_key_path")


def _driver() -> Any:
    try:
        with warnings.catch_warnings():
            # dagster_snowflake 0.29.27 declares its fields in a way that pydantic will drop.
            warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
            import_module("dagster_snowflake")
        return import_module("snowflake.connector")
    except ImportError as error:
        raise ConfigurationError(
            "Snowflake needs the package dagster-snowflake, which is not installed.",
            hint="Install the extra pipeline-platform[snowflake].",
        ) from error

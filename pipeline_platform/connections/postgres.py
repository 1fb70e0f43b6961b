"""How PostgreSQL is reached, and what its errors mean for the caller.

`psycopg` belongs to the extra `pipeline-platform[postgres]`, so it is imported when first needed.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.connections import PostgresConnection
from pipeline_platform.connections.named_file import named_file
from pipeline_platform.connections.postgres_kept_open import session_of
from pipeline_platform.errors import (
    ConfigurationError,
    DataError,
    PermanentError,
    PipelineError,
    TransientError,
)

if TYPE_CHECKING:
    import psycopg

# A dead peer is noticed within about half a minute, whether or not data is under way.
_NETWORK = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

# psycopg's wheels carry an OpenSSL that does not know where this machine keeps its authorities.
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)

_TRANSIENT_STATES = ("40001", "40003", "40P01", "55P03", "55006", "57014", "25P03")
_TRANSIENT_CLASSES = ("08", "53", "57P")
_DATA_CLASSES = ("21", "22", "23", "44")

# A refused login carries no SQLSTATE to the client, only the server's words.
_PERMANENT_WORDS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "not permitted to log in",
    "not currently accepting connections",
    "does not support SSL",
    "certificate",
)

_HINTS = {
    "28": "Check user and password of the connection, and the server's pg_hba.conf.",
    "3D000": "Check `database`.",
    "3F000": "Check `schema`.",
    "42P01": "Check `schema` and `table`.",
    "42501": "Grant the role what it needs.",
    "55P03": "Another session holds the lock; it is tried again.",
    "57014": "The statement ran longer than statement_timeout_seconds, or somebody cancelled it.",
}


@contextmanager
def connect_postgres(
    connection: PostgresConnection,
    base_dir: Path,
    *,
    application_name: str,
    autocommit: bool = False,
) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """A connection with time limits and its session in UTC.

    Leaving the block commits, and keeps it a moment for the next use; an exception rolls back and
    closes it. A psycopg error that leaves the block is mapped by `postgres_error`.
    ConfigurationError: the extra is not installed, the password's variable is not set, or the
    certificate authority is missing.
    """
    driver = _driver()
    parameters = _parameters(connection, base_dir, application_name)
    try:
        with session_of(
            parameters,
            # Prepared statements would end at a proxy that shares the server's sessions.
            lambda: driver.connect(**parameters, prepare_threshold=None),
        ) as session:
            session.autocommit = autocommit
            yield session
    except driver.Error as error:
        raise postgres_error(error, connection) from error


def postgres_conninfo(
    connection: PostgresConnection, base_dir: Path, *, application_name: str
) -> str:
    """The same settings as one libpq keyword string, for ADBC. Holds the password: never log it."""
    parameters = _parameters(connection, base_dir, application_name)
    conninfo: str = _driver().conninfo.make_conninfo(**parameters)
    return conninfo


def postgres_error(error: Exception, connection: PostgresConnection) -> PipelineError:
    """The platform's error for one of psycopg or ADBC, by its SQLSTATE.

    Keeps the server's primary message, not its detail, which may quote a row.
    """
    state: str = getattr(error, "sqlstate", None) or ""
    diagnostic = getattr(error, "diag", None)
    text = getattr(diagnostic, "message_primary", None) or str(error).strip().partition("\n")[0]
    place = f"PostgreSQL {connection.host}:{connection.port}/{connection.database}"
    message = f"{place}: {text.rstrip('.')}" + (f" (SQLSTATE {state})." if state else ".")
    hint = _HINTS.get(state) or _HINTS.get(state[:2], "")
    if state in _TRANSIENT_STATES or state.startswith(_TRANSIENT_CLASSES):
        return TransientError(message, hint=hint or "It is tried again.")
    if state.startswith(_DATA_CLASSES):
        return DataError(message, hint=hint or "Compare the rows with the table's columns.")
    if state or not _is_operational(error):
        return PermanentError(message, hint=hint)
    if any(word in str(error) for word in _PERMANENT_WORDS):
        return PermanentError(message, hint=hint or "Check user, password, database and TLS.")
    return TransientError(message, hint="Check that the server is up and reachable from here.")


def _is_operational(error: Exception) -> bool:
    """The connection failed or broke; psycopg and ADBC use the names of PEP 249."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"OperationalError", "InterfaceError"})


def _parameters(
    connection: PostgresConnection, base_dir: Path, application_name: str
) -> dict[str, Any]:
    statement = max(1, round(connection.statement_timeout_seconds * 1000))
    lock = max(1, round(connection.lock_timeout_seconds * 1000))
    parameters: dict[str, Any] = {
        "host": connection.host,
        "port": connection.port,
        "dbname": connection.database,
        "user": connection.user,
        "sslmode": connection.sslmode,
        "connect_timeout": connection.connect_timeout_seconds,
        "application_name": application_name,
        "client_encoding": "UTF8",
        "options": f"-c statement_timeout={statement} -c lock_timeout={lock} "
        f"-c idle_in_transaction_session_timeout={statement} -c TimeZone=UTC "
        "-c default_transaction_isolation=read\\ committed",
        **_NETWORK,
    }
    if connection.password is not None:
        parameters["password"] = connection.password.resolve()
    if connection.sslmode.startswith("verify-"):
        parameters["sslrootcert"] = _root_certificates(connection, base_dir)
    return parameters


def _root_certificates(connection: PostgresConnection, base_dir: Path) -> str:
    if connection.sslrootcert is not None:
        return named_file(base_dir, connection.sslrootcert, "sslrootcert")
    if connection.sslmode == "verify-ca":
        raise ConfigurationError(
            "sslmode verify-ca with the system's authorities would trust any host.",
            hint="Give sslrootcert, or use verify-full.",
        )
    known = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    return next((path for path in known if path and os.path.isfile(path)), "system")


def _driver() -> Any:
    try:
        import_module("psycopg.conninfo")
        return import_module("psycopg")
    except ImportError as error:
        raise ConfigurationError(
            "PostgreSQL needs the package psycopg, which is not installed.",
            hint="Install the extra pipeline-platform[postgres].",
        ) from error

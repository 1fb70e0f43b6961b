"""A Snowflake account as tests use it: fresh databases, their config section, connections."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import snowflake.connector
from snowflake.connector import SnowflakeConnection
from typing_extensions import Self

ACCOUNT = "PIPELINE_PLATFORM_SNOWFLAKE_ACCOUNT"
USER = "PIPELINE_PLATFORM_SNOWFLAKE_USER"
PASSWORD = "PIPELINE_PLATFORM_SNOWFLAKE_PASSWORD"
PRIVATE_KEY_PATH = "PIPELINE_PLATFORM_SNOWFLAKE_PRIVATE_KEY_PATH"
ROLE = "PIPELINE_PLATFORM_SNOWFLAKE_ROLE"
WAREHOUSE = "PIPELINE_PLATFORM_SNOWFLAKE_WAREHOUSE"
LOGIN_SECONDS = 30


class SnowflakeServer:
    """What is the same for the server that tests started and for a real account.

    `with` starts it, where it is ours to start, and at the end closes its connections.
    """

    is_real = True
    config: Mapping[str, Any]

    def __init__(self) -> None:
        self._connections: list[SnowflakeConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._connections:
            self._connections.pop().close()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that `config` refers to, with their values."""
        return {}

    def connect(self, **options: Any) -> SnowflakeConnection:
        """A connection, closed with the server at the latest."""
        connection = snowflake.connector.connect(
            **{
                "login_timeout": LOGIN_SECONDS,
                "session_parameters": {"QUERY_TAG": "pipeline_platform tests"},
                **self._login(),
                **options,
            }
        )
        self._connections.append(connection)
        return connection

    def new_database(self) -> "SnowflakeDatabase":
        """A fresh database, with the schema PUBLIC."""
        name = f"PIPELINE_PLATFORM_TEST_{uuid.uuid4().hex[:12]}".upper()
        with self.connect() as connection:
            connection.cursor().execute(f'CREATE DATABASE "{name}"')
        return SnowflakeDatabase(self, name)

    def drop(self, database: "SnowflakeDatabase") -> None:
        """Remove a database."""
        with self.connect() as connection:
            connection.cursor().execute(f'DROP DATABASE "{database.name}"')

    def _login(self) -> dict[str, Any]:
        """What `snowflake.connector.connect` needs to log in."""
        raise NotImplementedError


@dataclass(frozen=True)
class SnowflakeDatabase:
    """One database; `as_config` is the connection part of a config section."""

    server: SnowflakeServer
    name: str

    def as_config(self) -> dict[str, Any]:
        """A password in it is a reference to `server.environment`."""
        return {**self.server.config, "database": self.name}

    def connect(self, schema: str = "PUBLIC", **options: Any) -> SnowflakeConnection:
        """A connection to it, closed with the server at the latest."""
        return self.server.connect(database=self.name, schema=schema, **options)


class OwnSnowflake(SnowflakeServer):
    """The account that the environment names; tests remove the databases they made in it."""

    def __init__(self) -> None:
        super().__init__()
        values = {
            "account": os.environ[ACCOUNT],
            "user": os.environ[USER],
            "private_key_path": os.environ.get(PRIVATE_KEY_PATH),
            "password": f"env:{PASSWORD}" if PASSWORD in os.environ else None,
            "role": os.environ.get(ROLE),
            "warehouse": os.environ.get(WAREHOUSE),
        }
        self.config = {name: value for name, value in values.items() if value is not None}

    def _login(self) -> dict[str, Any]:
        login = {**self.config}
        if "private_key_path" in login:
            login["private_key_file"] = login.pop("private_key_path")
        if "password" in login:
            login["password"] = os.environ[PASSWORD]
        return login


def own_snowflake() -> OwnSnowflake | None:
    """The account that the environment names, if it names one."""
    return OwnSnowflake() if ACCOUNT in os.environ else None

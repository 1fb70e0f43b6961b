"""A Snowflake account: as a target, and for the drive table."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline_platform.config.connections import Section
from pipeline_platform.config.fields import LOOPBACK, Identifier, refused
from pipeline_platform.config.hashing import NOT_HASHED
from pipeline_platform.config.secrets import OptionalSecret
from pipeline_platform.config.system_fields import SqlTargetFields


class SnowflakeConnection(Section):
    """A Snowflake database.

    Names of databases, schemas, tables and columns are in the warehouse's own case: `orders` is
    the table that Snowflake shows as ORDERS.
    """

    account: str = Field(
        min_length=1,
        max_length=255,
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$",
        description="Account identifier, organization and name.",
        examples=["acme-analytics"],
    )
    user: Annotated[Identifier, NOT_HASHED] = Field(
        description="User to log in as.", examples=["PIPELINE"]
    )
    private_key: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None,
        description="Reference to the private key (PEM text) of key-pair login.",
        examples=["env:SNOWFLAKE_PRIVATE_KEY"],
    )
    private_key_path: Annotated[str | None, NOT_HASHED] = Field(
        None,
        description="File with the private key of key-pair login (PEM), instead of private_key.",
        examples=["secrets/snowflake.p8"],
    )
    private_key_passphrase: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None, description="Reference to the passphrase of the private key."
    )
    password: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None, description="Reference to a password, or a programmatic access token."
    )
    role: Annotated[Identifier | None, NOT_HASHED] = Field(
        None, description="Role to use; default: the user's.", examples=["PIPELINE_ROLE"]
    )
    warehouse: Annotated[Identifier | None, NOT_HASHED] = Field(
        None, description="Warehouse to use; default: the user's.", examples=["LOAD_WH"]
    )
    database: Identifier = Field(description="Database.", examples=["ANALYTICS"])
    host: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:-]+$",
        description="Host name, where it is not the account's usual one (private link).",
    )
    port: int | None = Field(None, ge=1, le=65535, description="Port, where it is not 443.")
    protocol: Annotated[Literal["https", "http"], NOT_HASHED] = Field(
        "https", description="http is accepted for localhost only."
    )
    login_timeout_seconds: Annotated[int, NOT_HASHED] = Field(
        30, ge=1, description="Seconds to wait for the login."
    )
    network_timeout_seconds: Annotated[int, NOT_HASHED] = Field(
        300, ge=1, description="Seconds to go on trying one request while the network fails."
    )
    statement_timeout_seconds: Annotated[int, NOT_HASHED] = Field(
        3600, ge=1, description="Seconds that one statement may run."
    )
    lock_timeout_seconds: Annotated[int, NOT_HASHED] = Field(
        420,
        ge=1,
        description="Seconds that one statement may wait for a table's lock. Snowflake ends the "
        "transaction of a process that died after 300.",
    )

    @property
    def unverified(self) -> str | None:
        """A server that is asked by plain http."""
        return f"plain http: {self.host}" if self.protocol == "http" else None

    @field_validator("private_key_path")
    @classmethod
    def _one_key(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and info.data.get("private_key") is not None:
            raise refused("cannot stand beside private_key; use one of them")
        return path

    @field_validator("private_key_passphrase")
    @classmethod
    def _passphrase_of_a_key(cls, secret: OptionalSecret, info: ValidationInfo) -> OptionalSecret:
        if secret is not None and not _has_key(info):
            raise refused("needs private_key or private_key_path beside it")
        return secret

    @field_validator("password")
    @classmethod
    def _one_login(cls, secret: OptionalSecret, info: ValidationInfo) -> OptionalSecret:
        if secret is not None and _has_key(info):
            raise refused("cannot stand beside a private key; use one of them")
        return secret

    @field_validator("protocol")
    @classmethod
    def _http_on_loopback_only(cls, protocol: str, info: ValidationInfo) -> str:
        if protocol == "http" and "host" in info.data and info.data["host"] not in LOOPBACK:
            raise refused("http does not verify the server and is accepted for localhost only")
        return protocol


def _has_key(info: ValidationInfo) -> bool:
    return any(info.data.get(name) is not None for name in ("private_key", "private_key_path"))


class SnowflakeTarget(SqlTargetFields, SnowflakeConnection):
    """A table in Snowflake."""

    type: Literal["snowflake"] = Field(description="Connector.")
    external_stage: Annotated[str | None, NOT_HASHED] = Field(
        None,
        max_length=768,
        pattern=r"^[^\x00]+$",
        description="Existing external stage whose URL is the bucket and prefix of the stage "
        "system, [database.][schema.]name: files are copied from there and no byte passes the "
        "worker. Default: files are put to an internal stage.",
        examples=["ANALYTICS.PUBLIC.ACME_STAGE"],
    )
    put_parallel: Annotated[int, NOT_HASHED] = Field(
        4, ge=1, le=99, description="Files, and parts of a file, that one PUT sends at once."
    )


class SnowflakeState(SnowflakeConnection):
    """Drive table in Snowflake."""

    type: Literal["snowflake"] = Field(description="Drive store.")
    db_schema: Identifier = Field(
        "pipeline_platform", alias="schema", description="Schema of the state tables."
    )

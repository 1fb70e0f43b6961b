"""How to reach each system; shared by sources, targets and the drive table."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from pipeline_platform.config.fields import LOOPBACK, Identifier, LocalPath, refused
from pipeline_platform.config.hashing import NOT_HASHED
from pipeline_platform.config.secrets import OptionalSecret


class Section(BaseModel):
    """Base of every part of a config: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @property
    def unverified(self) -> str | None:
        """What of the connection TLS does not protect, for people; None if nothing."""
        return None


class DuckDBConnection(Section):
    """A DuckDB database file."""

    path: LocalPath = Field(
        description="Database file. Relative paths count from the project folder, the nearest "
        "one upwards with a pyproject.toml.",
        examples=["data/warehouse.duckdb"],
    )
    lock_timeout_seconds: Annotated[float, NOT_HASHED] = Field(
        60.0,
        gt=0,
        description="Seconds to wait while another process holds the file. DuckDB lets one "
        "process at a time have it.",
    )

    def resolved_path(self, base_dir: Path) -> Path:
        """Absolute path of the file."""
        return (base_dir / self.path).resolve()


class PostgresConnection(Section):
    """A PostgreSQL database."""

    host: str = Field(
        min_length=1,
        pattern=r"^[A-Za-z0-9._:-]+$",
        description="Host name or address.",
        examples=["db.example.com"],
    )
    port: int = Field(5432, ge=1, le=65535, description="TCP port.")
    database: Identifier = Field(description="Database name.", examples=["shop"])
    user: Annotated[Identifier, NOT_HASHED] = Field(
        description="Role to log in as.", examples=["pipeline"]
    )
    password: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None,
        description="Reference to the password, never the password itself.",
        examples=["env:SHOP_DB_PASSWORD"],
    )
    sslmode: Annotated[Literal["verify-full", "verify-ca", "require", "disable"], NOT_HASHED] = (
        Field(
            "verify-full",
            description="TLS: verify-full checks certificate and host name. Anything weaker than "
            "verify-ca is accepted on loopback only.",
        )
    )
    sslrootcert: Annotated[str | None, NOT_HASHED] = Field(
        None,
        description="File with the certificate authority to trust; default: the system's.",
        examples=["certs/db-ca.pem"],
    )
    connect_timeout_seconds: Annotated[int, NOT_HASHED] = Field(
        10, ge=2, description="Seconds to wait for a connection."
    )
    statement_timeout_seconds: Annotated[float, NOT_HASHED] = Field(
        3600.0, gt=0, description="Seconds that one statement may run."
    )
    lock_timeout_seconds: Annotated[float, NOT_HASHED] = Field(
        60.0, gt=0, description="Seconds that one statement may wait for a lock."
    )

    @property
    def unverified(self) -> str | None:
        """Encryption and a proven server are what verify-full and verify-ca stand for."""
        if self.sslmode.startswith("verify-"):
            return None
        return f"sslmode {self.sslmode}: the server at {self.host} is not verified"

    @field_validator("sslmode")
    @classmethod
    def _tls_off_on_loopback_only(cls, sslmode: str, info: ValidationInfo) -> str:
        host = info.data.get("host")
        if sslmode in ("require", "disable") and host is not None and host not in LOOPBACK:
            raise refused(
                f"{sslmode} does not verify the server and is accepted for localhost only; "
                "use verify-full"
            )
        return sslmode

"""The three systems of a pipeline: where rows come from, rest, and end.

`type` chooses the connector: a short name, or `package.module:Class` for one's own.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pipeline_platform.config.connections import DuckDBConnection, PostgresConnection, Section
from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.config.fields import Identifier, LocalPath
from pipeline_platform.config.kinds import IMPORT_PATH, ByType
from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.config.secrets import refuse_literal_secrets
from pipeline_platform.config.snowflake import SnowflakeState, SnowflakeTarget
from pipeline_platform.config.system_fields import (
    SourceFields,
    SqlSourceFields,
    SqlTargetFields,
    StageFields,
    TargetFields,
)

ImportPath = Annotated[
    str,
    Field(
        pattern=f"^{IMPORT_PATH}$",
        description="Import path of a connector class of one's own, `package.module:Class`.",
        examples=["my_company.connectors:LedgerSource"],
    ),
]
Options = Annotated[dict[str, Any], AfterValidator(refuse_literal_secrets)]


class DuckDBSource(SqlSourceFields, DuckDBConnection):
    """A table in a DuckDB file."""

    type: Literal["duckdb"] = Field(description="Connector.")


class PostgresSource(SqlSourceFields, PostgresConnection):
    """A table in PostgreSQL."""

    type: Literal["postgres"] = Field(description="Connector.")


class CustomSource(SourceFields):
    """A source of one's own."""

    type: ImportPath
    options: Options = Field(
        default_factory=dict,
        description="Settings for the connector class, passed as they are. One that is named like "
        "a secret must be a reference, env:NAME; the class resolves it.",
    )


class LocalStage(StageFields):
    """A folder on this machine."""

    type: Literal["local"] = Field(description="Connector.")
    path: LocalPath = Field(
        description="Root folder. Relative paths count from the project folder.",
        examples=["data/stage"],
    )


class CustomStage(Section):
    """A stage of one's own."""

    type: ImportPath
    options: Options = Field(
        default_factory=dict,
        description="Settings for the connector class, passed as they are. One that is named like "
        "a secret must be a reference, env:NAME; the class resolves it.",
    )


class DuckDBTarget(SqlTargetFields, DuckDBConnection):
    """A table in a DuckDB file."""

    type: Literal["duckdb"] = Field(description="Connector.")


class PostgresTarget(SqlTargetFields, PostgresConnection):
    """A table in PostgreSQL."""

    type: Literal["postgres"] = Field(description="Connector.")


class CustomTarget(TargetFields):
    """A target of one's own."""

    type: ImportPath
    options: Options = Field(
        default_factory=dict,
        description="Settings for the connector class, passed as they are. One that is named like "
        "a secret must be a reference, env:NAME; the class resolves it.",
    )


class DuckDBState(DuckDBConnection):
    """Drive table in a DuckDB file."""

    type: Literal["duckdb"] = Field("duckdb", description="Drive store.")
    db_schema: Identifier = Field(
        "pipeline_platform", alias="schema", description="Schema of the state tables."
    )


class PostgresState(PostgresConnection):
    """Drive table in PostgreSQL."""

    type: Literal["postgres"] = Field(description="Drive store.")
    db_schema: Identifier = Field(
        "pipeline_platform", alias="schema", description="Schema of the state tables."
    )


SourceSystem = Annotated[
    DuckDBSource | ElasticsearchSource | PostgresSource | CustomSource,
    ByType(
        {"duckdb": DuckDBSource, "elasticsearch": ElasticsearchSource, "postgres": PostgresSource},
        custom=CustomSource,
    ),
]
StageSystem = Annotated[
    LocalStage | S3Stage | CustomStage,
    ByType({"local": LocalStage, "s3": S3Stage}, custom=CustomStage),
]
TargetSystem = Annotated[
    DuckDBTarget | PostgresTarget | SnowflakeTarget | CustomTarget,
    ByType(
        {"duckdb": DuckDBTarget, "postgres": PostgresTarget, "snowflake": SnowflakeTarget},
        custom=CustomTarget,
    ),
]
StateSystem = Annotated[
    DuckDBState | PostgresState | SnowflakeState,
    ByType(
        {"duckdb": DuckDBState, "postgres": PostgresState, "snowflake": SnowflakeState},
        default="duckdb",
    ),
]

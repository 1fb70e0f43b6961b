"""What the systems of one kind have in common, whatever the connector."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline_platform.config.connections import Section
from pipeline_platform.config.fields import Identifier, TimeZone, refused
from pipeline_platform.config.hashing import NOT_HASHED
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.naming import column_names


class SourceFields(Section):
    """What every source has."""

    query_field: Identifier = Field(
        description="Column that places a row in a window.", examples=["created_at"]
    )
    query_field_timezone: TimeZone | None = Field(
        None,
        description="IANA zone of a query field that has none of its own (timestamp without time "
        "zone, date).",
        examples=["UTC", "America/New_York"],
    )
    query_field_unit: Literal["s", "ms", "us", "ns"] | None = Field(
        None, description="Unit of a query field that is a number of ticks since 1970 UTC."
    )
    change_field: Annotated[Identifier | None, NOT_HASHED] = Field(
        None,
        description="Column whose greatest value in a window grows whenever a row changes, e.g. "
        "an update time. Without it, values that change while counts stay are not noticed.",
        examples=["updated_at"],
    )
    include_columns: tuple[Identifier, ...] = Field(
        (), description="Columns to read; empty means all."
    )
    exclude_columns: tuple[Identifier, ...] = Field((), description="Columns to leave out.")
    required_fields: tuple[Identifier, ...] = Field(
        (),
        description="Columns that may not be NULL; rows that break this are rejected, counted and "
        "kept beside the staged files.",
        examples=[["order_id"]],
    )
    safe_names: bool = Field(
        True,
        validate_default=True,
        description="Stage columns under snake-case names; the manifest keeps the originals.",
    )
    batch_rows: Annotated[int, NOT_HASHED] = Field(
        50_000, ge=1, le=5_000_000, description="Rows per batch; bounds memory, not the window."
    )

    @field_validator("include_columns")
    @classmethod
    def _includes_query_field(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        query_field = info.data.get("query_field")
        if names and query_field is not None and query_field not in names:
            raise refused("must hold the query field, which places the rows in their windows")
        return names

    @field_validator("exclude_columns")
    @classmethod
    def _excludes_no_query_field(
        cls, names: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        if names and info.data.get("include_columns"):
            raise refused("cannot stand beside include_columns; use one of them")
        if info.data.get("query_field") in names:
            raise refused("must not hold the query field, which places the rows in their windows")
        return names

    @field_validator("required_fields")
    @classmethod
    def _required_fields_are_read(
        cls, names: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        included = info.data.get("include_columns") or names
        excluded = info.data.get("exclude_columns", ())
        if any(name not in included or name in excluded for name in names):
            raise refused("names a column that include_columns or exclude_columns leaves out")
        return names

    @field_validator("safe_names")
    @classmethod
    def _names_stay_apart(cls, safe: bool, info: ValidationInfo) -> bool:
        names = info.data.get("include_columns") or (info.data.get("query_field", "at"),)
        try:
            column_names(names, safe=safe)
        except ConfigurationError as error:
            raise refused(str(error)) from None
        return safe


class SqlSourceFields(SourceFields):
    """What every SQL source has."""

    db_schema: Identifier | None = Field(
        None,
        alias="schema",
        description="Schema of the table; default: the database's own default.",
        examples=["public"],
    )
    table: Identifier = Field(description="Table or view to read.", examples=["orders"])


class StageFields(Section):
    """What every file stage has."""

    compression: Annotated[Literal["zstd", "snappy", "none"], NOT_HASHED] = Field(
        "zstd", description="Parquet compression."
    )
    rows_per_file: Annotated[int, NOT_HASHED] = Field(
        5_000_000, ge=1, description="Rows after which a new Parquet file is begun."
    )
    bytes_per_file: Annotated[int, NOT_HASHED] = Field(
        200_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Compressed bytes after which a new Parquet file is begun, at the end of a "
        "row group. After 500 files of a window they grow, so that a terabyte makes at most "
        "1,000.",
    )
    rows_per_group: Annotated[int, NOT_HASHED] = Field(
        122_880, ge=1, description="Rows per Parquet row group; bounds memory while writing."
    )


class TargetFields(Section):
    """What every target has."""

    create_table: Annotated[bool, NOT_HASHED] = Field(
        True, description="Create the table from the staged columns when it is missing."
    )
    adopt: Annotated[bool, NOT_HASHED] = Field(
        False,
        description="Allow the first load of a window over rows that this pipeline did not load: "
        "they are replaced.",
    )


class SqlTargetFields(TargetFields):
    """What every SQL target has."""

    db_schema: Identifier = Field(
        alias="schema", description="Schema of the table.", examples=["analytics"]
    )
    table: Identifier = Field(
        description="Table to load. `<table>_window_commits` beside it belongs to the platform.",
        examples=["orders"],
    )

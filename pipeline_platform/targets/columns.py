"""Columns of a target table, and whether staged columns fit into them (pure)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from pipeline_platform.errors import PermanentError
from pipeline_platform.movement import PIPELINE_COLUMN, WINDOW_COLUMN, Prerequisite

Kind = Literal[
    "integer",
    "decimal",
    "float32",
    "float64",
    "boolean",
    "text",
    "normalized",
    "binary",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "null",
    "other",
]
"""Families of types. `normalized` takes text and gives it back in the engine's own spelling (uuid,
jsonb); `null` is a staged column without any value; `other` holds nothing that is staged."""

_HOLDS: dict[Kind, tuple[Kind, ...]] = {
    "integer": ("integer", "decimal"),
    "decimal": ("decimal", "integer"),
    "float32": ("float32", "float64"),
    "float64": ("float64",),
    "boolean": ("boolean",),
    "text": ("text", "normalized"),
    "binary": ("binary",),
    "date": ("date",),
    "time": ("time",),
    "timestamp": ("timestamp",),
    "timestamptz": ("timestamptz",),
}
_FRACTION_DIGITS = {"ms": 3, "us": 6, "ns": 9}
_METADATA: dict[str, tuple[Kind, str]] = {
    PIPELINE_COLUMN: ("text", "text"),
    WINDOW_COLUMN: ("timestamptz", "timestamp with time zone"),
}


@dataclass(frozen=True)
class TargetColumn:
    """One column as the database describes it.

    `name` is what the dialect's quoting turns into the column. `sql_type` is for people,
    `wire_type` the engine's base type. `scale` is None for a decimal without limit. `required`
    means NOT NULL without a default.
    """

    name: str
    sql_type: str
    wire_type: str
    kind: Kind
    scale: int | None = None
    required: bool = False
    fraction_digits: int | None = None
    """Of seconds, in a column of times that says so; None: microseconds at least."""

    @property
    def arrow_type(self) -> pa.DataType:
        """The type for QueryField.bounds."""
        if self.kind == "timestamptz":
            return pa.timestamp("us", "UTC")
        if self.kind == "timestamp":
            return pa.timestamp("us")
        if self.kind == "date":
            return pa.date32()
        if self.kind == "integer" or (self.kind == "decimal" and self.scale == 0):
            return pa.int64()
        return pa.string()


@dataclass(frozen=True)
class TargetTable:
    """The columns of an existing table. `fold` is how the engine compares names."""

    columns: tuple[TargetColumn, ...]
    fold: Callable[[str], str]

    def find(self, name: str) -> TargetColumn | None:
        """The column of that name, as the engine would find it."""
        wanted = self.fold(name)
        return next((c for c in self.columns if self.fold(c.name) == wanted), None)

    def column(self, name: str) -> TargetColumn:
        """The column of that name; PermanentError if there is none."""
        column = self.find(name)
        if column is None:
            raise PermanentError(
                f"The target table has no column {name!r}.",
                hint="Add it, or leave it out with source_system.exclude_columns.",
            )
        return column

    @property
    def has_metadata(self) -> bool:
        """Both columns that say whose row it is are there."""
        return all(self.find(name) is not None for name in _METADATA)


def plain_type(staged: pa.DataType) -> pa.DataType:
    """The staged type without its encoding."""
    if pa.types.is_dictionary(staged) or pa.types.is_run_end_encoded(staged):
        return plain_type(staged.value_type)
    return staged


def staged_kind(staged: pa.DataType) -> Kind:
    """The family of a staged type; PermanentError for one that no target column can hold."""
    staged = plain_type(staged)
    types = pa.types
    families: tuple[tuple[bool, Kind], ...] = (
        (types.is_boolean(staged), "boolean"),
        (types.is_integer(staged), "integer"),
        (types.is_decimal(staged), "decimal"),
        (types.is_float16(staged) or types.is_float32(staged), "float32"),
        (types.is_float64(staged), "float64"),
        (types.is_string(staged) or types.is_large_string(staged), "text"),
        (types.is_string_view(staged), "text"),
        (types.is_binary(staged) or types.is_large_binary(staged), "binary"),
        (types.is_fixed_size_binary(staged) or types.is_binary_view(staged), "binary"),
        (types.is_date(staged), "date"),
        (types.is_time(staged), "time"),
        (types.is_null(staged), "null"),
    )
    if types.is_timestamp(staged):
        return "timestamp" if staged.tz is None else "timestamptz"
    for fits, kind in families:
        if fits:
            return kind
    raise PermanentError(
        f"Values of type {staged} have no place in a target table.",
        hint="Stage them as text (JSON for nested values), or leave the column out with "
        "source_system.exclude_columns.",
    )


def misfit(staged: pa.DataType, column: TargetColumn) -> str | None:
    """Why the column cannot hold every value of the staged type unchanged; None if it can.

    A whole number or decimal too great for a narrower column passes here: the engine refuses it
    loudly, value by value.
    """
    kind = staged_kind(staged)
    if kind == "null":
        return None
    if column.kind not in _HOLDS[kind]:
        return f"{staged} does not fit into {column.sql_type}"
    if kind == "decimal":
        digits = max(plain_type(staged).scale, 0)
        held = 0 if column.kind == "integer" else column.scale
        if held is not None and digits > held:
            return f"{staged} would be rounded in {column.sql_type}"
    digits = _FRACTION_DIGITS.get(getattr(plain_type(staged), "unit", ""), 0)
    if column.fraction_digits is not None and digits > column.fraction_digits:
        return f"{staged} would be rounded in {column.sql_type}"
    return None


def column_prerequisites(
    schema: pa.Schema, table: TargetTable | None, query_field: str, sql_type: Callable[..., str]
) -> list[Prerequisite]:
    """One line for each thing that does not fit, or a single line that all does."""
    failed: list[Prerequisite] = []
    if query_field not in schema.names:
        failed.append(
            Prerequisite(
                f"column {query_field}",
                False,
                "the query field is not staged",
                "Add it to source_system.include_columns.",
            )
        )
    for field in schema:
        failed.extend(_misplaced(field, table, sql_type))
    if table is not None:
        failed.extend(_left_empty(schema, table))
    return failed or [Prerequisite("target columns", True, f"all {len(schema)} staged columns fit")]


def metadata_misfits(table: TargetTable) -> list[str]:
    """What is wrong with the two columns that say whose row it is, where they exist."""
    wrong = []
    for name, (kind, sql_type) in _METADATA.items():
        column = table.find(name)
        if column is not None and column.kind != kind:
            wrong.append(f"{name} is {column.sql_type}, not {sql_type}")
    return wrong


def _misplaced(
    field: pa.Field, table: TargetTable | None, sql_type: Callable[..., str]
) -> Iterable[Prerequisite]:
    name = f"column {field.name}"
    try:
        wanted = sql_type(field.type)
    except PermanentError as error:
        yield Prerequisite(name, False, error.message, error.hint)
        return
    if table is None:
        return
    column = table.find(field.name)
    if column is None:
        yield Prerequisite(
            name,
            False,
            "the target table has no such column",
            f"Add it to the table as {wanted}, or leave it out with source_system.exclude_columns.",
        )
        return
    reason = misfit(field.type, column)
    if reason is not None:
        yield Prerequisite(name, False, reason, f"Change the target column to {wanted}.")


def _left_empty(schema: pa.Schema, table: TargetTable) -> Iterable[Prerequisite]:
    filled = {table.fold(name) for name in (*schema.names, *_METADATA)}
    for column in table.columns:
        if column.required and table.fold(column.name) not in filled:
            yield Prerequisite(
                f"column {column.name}",
                False,
                "the target demands a value (NOT NULL, no default), but it is not staged",
                "Stage the column, give it a default, or allow NULL.",
            )

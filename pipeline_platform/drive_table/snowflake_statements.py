"""The store's statements where Snowflake's SQL differs."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pipeline_platform.drive_table.rows import json_safe, values_of_record
from pipeline_platform.drive_table.schema import LOG_TYPES, RECORD_TYPES
from pipeline_platform.drive_table.statements import INSERTED_COLUMNS, KEY_COLUMNS, Statements
from pipeline_platform.record import PipelineRecord

_NOW_IF_NULL = ("record_first_created_time", "record_last_updated_time")


class SnowflakeStatements(Statements):
    """Statements whose values are bound as $1, $2 ..."""

    def _bind(self, bound: dict[str, Any], name: str, value: Any) -> str:
        if name == "limit":
            return str(int(value))  # Snowflake takes no bound value there
        bound[f"${len(bound) + 1}"] = _bindable(value)
        return f"${len(bound)}"

    def _insert_records(self, records: Sequence[PipelineRecord]) -> int:
        """Snowflake has no ON CONFLICT and enforces no key.

        The caller's transaction holds the write lock, so nobody inserts between look and insert.
        """
        unique = {record.key: record for record in reversed(records)}
        rows = [json_safe(values_of_record(record)) for record in unique.values()]
        same = " AND ".join(f"known.{column} = new.{column}" for column in KEY_COLUMNS)
        return self.change(
            f"INSERT INTO {{records}} ({', '.join(INSERTED_COLUMNS)}) "  # noqa: S608
            f"SELECT {', '.join(f'new.{column}' for column in INSERTED_COLUMNS)} FROM ("
            f"SELECT {', '.join(map(self._inserted, INSERTED_COLUMNS))} "
            "FROM (SELECT PARSE_JSON(:rows) AS listed) AS given, "
            "LATERAL FLATTEN(INPUT => given.listed) AS record"
            f") AS new WHERE NOT EXISTS (SELECT 1 FROM {{records}} AS known WHERE {same})",
            {"rows": json.dumps(rows)},
        )

    def _inserted(self, column: str) -> str:
        of_type = self._dialect.types[RECORD_TYPES[column].partition(" ")[0]]
        value = f"CAST(record.value['{column}'] AS {of_type})"
        if column in _NOW_IF_NULL:
            value = f"COALESCE({value}, {{clock}})"
        return f"{value} AS {column}"

    def _insert_execution(self, values: Mapping[str, Any]) -> None:
        """PARSE_JSON may not stand in VALUES, so it is INSERT ... SELECT."""
        self.change(
            f"INSERT INTO {{log}} ({', '.join(LOG_TYPES)}) "
            f"SELECT {', '.join(map(_logged, LOG_TYPES))}",
            values,
        )


def _logged(column: str) -> str:
    kind = LOG_TYPES[column].partition(" ")[0]
    if kind == "json":
        return f"PARSE_JSON(:{column})"
    if kind == "text_array":
        return f"CAST(PARSE_JSON(:{column}) AS ARRAY)"
    return f":{column}"


def _bindable(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list):
        return json.dumps(value)
    return value

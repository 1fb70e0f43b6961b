"""Statements of the drive store, written once; a session runs them in its database's dialect."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from pipeline_platform.drive_table.queries import phases_of_runs
from pipeline_platform.drive_table.rows import (
    execution_from_row,
    record_from_row,
    values_of_execution,
    values_of_record,
)
from pipeline_platform.drive_table.schema import (
    EXECUTION_DRIVE,
    EXECUTION_LOG,
    LOG_TYPES,
    MIGRATIONS,
    RECORDS,
    Dialect,
)
from pipeline_platform.drive_table.store import Claim
from pipeline_platform.errors import ClaimLostError
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.record import CLAIM_COLUMNS, RECORD_COLUMNS, PipelineRecord, RecordKey

KEY_COLUMNS = ("pipeline_name", "window_start_time", "window_end_time")
SAVED_COLUMNS = tuple(
    column for column in RECORD_COLUMNS if column not in (*CLAIM_COLUMNS, *KEY_COLUMNS)
)
# A new record is free, whatever the object says; its id is the database's.
INSERTED_COLUMNS = (*KEY_COLUMNS, *SAVED_COLUMNS, "epoch")
_INSERT_ROWS = 200

# Parts of conditions; a statement writes `{key}` for the first.
_FRAGMENTS = {
    "key": " AND ".join(f"{column} = :{column}" for column in KEY_COLUMNS),
    "ours": "{key} AND epoch = :epoch AND owner = :owner",
    "free": "(owner IS NULL OR lease_until < {clock})",
    "held": "(owner IS NOT NULL AND lease_until >= {clock})",
}

CLAIM = """
    UPDATE {records}
    SET epoch = CASE WHEN :seen > :at_least THEN :seen ELSE :at_least END + 1,
        owner = :owner,
        lease_until = {lease}
    WHERE {key} AND epoch = :seen AND {free}"""

_MARKS = re.compile(r"\{([a-z]+)\}|(?<!:):([a-z][a-z0-9_]*)")


class Session(Protocol):
    """One open transaction; leaving its context commits."""

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run a query. JSON columns are parsed, times are UTC."""
        ...

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        """Run a statement; returns the number of rows it changed."""
        ...


class Statements:
    """What the store asks of one open session.

    SQL is written with marks: `:name` is bound, `{records}`, `{log}`, `{drive}` are names of
    tables, `{clock}` is the database's time, and the fragments above go by their keys.
    """

    def __init__(self, session: Session, dialect: Dialect, table: Callable[[str], str]) -> None:
        self._session = session
        self._dialect = dialect
        self._names = {
            "records": table(RECORDS),
            "log": table(EXECUTION_LOG),
            "drive": table(EXECUTION_DRIVE),
            "migrations": table(MIGRATIONS),
            "clock": dialect.clock,
            "phases": f"({phases_of_runs(table(EXECUTION_DRIVE), dialect.json_member)}) AS phases",
        }
        self._fragments = {**_FRAGMENTS, "latest": dialect.latest, "lease": dialect.lease_end}

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run a query; `values` may hold more than it binds."""
        return self._session.rows(*self._rendered(sql, values))

    def change(self, sql: str, values: Mapping[str, Any]) -> int:
        """Run a statement; returns the number of rows it changed."""
        return self._session.change(*self._rendered(sql, values))

    def run_as_written(self, sql: str) -> None:
        """Run a statement that is in the database's own dialect already."""
        self._session.change(sql, {})

    def _rendered(self, sql: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        bound: dict[str, Any] = {}

        def replaced(mark: re.Match[str]) -> str:
            if mark[1] in self._fragments:
                return _MARKS.sub(replaced, self._fragments[mark[1]])
            if mark[1]:
                return self._names[mark[1]]
            return self._bind(bound, mark[2], values[mark[2]])

        return _MARKS.sub(replaced, sql), bound

    def _bind(self, bound: dict[str, Any], name: str, value: Any) -> str:
        """Add a value to those of a statement; returns what stands for it in the text."""
        bound[name] = value
        return self._dialect.parameter(name)

    def insert_records(self, records: Sequence[PipelineRecord]) -> int:
        """Insert those that are not there yet; returns how many that were."""
        return sum(
            self._insert_records(records[first : first + _INSERT_ROWS])
            for first in range(0, len(records), _INSERT_ROWS)
        )

    def _insert_records(self, records: Sequence[PipelineRecord]) -> int:
        values: dict[str, Any] = {}
        rows: list[str] = []
        for number, record in enumerate(records):
            own = values_of_record(record)
            values.update({f"{column}_{number}": own[column] for column in INSERTED_COLUMNS})
            rows.append(", ".join(_inserted(column, number) for column in INSERTED_COLUMNS))
        return self.change(
            f"INSERT INTO {{records}} ({', '.join(INSERTED_COLUMNS)}) "  # noqa: S608
            f"VALUES ({'), ('.join(rows)}) ON CONFLICT DO NOTHING",
            values,
        )

    def records(self, clauses: str, values: Mapping[str, Any]) -> list[PipelineRecord]:
        """Records that the clauses choose."""
        rows = self.rows(f"SELECT * FROM {{records}} {clauses}", values)  # noqa: S608
        return [record_from_row(row) for row in rows]

    def claim_of(self, key: RecordKey, owner: str) -> Claim | None:
        """The claim that stands in the record under this owner."""
        found = self.rows(
            "SELECT epoch, lease_until FROM {records} WHERE {key} AND owner = :owner",
            {**vars(key), "owner": owner},
        )
        return Claim(key, found[0]["epoch"], owner, found[0]["lease_until"]) if found else None

    def change_ours(self, claim: Claim, columns: Sequence[str], values: Mapping[str, Any]) -> None:
        """Update the claimed record; ClaimLostError if it is not the claim's any more."""
        changed = self.change(
            f"UPDATE {{records}} SET {', '.join(columns)} WHERE {{ours}}",  # noqa: S608
            {**values, **vars(claim.key), "epoch": claim.epoch, "owner": claim.owner},
        )
        if changed != 1:
            raise ClaimLostError(
                f"The claim on {claim.key.pipeline_name} "
                f"[{claim.key.window_start_time.isoformat()}, "
                f"{claim.key.window_end_time.isoformat()}) at epoch {claim.epoch} is gone; "
                "nothing was written.",
                hint="Another run took the window over, or this run was closed as dead; look at "
                "the window's rows in pipeline_execution_drive.",
            )

    def runs(
        self, where: str, values: Mapping[str, Any], order: str = "run.epoch DESC"
    ) -> list[ExecutionRow]:
        """Latest revisions of the runs that `where` chooses."""
        rows = self.rows(
            f"SELECT run.* FROM {{log}} AS run WHERE {where} AND {{latest}} ORDER BY {order}",  # noqa: S608
            values,
        )
        return [execution_from_row(row) for row in rows]

    def append(self, row: ExecutionRow) -> ExecutionRow:
        """Append the next revision; the caller holds the window's record locked."""
        [last] = self.rows(
            "SELECT coalesce(max(revision), 0) AS revision, min(created_at) AS created_at, "
            "{clock} AS updated_at FROM {log} WHERE pipeline_id = :pipeline_id",
            {"pipeline_id": row.pipeline_id},
        )
        new = replace(
            row,
            revision=last["revision"] + 1,
            created_at=last["created_at"] or last["updated_at"],
            updated_at=last["updated_at"],
        )
        self._insert_execution(values_of_execution(new))
        return new

    def _insert_execution(self, values: Mapping[str, Any]) -> None:
        bound = (
            f"CAST(:{column} AS {self._dialect.types['json']})"
            if kind.startswith("json")
            else f":{column}"
            for column, kind in LOG_TYPES.items()
        )
        self.change(
            f"INSERT INTO {{log}} ({', '.join(LOG_TYPES)}) VALUES ({', '.join(bound)})",  # noqa: S608
            values,
        )


def _inserted(column: str, number: int) -> str:
    if column in ("record_first_created_time", "record_last_updated_time"):
        return f"coalesce(:{column}_{number}, {{clock}})"
    return f":{column}_{number}"

"""Records and execution rows as mappings of column to value, and back (pure)."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from pipeline_platform.drive_table.schema import COLUMN_OF_PHASE
from pipeline_platform.execution import COUNT_PHASES, PHASES, ExecutionRow, Phase, PhaseRecord
from pipeline_platform.record import RECORD_COLUMNS, PipelineRecord

# Fields that are columns of the same name.
_ROW_COLUMNS = tuple(field.name for field in fields(ExecutionRow) if field.name != "phases")


def record_from_row(row: Mapping[str, Any]) -> PipelineRecord:
    """The record that a row of `pipeline_records` holds."""
    return PipelineRecord(**{column: row[column] for column in RECORD_COLUMNS})


def values_of_record(record: PipelineRecord) -> dict[str, Any]:
    """Every column of the record with its value."""
    return {column: _bindable(getattr(record, column)) for column in RECORD_COLUMNS}


def execution_from_row(row: Mapping[str, Any]) -> ExecutionRow:
    """The execution row that a row of `pipeline_execution_log` holds."""
    phases: dict[Phase, PhaseRecord] = {
        phase: _phase_record(as_json(row[column])) for phase, column in COLUMN_OF_PHASE.items()
    }
    audit = phases["audit"].phase_specific_details
    counts = audit.pop("counts", {})
    for phase in COUNT_PHASES:
        phases[phase] = _count_record(counts.get(phase, {}))
    own = {column: row[column] for column in _ROW_COLUMNS}
    return ExecutionRow(**own, phases={phase: phases[phase] for phase in PHASES})


def values_of_execution(row: ExecutionRow) -> dict[str, Any]:
    """Every column of the log with its value; phase columns as JSON text."""
    values = {column: _bindable(getattr(row, column)) for column in _ROW_COLUMNS}
    for phase, column in COLUMN_OF_PHASE.items():
        values[column] = json.dumps(json_safe(row.phase_json(phase)), allow_nan=False)
    values["phases_completed"] = row.phases_completed
    values["phases_skipped"] = row.phases_skipped
    values["phase_failed"] = row.phase_failed
    values["phases_pending"] = row.phases_pending
    return values


def in_utc(value: Any) -> Any:
    """A datetime in UTC whatever zone class the driver gave it; other values as they are."""
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


def as_json(value: Any) -> Any:
    """The value of a JSON column: some drivers parse it, some give its text."""
    return json.loads(value) if isinstance(value, str) else value


def json_safe(value: Any) -> Any:
    """What every database's JSON type takes: no NUL, no lone surrogate, no NaN.

    Phase details and error messages come from anywhere, and must never stop a row from being
    written.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, Mapping):
        return {_clean(str(key)): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_safe(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return json_safe(float(value))
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return _clean(str(value))


def _clean(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _bindable(value: Any) -> Any:
    return _clean(value) if isinstance(value, str) else value


def _phase_record(value: Mapping[str, Any]) -> PhaseRecord:
    known = {field.name for field in fields(PhaseRecord)}
    return PhaseRecord(**{name: item for name, item in value.items() if name in known})


def _count_record(value: Mapping[str, Any]) -> PhaseRecord:
    record = _phase_record(value)
    if value.get("value") is not None:
        record.phase_specific_details["value"] = value["value"]
    return record

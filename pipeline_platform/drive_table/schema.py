"""Tables and view of the drive table, as numbered migrations.

`pipeline_records` is seed 000's "Records Table", `pipeline_execution_log` and its view
`pipeline_execution_drive` are seed 003's "Database Schema". A migration that was released is
never edited: a change is a new one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline_platform.execution import COUNT_PHASES, PHASES
from pipeline_platform.record import CLAIM_COLUMNS

RECORDS = "pipeline_records"
RECORD_IDS = "pipeline_records_id"
EXECUTION_LOG = "pipeline_execution_log"
EXECUTION_DRIVE = "pipeline_execution_drive"
MIGRATIONS = "schema_migrations"

COLUMN_OF_PHASE = {phase: f"{phase}_phase" for phase in PHASES if phase not in COUNT_PHASES}


LATEST_REVISION = """
    NOT EXISTS (
        SELECT 1 FROM {log} AS newer
        WHERE newer.pipeline_id = run.pipeline_id
          AND (newer.epoch > run.epoch OR newer.epoch = run.epoch AND newer.revision > run.revision)
    )"""


@dataclass(frozen=True)
class Dialect:
    """Where databases differ. Shared SQL writes `:name` for a bound value."""

    quote: Callable[[str], str]
    parameter: Callable[[str], str]
    """The driver's own form of `:name`."""
    types: Mapping[str, str]
    """The type for each kind of column used below."""
    clock: str
    """An expression for the current time that moves on inside a transaction, if there is one."""
    secondary_indexes: bool
    """Whether indexes besides the primary keys help."""
    claim_column: str = ""
    """What to add to the definition of the columns that a claim changes."""
    lease_end: str = "{clock} + :lease"
    """An expression for the time at which a lease of `:lease` that begins now ends."""
    latest: str = LATEST_REVISION
    """A condition on `run`, a row of the log: it is its run's latest revision."""
    json_member: Callable[[str, str], str] = lambda value, name: f"({value} -> '{name}')"
    """An expression for one member of a JSON object."""


@dataclass(frozen=True)
class Migration:
    """One step of the schema; its statements run in one transaction."""

    version: int
    description: str
    statements: tuple[str, ...]


RECORD_TYPES: Mapping[str, str] = {
    "id": "bigint not null",
    "pipeline_name": "text not null",
    "window_start_time": "timestamp not null",
    "window_end_time": "timestamp not null",
    "target_day": "date not null",
    "time_interval": "text not null",
    "source_to_stage_ingestion_start_time": "timestamp",
    "source_to_stage_ingestion_end_time": "timestamp",
    "source_to_stage_ingestion_status": "text not null",
    "stage_to_target_ingestion_start_time": "timestamp",
    "stage_to_target_ingestion_end_time": "timestamp",
    "stage_to_target_ingestion_status": "text not null",
    "audit_start_time": "timestamp",
    "audit_end_time": "timestamp",
    "audit_status": "text not null",
    "audit_result": "text",
    "source_count": "bigint",
    "target_count": "bigint",
    "count_difference": "bigint",
    "percentage_difference": "percent",
    "pipeline_start_time": "timestamp",
    "pipeline_end_time": "timestamp",
    "pipeline_status": "text not null",
    "phase_completed": "text",
    "retry_attempt": "integer not null",
    "record_first_created_time": "timestamp",
    "record_last_updated_time": "timestamp",
    "source_name": "text",
    "stage_path": "text",
    "target_name": "text",
    "pipeline_id": "text",
    "config_hash": "text",
    "epoch": "bigint not null",
    "owner": "text",
    "lease_until": "timestamp",
}

# Seed 003's columns in its order.
SEED_TYPES: Mapping[str, str] = {
    "pipeline_id": "text not null",
    "pipeline_name": "text not null",
    "pipeline_status": "text not null",
    "pipeline_retry_number": "integer not null",
    "pipeline_start_timestamp": "timestamp not null",
    "pipeline_end_timestamp": "timestamp",
    "pipeline_run_duration": "text",
    "query_window_start_timestamp": "timestamp not null",
    "query_window_end_timestamp": "timestamp not null",
    "target_date": "date not null",
    "query_window_duration": "text not null",
    **dict.fromkeys(COLUMN_OF_PHASE.values(), "json not null"),
    "phases_completed": "text_array not null",
    "phases_skipped": "text_array not null",
    "phase_failed": "text",
    "phases_pending": "text_array not null",
    "created_at": "timestamp not null",
    "updated_at": "timestamp not null",
}
_ADDED_TYPES: Mapping[str, str] = {
    "dagster_run_id": "text not null",
    "epoch": "bigint not null",
    "config_hash": "text not null",
    "error_category": "text",
}
DRIVE_COLUMNS = (*SEED_TYPES, *_ADDED_TYPES)
LOG_TYPES: Mapping[str, str] = {**SEED_TYPES, **_ADDED_TYPES, "revision": "integer not null"}


def migrations(dialect: Dialect, table: Callable[[str], str]) -> tuple[Migration, ...]:
    """All migrations, oldest first; `table` gives the quoted name with its schema."""
    return (Migration(1, "records, execution log, execution drive", _first(dialect, table)),)


def _first(dialect: Dialect, table: Callable[[str], str]) -> tuple[str, ...]:
    records, log = table(RECORDS), table(EXECUTION_LOG)
    record_columns = _columns(dialect, table, RECORD_TYPES)
    drive_columns = ", ".join(f"run.{column}" for column in DRIVE_COLUMNS)
    latest = dialect.latest.format(log=log)
    statements = (
        f"CREATE SEQUENCE {table(RECORD_IDS)}",
        f"CREATE TABLE {records} ({record_columns}, "
        "PRIMARY KEY (pipeline_name, window_start_time, window_end_time))",
        f"CREATE TABLE {log} ({_columns(dialect, table, LOG_TYPES)}, "
        "PRIMARY KEY (pipeline_id, revision))",
        f"CREATE VIEW {table(EXECUTION_DRIVE)} AS "  # noqa: S608
        f"SELECT {drive_columns} FROM {log} AS run WHERE {latest}",
    )
    if not dialect.secondary_indexes:
        return statements
    # The primary key stands for seed 000's idx_time_window. Its idx_status and idx_phase index
    # columns that every hand-over changes; what they are for is to find what is left to do.
    return (
        *statements,
        f"CREATE INDEX pipeline_records_pending ON {records} "
        "(pipeline_name, window_start_time) WHERE pipeline_status = 'PENDING'",
        f"CREATE INDEX pipeline_execution_log_window ON {log} "
        "(pipeline_name, query_window_start_timestamp)",
        f"CREATE INDEX pipeline_execution_log_created ON {log} (pipeline_name, created_at)",
        f"CREATE INDEX pipeline_execution_log_run ON {log} (dagster_run_id)",
        f"CREATE INDEX pipeline_execution_log_running ON {log} (pipeline_name) "
        "WHERE pipeline_status = 'RUNNING'",
    )


def _columns(dialect: Dialect, table: Callable[[str], str], types: Mapping[str, str]) -> str:
    sequence = table(RECORD_IDS).replace("'", "''")
    columns = []
    for name, kind in types.items():
        of_type, _, rest = kind.partition(" ")
        column = f"{name} {dialect.types[of_type]} {rest.upper()}"
        if name == "id":
            column += f" DEFAULT nextval('{sequence}')"
        elif types is RECORD_TYPES and name in CLAIM_COLUMNS:
            column += f" {dialect.claim_column}"
        columns.append(column.rstrip())
    return ", ".join(columns)

"""Named queries over the drive table: the six standard ones of seed 003, and those that
the platform itself asks.

`{drive}` and `{records}` are the quoted names, `{clock}` the database's time, `{phases}` one row
per run and phase; `:name` is a bound parameter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pipeline_platform.drive_table.schema import COLUMN_OF_PHASE
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.execution import COUNT_PHASES, PHASES, Phase


@dataclass(frozen=True)
class NamedQuery:
    """A query with what it is for. A parameter in `defaults` may be left out."""

    description: str
    sql: str
    parameters: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)


QUERIES: Mapping[str, NamedQuery] = {
    "latest_execution": NamedQuery(
        "Query 1: the most recent run of a pipeline, with every column.",
        "SELECT * FROM {drive} WHERE pipeline_name = :pipeline_name "
        "ORDER BY created_at DESC, epoch DESC LIMIT 1",
        ("pipeline_name",),
    ),
    "failed_executions": NamedQuery(
        "Query 2: runs of the last hours (24) that failed, newest first.",
        """
        SELECT pipeline_id, pipeline_name, query_window_start_timestamp,
            query_window_end_timestamp, pipeline_retry_number, phase_failed, error_category,
            created_at, dagster_run_id
        FROM {drive}
        WHERE pipeline_status = 'FAILED'
          AND created_at > {clock} - CAST(:hours AS double precision) * INTERVAL '1 hour'
        ORDER BY created_at DESC, pipeline_id
        """,
        ("hours",),
        {"hours": 24.0},
    ),
    "failed_phase": NamedQuery(
        "Query 3: the phase that stopped a run, and why; no row if none did.",
        """
        SELECT pipeline_id, pipeline_name, pipeline_status, phase_failed, error_category,
            record ->> 'error_message' AS error_message,
            record ->> 'start_timestamp' AS start_timestamp,
            record ->> 'end_timestamp' AS end_timestamp,
            record ->> 'actual_run_duration' AS actual_run_duration,
            (record -> 'phase_specific_details') AS phase_specific_details
        FROM {phases}
        WHERE pipeline_id = :pipeline_id AND phase = phase_failed
        """,
        ("pipeline_id",),
    ),
    "slow_phases": NamedQuery(
        "Query 4: phases of a pipeline's runs of the last hours (168) whose actual duration is "
        "more than `factor` (2) times the expected one, slowest first.",
        """
        SELECT pipeline_id, phase, created_at, actual_run_duration, expected_run_duration,
            actual_seconds, expected_seconds, actual_seconds / expected_seconds AS ratio
        FROM (
            SELECT pipeline_id, phase, created_at,
                record ->> 'actual_run_duration' AS actual_run_duration,
                record ->> 'expected_run_duration' AS expected_run_duration,
                CAST(EXTRACT(epoch FROM CAST(record ->> 'end_timestamp' AS timestamptz)
                    - CAST(record ->> 'start_timestamp' AS timestamptz)) AS double precision)
                    AS actual_seconds,
                CAST(EXTRACT(epoch FROM CAST(record ->> 'expected_run_duration' AS interval))
                    AS double precision) AS expected_seconds
            FROM {phases}
            WHERE pipeline_name = :pipeline_name
              AND created_at > {clock} - CAST(:hours AS double precision) * INTERVAL '1 hour'
        ) AS durations
        WHERE actual_seconds > CAST(:factor AS double precision) * expected_seconds
          AND expected_seconds > 0
        ORDER BY ratio DESC, pipeline_id, phase
        """,
        ("pipeline_name", "hours", "factor"),
        {"hours": 168.0, "factor": 2.0},
    ),
    "execution_history": NamedQuery(
        "Query 5: every run of a pipeline, latest target date first, with every column.",
        "SELECT * FROM {drive} WHERE pipeline_name = :pipeline_name ORDER BY target_date DESC, "
        "query_window_start_timestamp DESC, epoch DESC LIMIT :limit",
        ("pipeline_name", "limit"),
        {"limit": 1000},
    ),
    "data_freshness": NamedQuery(
        "Query 6: the last successful run of a pipeline, its age, and whether that is more than "
        "`hours` (24); no row if none ever succeeded.",
        """
        SELECT pipeline_name, pipeline_id, query_window_start_timestamp,
            query_window_end_timestamp, pipeline_end_timestamp, created_at,
            CAST(EXTRACT(epoch FROM {clock} - pipeline_end_timestamp) AS double precision) / 3600
                AS hours_since_success,
            pipeline_end_timestamp < {clock} - CAST(:hours AS double precision)
                * INTERVAL '1 hour' AS stale
        FROM {drive}
        WHERE pipeline_name = :pipeline_name AND pipeline_status = 'SUCCESS'
          AND array_position(phases_completed, 'audit') > 0
        ORDER BY created_at DESC, epoch DESC LIMIT 1
        """,
        ("pipeline_name", "hours"),
        {"hours": 24.0},
    ),
    "window_summary": NamedQuery(
        "Windows of a pipeline by state; always one row.",
        """
        SELECT CAST(:pipeline_name AS text) AS pipeline_name,
            count(*) FILTER (WHERE pipeline_status = 'COMPLETED') AS completed,
            count(*) FILTER (WHERE pipeline_status = 'PENDING') AS pending,
            count(*) FILTER (WHERE owner IS NOT NULL AND lease_until >= {clock}) AS held,
            max(window_start_time) FILTER (WHERE pipeline_status = 'COMPLETED')
                AS latest_completed_window,
            min(window_start_time) FILTER (WHERE pipeline_status = 'PENDING')
                AS oldest_pending_window
        FROM {records}
        WHERE pipeline_name = :pipeline_name
        """,
        ("pipeline_name",),
    ),
    "window_states": NamedQuery(
        "Windows of a pipeline that start in [from_time, to_time), oldest first: the record's "
        "status, whether a run holds it now, and how its last run ended.",
        """
        SELECT window_start_time, window_end_time, pipeline_status, {held} AS held,
            (SELECT run.pipeline_status FROM {drive} AS run
             WHERE run.pipeline_name = of_window.pipeline_name
               AND run.query_window_start_timestamp = of_window.window_start_time
               AND run.query_window_end_timestamp = of_window.window_end_time
             ORDER BY run.epoch DESC LIMIT 1) AS last_run_status
        FROM {records} AS of_window
        WHERE pipeline_name = :pipeline_name
          AND window_start_time >= :from_time AND window_start_time < :to_time
        ORDER BY window_start_time
        """,
        ("pipeline_name", "from_time", "to_time"),
    ),
    "reworked_windows": NamedQuery(
        "Runs of a pipeline that began in [from_time, to_time) and failed or moved their window "
        "again, newest first: what they may have left behind.",
        """
        SELECT query_window_start_timestamp, query_window_end_timestamp, epoch, pipeline_status,
            created_at
        FROM {drive}
        WHERE pipeline_name = :pipeline_name
          AND created_at >= :from_time AND created_at < :to_time
          AND (pipeline_status = 'FAILED' OR pipeline_status = 'SUCCESS' AND epoch > 1)
        ORDER BY created_at DESC, epoch DESC LIMIT :limit
        """,
        ("pipeline_name", "from_time", "to_time", "limit"),
        {"limit": 1000},
    ),
    "audited_windows": NamedQuery(
        "The last windows of a pipeline that are completed with a passed audit and that no run "
        "holds now, newest first.",
        """
        SELECT window_start_time, window_end_time, epoch, config_hash, source_count, target_count
        FROM {records}
        WHERE pipeline_name = :pipeline_name AND pipeline_status = 'COMPLETED'
          AND audit_result = 'PASS' AND NOT {held}
        ORDER BY window_start_time DESC, window_end_time DESC LIMIT :limit
        """,
        ("pipeline_name", "limit"),
        {"limit": 100},
    ),
}


def named_query(
    queries: Mapping[str, NamedQuery], name: str, parameters: Mapping[str, Any]
) -> tuple[NamedQuery, dict[str, Any]]:
    """The query and its whole parameters; ConfigurationError lists what there is."""
    query = queries.get(name)
    if query is None:
        raise ConfigurationError(
            f"There is no query {name!r}.", hint=f"There are: {', '.join(sorted(queries))}."
        )
    values = {**query.defaults, **parameters}
    wanted = ", ".join(
        f"{parameter} (default {query.defaults[parameter]})"
        if parameter in query.defaults
        else parameter
        for parameter in query.parameters
    )
    if set(values) != set(query.parameters):
        raise ConfigurationError(
            f"The query {name!r} was given {', '.join(sorted(parameters)) or 'no parameter'}.",
            hint=f"It takes: {wanted}.",
        )
    return query, values


def phases_of_runs(drive: str, json_member: Callable[[str, str], str]) -> str:
    """One row per run and phase: `phase`, `record` (JSON) and the run's own columns."""
    return " UNION ALL ".join(
        "SELECT pipeline_id, pipeline_name, pipeline_status, phase_failed, error_category, "  # noqa: S608
        f"created_at, '{phase}' AS phase, {_json_of(phase, json_member)} AS record FROM {drive}"
        for phase in PHASES
    )


def _json_of(phase: Phase, json_member: Callable[[str, str], str]) -> str:
    if phase in COUNT_PHASES:
        return reduce(json_member, ("phase_specific_details", "counts", phase), "audit_phase")
    return COLUMN_OF_PHASE[phase]

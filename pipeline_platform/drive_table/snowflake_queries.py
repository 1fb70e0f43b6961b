"""The named queries in Snowflake's SQL; those that are not here are the same everywhere."""

# ruff: noqa: S608  (values are bound; what is put together are parts of these texts)

from collections.abc import Mapping
from dataclasses import replace

from pipeline_platform.drive_table.queries import QUERIES, NamedQuery

_SINCE = "created_at > DATEADD('second', -3600 * CAST(:hours AS DOUBLE), {clock})"


def _text(name: str) -> str:
    return f"CAST(record['{name}'] AS VARCHAR)"


def _seconds(duration: str) -> str:
    """Seconds of a duration like 1d2h30m20s; Snowflake reads no interval from a text."""
    parts = (
        f"{seconds} * COALESCE(CAST(REGEXP_SUBSTR({duration}, '([0-9.]+){unit}', 1, 1, 'e', 1) "
        "AS DOUBLE), 0)"
        for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    )
    return " + ".join(parts)


_SQL: Mapping[str, str] = {
    "failed_executions": f"""
        SELECT pipeline_id, pipeline_name, query_window_start_timestamp,
            query_window_end_timestamp, pipeline_retry_number, phase_failed, error_category,
            created_at, dagster_run_id
        FROM {{drive}}
        WHERE pipeline_status = 'FAILED' AND {_SINCE}
        ORDER BY created_at DESC, pipeline_id
        """,
    "failed_phase": f"""
        SELECT pipeline_id, pipeline_name, pipeline_status, phase_failed, error_category,
            {_text("error_message")} AS error_message,
            {_text("start_timestamp")} AS start_timestamp,
            {_text("end_timestamp")} AS end_timestamp,
            {_text("actual_run_duration")} AS actual_run_duration,
            record['phase_specific_details'] AS phase_specific_details
        FROM {{phases}}
        WHERE pipeline_id = :pipeline_id AND phase = phase_failed
        """,
    "slow_phases": f"""
        SELECT pipeline_id, phase, created_at, actual_run_duration, expected_run_duration,
            actual_seconds, expected_seconds, actual_seconds / expected_seconds AS ratio
        FROM (
            SELECT pipeline_id, phase, created_at,
                {_text("actual_run_duration")} AS actual_run_duration,
                {_text("expected_run_duration")} AS expected_run_duration,
                CAST(DATEDIFF('microsecond', CAST({_text("start_timestamp")} AS TIMESTAMP_TZ),
                    CAST({_text("end_timestamp")} AS TIMESTAMP_TZ)) AS DOUBLE) / 1000000
                    AS actual_seconds,
                {_seconds(_text("expected_run_duration"))} AS expected_seconds
            FROM {{phases}}
            WHERE pipeline_name = :pipeline_name AND {_SINCE}
        ) AS durations
        WHERE actual_seconds > CAST(:factor AS DOUBLE) * expected_seconds AND expected_seconds > 0
        ORDER BY ratio DESC, pipeline_id, phase
        """,
    "data_freshness": """
        SELECT pipeline_name, pipeline_id, query_window_start_timestamp,
            query_window_end_timestamp, pipeline_end_timestamp, created_at,
            CAST(DATEDIFF('second', pipeline_end_timestamp, {clock}) AS DOUBLE) / 3600
                AS hours_since_success,
            pipeline_end_timestamp < DATEADD('second', -3600 * CAST(:hours AS DOUBLE), {clock})
                AS stale
        FROM {drive}
        WHERE pipeline_name = :pipeline_name AND pipeline_status = 'SUCCESS'
          AND CAST(audit_phase['status'] AS VARCHAR) = 'COMPLETED'
        ORDER BY created_at DESC, epoch DESC LIMIT 1
        """,
    "window_summary": """
        SELECT CAST(:pipeline_name AS VARCHAR) AS pipeline_name,
            COUNT_IF(pipeline_status = 'COMPLETED') AS completed,
            COUNT_IF(pipeline_status = 'PENDING') AS pending,
            COUNT_IF({held}) AS held,
            MAX(CASE WHEN pipeline_status = 'COMPLETED' THEN window_start_time END)
                AS latest_completed_window,
            MIN(CASE WHEN pipeline_status = 'PENDING' THEN window_start_time END)
                AS oldest_pending_window
        FROM {records}
        WHERE pipeline_name = :pipeline_name
        """,
    "window_states": """
        SELECT of_window.window_start_time, of_window.window_end_time, of_window.pipeline_status,
            of_window.held, last_run.pipeline_status AS last_run_status
        FROM (
            SELECT window_start_time, window_end_time, pipeline_status, {held} AS held
            FROM {records}
            WHERE pipeline_name = :pipeline_name
              AND window_start_time >= :from_time AND window_start_time < :to_time
        ) AS of_window
        LEFT JOIN (
            SELECT query_window_start_timestamp, query_window_end_timestamp, pipeline_status
            FROM {drive}
            WHERE pipeline_name = :pipeline_name
            QUALIFY ROW_NUMBER() OVER (
                PARTITION BY query_window_start_timestamp, query_window_end_timestamp
                ORDER BY epoch DESC
            ) = 1
        ) AS last_run
          ON last_run.query_window_start_timestamp = of_window.window_start_time
         AND last_run.query_window_end_timestamp = of_window.window_end_time
        ORDER BY of_window.window_start_time
        """,
}

SNOWFLAKE_QUERIES: Mapping[str, NamedQuery] = {
    name: replace(query, sql=_SQL.get(name, query.sql)) for name, query in QUERIES.items()
}

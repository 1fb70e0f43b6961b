"""What Dagster's catalog shows of a pipeline's assets before any run: texts, kinds, where the
config says it, and how fresh they should be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_platform.config.connections import DuckDBConnection, PostgresConnection
from pipeline_platform.config.cron import longest_pause
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.snowflake import SnowflakeConnection, SnowflakeTarget
from pipeline_platform.moment import parse_time_to_seconds

DESCRIPTIONS: Mapping[str, str] = {
    "source": "Claims the window, closes dead runs, checks prerequisites, decides whether to skip, "
    "continue or start over, and counts the rows at the source.",
    "stage": "Reads one snapshot of the window into Parquet files with a manifest; counts them.",
    "target": "Replaces the window's rows in one fenced, verified transaction, and counts them.",
    "audit": "Compares source, stage and target once more and stores the verdict.",
    "cleaning": "Removes superseded attempts and, by age, staged windows that have a good audit.",
}
CHECK_DESCRIPTIONS: Mapping[str, str] = {
    "ready": "The window is old enough and all prerequisites are met.",
    "stage_count": "The stage holds the rows of the source's snapshot, within tolerance.",
    "target_count": "The target holds the staged rows, within tolerance.",
    "audit": "Source, stage and target agree; losses are explained and within tolerance.",
}
# The section of the config that an asset is about.
SECTIONS: Mapping[str, str] = {
    "source": "source_system",
    "stage": "stage_system",
    "target": "target_system",
    "audit": "phases.audit",
    "cleaning": "phases.stage_cleaning",
}
FRESH_ASSETS = ("target", "audit")
# Time for the sensor's tick, the start of the run, and a retry.
START_UP = timedelta(minutes=10)


@dataclass(frozen=True)
class ConfigPlace:
    """Where a config stands: `locate` gives the line of a section, None if there is no file."""

    path: Path | None
    project_root: Path
    locate: Callable[[str], int | None]

    def metadata(self, section: str) -> Mapping[str, Any]:
        """File and line of a section, from the project's folder; nothing without a file."""
        if self.path is None:
            return {}
        path, root = self.path.resolve(), self.project_root.resolve()
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        return {"config": dg.MetadataValue.path(f"{shown}:{self.locate(section) or 1}")}


NO_FILE = ConfigPlace(None, Path(), lambda section: None)


def described(config: PipelineConfig, step: str, place: ConfigPlace) -> dict[str, Any]:
    """Description, owners, kinds, tags, metadata and freshness policy of one asset."""
    pipeline = config.pipeline_metadata
    return {
        "description": f"{DESCRIPTIONS[step]}\n\n{pipeline.pipeline_description}".strip(),
        "owners": [pipeline.owner_email] if pipeline.owner_email else None,
        "kinds": _kinds(config, step),
        "tags": {"pipeline_platform/pipeline": pipeline.pipeline_name},
        "metadata": {**_settings(config, step), **place.metadata(SECTIONS[step])},
        "freshness_policy": freshness_policy(config) if step in FRESH_ASSETS else None,
        "pool": _pool(config) if step == "target" else None,
    }


def freshness_policy(
    config: PipelineConfig, now: datetime | None = None
) -> dg.FreshnessPolicy | None:
    """How old the last materialization may be; None where the config expects nothing.

    A pipeline that runs by itself (`schedule.automatic`) finishes a window per window, or per
    moment of `schedule.cron`, within the sum of the phases' expected durations times
    `duration_multiplier_threshold`. Later than that is a warning, one window more a failure.
    None once `end_date` has passed. Dagster looks at the last materialization of any window: one
    that is missing in between is seen in the drive table only.
    """
    schedule = config.schedule
    end = config.window_plan().end
    if not schedule.automatic or (end is not None and end <= (now or datetime.now(timezone.utc))):
        return None
    between = timedelta(seconds=parse_time_to_seconds(config.query_window.duration))
    if schedule.cron is not None:
        between = max(between, longest_pause(schedule.cron))
    phases = (phase for _, phase in config.phases)
    seconds = sum(
        parse_time_to_seconds(phase.expected_run_duration)
        for phase in phases
        if phase.expected_run_duration
    )
    work = timedelta(seconds=seconds * config.monitoring.duration_multiplier_threshold)
    warn = between + work + START_UP
    return dg.FreshnessPolicy.time_window(fail_window=warn + between, warn_window=warn)


def _settings(config: PipelineConfig, step: str) -> Mapping[str, Any]:
    """The settings of the config that people look for at this asset."""
    window, schedule = config.query_window, config.schedule
    tolerances = config.phases.audit.count_tolerances
    until = f" to {schedule.end_date}" if schedule.end_date else ""
    settings: dict[str, Any] = {
        "windows": f"{window.duration} in {schedule.timezone}, {schedule.start_date}{until}"
    }
    if owner := config.pipeline_metadata.owner_name:
        settings["owner"] = owner
    if step == "source":
        settings["query_field"] = config.source_system.query_field
        settings["x_time_back"] = window.x_time_back
    if step in ("stage", "audit"):
        settings["source_to_stage_tolerance_percent"] = float(
            tolerances.source_to_stage_tolerance_percent
        )
    if step in ("target", "audit"):
        settings["stage_to_target_tolerance_percent"] = float(
            tolerances.stage_to_target_tolerance_percent
        )
    if step in ("source", "target"):
        system = config.source_system if step == "source" else config.target_system
        if table := _table_name(system):
            settings["dagster/table_name"] = table
            settings["dagster/storage_kind"] = system.type
    return settings


def _table_name(system: object) -> str | None:
    """Database, schema and table; DuckDB calls a database by its file's name without suffix."""
    parts: list[str | None] = []
    if isinstance(system, DuckDBConnection):
        parts = [Path(system.path).stem]
    elif isinstance(system, (PostgresConnection, SnowflakeConnection)):
        parts = [system.database]
    parts += [getattr(system, name, None) for name in ("db_schema", "table")]
    return ".".join(part for part in parts if part) or None


def _kinds(config: PipelineConfig, step: str) -> set[str]:
    """The system behind an asset; a class of one's own is `python`."""
    if step in ("stage", "cleaning"):
        return {"parquet", "s3"} if config.stage_system.type == "s3" else {"parquet"}
    kind = config.source_system.type if step == "source" else config.target_system.type
    return {"python" if ":" in kind else kind}


def _pool(config: PipelineConfig) -> str | None:
    """The pool of a Snowflake table, whose loads wait for each other's lock; else None.

    Its limit is the number of windows that are copied at once, of all pipelines into the table.
    """
    if not isinstance(config.target_system, SnowflakeTarget):
        return None
    table = _table_name(config.target_system) or ""
    return f"snowflake/{re.sub(r'[^A-Za-z0-9_.-]', '_', table)}"

"""The project that the browser looks at: the demo's flights, and a pipeline with a bad day."""

from pathlib import Path
from typing import Any

from pipeline_platform_tests.servers.dagster_project import DagsterProject

# In the snow of 8 March 2013, 180 of 979 flights were cancelled and have no departure time.
POISONED_DAY = "2013-03-08"
DEPARTURES: dict[str, Any] = {
    "pipeline_metadata": {
        "pipeline_name": "departures",
        "pipeline_description": "Flights that left; a cancelled one has no departure time.",
        "owner_email": "data-platform@example.com",
    },
    "schedule": {
        "timezone": "America/New_York", "start_date": "2013-01-01", "end_date": "2014-01-01",
    },
    "query_window": {"duration": "1d"},
    "source_system": {
        "type": "duckdb", "path": "data/operational.duckdb", "table": "flights",
        "query_field": "time_hour", "required_fields": ["dep_time"],
    },
    "stage_system": {"type": "local", "path": "data/stage"},
    "target_system": {
        "type": "duckdb", "path": "data/warehouse.duckdb", "schema": "analytics",
        "table": "departures",
    },
    "phases": {"audit": {"count_tolerances": {"source_to_stage_tolerance_percent": 5}}},
}  # fmt: skip


def flights_project(folder: Path) -> DagsterProject:
    """A project with the demo's data and its pipeline, and `departures` beside it."""
    project = DagsterProject(folder)
    project.command("-m", "demo.load_flights")
    project.component("departures", "WindowedPipeline", DEPARTURES)
    return project

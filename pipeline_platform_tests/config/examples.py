"""A small valid config, and ways to write it down."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

YAML = """\
pipeline_metadata:
  pipeline_name: flights
  pipeline_description: Flights that left New York City in 2013.
  owner_name: Data platform
  owner_email: data-platform@example.com
schedule: {timezone: America/New_York, start_date: 2013-01-01, end_date: 2014-01-01}
query_window: {duration: 1d}
source_system:
  type: duckdb
  path: data/operational.duckdb
  table: flights
  query_field: time_hour
stage_system: {type: local, path: data/stage}
target_system: {type: duckdb, path: data/warehouse.duckdb, schema: analytics, table: flights}
"""

POSTGRES = {
    "type": "postgres",
    "host": "db.example.com",
    "database": "shop",
    "user": "pipeline",
    "password": "env:SHOP_DB_PASSWORD",
    "table": "orders",
    "query_field": "created_at",
}


def values(**changes: Any) -> dict[str, Any]:
    """The example as plain values; `section__key=value` changes one, `None` removes it."""
    result: dict[str, Any] = yaml.load(YAML, Loader=yaml.BaseLoader)
    for path, value in changes.items():
        *above, last = path.split("__")
        section = result
        for step in above:
            section = section.setdefault(step, {})
        if value is None:
            del section[last]
        else:
            section[last] = copy.deepcopy(value)
    return result


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def as_json(**changes: Any) -> str:
    return json.dumps(values(**changes), indent="\t")

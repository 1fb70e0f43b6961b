"""The flagship stack of one test: documents, a bucket, a database, and windows run by Dagster."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.flow.assets import build_assets
from pipeline_platform.flow.catalog import NO_FILE
from pipeline_platform.partitions import partitions_definition
from pipeline_platform_tests.pipelines import make_pipeline, merged
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.servers.s3 import S3Bucket
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase

DAY = datetime(2024, 3, 10, tzinfo=timezone.utc)
MAPPINGS = {
    "dynamic": "strict",
    "properties": {"id": {"type": "long"}, "at": {"type": "date"}, "note": {"type": "keyword"}},
}
Row = tuple[Any, ...]


def order(number: int) -> dict[str, Any]:
    """A document of the day; a thousand of them lie on one millisecond."""
    at = DAY + timedelta(milliseconds=number // 1000)
    return {"id": number, "at": at.isoformat(), "note": f"n{number} ä"}


def as_row(document: Mapping[str, Any]) -> Row:
    return document["id"], datetime.fromisoformat(document["at"]), document["note"]


@dataclass
class Stack:
    """One pipeline, daily in UTC; pipeline and target table have the same name."""

    server: ElasticsearchServer
    index: str
    bucket: S3Bucket
    database: SnowflakeDatabase
    folder: Path
    documents: list[dict[str, Any]] = field(default_factory=list)
    name: str = "orders"
    day: datetime = DAY

    def add(self, number: int) -> None:
        """So many more documents at the source."""
        first = len(self.documents)
        new = [order(n) for n in range(first, first + number)]
        self.server.add(self.index, new)
        self.documents += new

    @property
    def store(self) -> DriveStore:
        """The drive table, for what Dagster is not needed for."""
        return drive_table(self.state, self.folder).store

    def config(self, **changes: Any) -> dict[str, Any]:
        """Pages of a hundred documents, so that a small window has many."""
        config: dict[str, Any] = {
            "pipeline_metadata": {"pipeline_name": self.name},
            "schedule": {"timezone": "UTC", "start_date": "2024-01-01"},
            "query_window": {"duration": "1d"},
            "source_system": {
                "type": "elasticsearch", **self.server.config(), "index": self.index,
                "query_field": "at", "batch_rows": 100, "page_bytes": 65_536, "slices": 2,
                "busy_timeout_seconds": 2, "request_timeout_seconds": 10,
            },
            "stage_system": {"type": "s3", **self.bucket.as_config(), "prefix": "stage"},
            "target_system": {
                "type": "snowflake", **self.database.as_config(), "schema": "analytics",
                "table": self.name,
            },
        }  # fmt: skip
        return merged(config, changes)

    def through(self, url: str, **source: Any) -> dict[str, Any]:
        """The config with something between us and Elasticsearch."""
        return self.config(source_system={"hosts": [url], **source})

    @property
    def key(self) -> str:
        """The day as a partition."""
        return self.day.date().isoformat()

    @property
    def state(self) -> dict[str, Any]:
        return {"type": "snowflake", **self.database.as_config()}

    def run(
        self,
        config: Mapping[str, Any] | None = None,
        instance: dg.DagsterInstance | None = None,
        **tags: str,
    ) -> dict[str, Any]:
        """Materialize the day's five assets as the UI does; the run's row of the drive table."""
        done = materialize(
            config or self.config(), self.state, self.folder, self.key, instance, tags
        )
        row = self.drive_row(done.run_id)
        assert done.success == (row["pipeline_status"] in ("SUCCESS", "SKIPPED"))
        return row

    def query(self, statement: str) -> list[dict[str, Any]]:
        """By the plain driver; names in lower case."""
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            names = [column.name.lower() for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def drive_row(self, run_id: str) -> dict[str, Any]:
        """JSON columns are parsed."""
        [row] = self.query(
            f"SELECT * FROM pipeline_platform.pipeline_execution_drive "
            f"WHERE dagster_run_id = '{run_id}'"
        )
        return {
            name: json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value
            for name, value in row.items()
        }

    def rows(self) -> list[Row]:
        """All of the target."""
        found = self.query('SELECT id, "AT", note FROM analytics.orders ORDER BY id')
        return [(row["id"], row["at"].astimezone(timezone.utc), row["note"]) for row in found]

    def expected(self) -> list[Row]:
        """What the target must hold once the day is moved."""
        return [as_row(document) for document in self.documents]

    def attempt(self, epoch: int) -> str:
        """What keys of its objects begin with."""
        return f"stage/{self.name}/{self.day:%Y%m%dT%H%M%SZ}/run{epoch}/"

    def staged(self, epoch: int) -> list[str]:
        """Names of the objects of one attempt."""
        folder = self.attempt(epoch)
        return [key.removeprefix(folder) for key in self.bucket.keys(folder)]

    def manifest(self, epoch: int) -> dict[str, Any]:
        key = f"{self.attempt(epoch)}manifest.json"
        manifest: dict[str, Any] = json.loads(self.bucket.get(key))["manifest"]
        return manifest


def failure(row: Mapping[str, Any]) -> str:
    """Why a run failed, as its row says."""
    failed = row["phase_failed"]
    found = row.get(f"{failed}_phase") or row["audit_phase"]["phase_specific_details"][
        "counts"][failed]  # fmt: skip
    return f"{failed}: {found['error_message']}"


def drive_table(state: Mapping[str, Any], folder: Path) -> DriveTableIOManager:
    return DriveTableIOManager(state=dict(state), base_dir=str(folder), held_wait_seconds=0)


def materialize(
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    folder: Path,
    key: str,
    instance: dg.DagsterInstance | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    migrate: bool = False,
) -> dg.ExecuteInProcessResult:
    """All five assets of a window, in this process."""
    pipeline = make_pipeline(config, folder)
    manager = drive_table(state, folder)
    if migrate:
        manager.store.migrate()
    return dg.materialize(
        build_assets(pipeline, partitions_definition(pipeline.windows), NO_FILE),
        partition_key=key,
        instance=instance,
        resources={DRIVE_TABLE: manager},
        tags=tags,
        raise_on_error=False,
    )

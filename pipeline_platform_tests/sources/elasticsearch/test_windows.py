"""Windows from Elasticsearch through the whole flow into a DuckDB file."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.stage import SNAPSHOTS_PER_RUN
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.pipelines import duckdb_config, duckdb_store, make_pipeline, run_window
from pipeline_platform_tests.servers.http_proxy import HttpProxy, Request
from pipeline_platform_tests.sources.elasticsearch.documents import ORDERS, Documents
from pipeline_platform_tests.sources.elasticsearch.test_faults import is_later_page

KEY = "2024-03-10"
DAY = datetime(2024, 3, 10, tzinfo=timezone.utc)
ROWS = 600


@pytest.fixture
def pipeline(documents: Documents, elasticsearch_proxy: HttpProxy, tmp_path: Path) -> Pipeline:
    documents.create("orders", ORDERS, shards=2)
    documents.insert("orders", [(n, DAY + timedelta(seconds=n)) for n in range(ROWS)])
    config = duckdb_config()
    config["source_system"] = {
        "type": "elasticsearch",
        "hosts": [elasticsearch_proxy.url],
        "index": documents.index("orders"),
        "query_field": "at",
        "batch_rows": 50,
    }
    config["stage_system"]["rows_per_file"] = 50
    return make_pipeline(config, tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> DriveStore:
    return duckdb_store(tmp_path)


def lose_points_in_time(documents: Documents, proxy: HttpProxy, times: int) -> None:
    """The server itself loses the window's point in time at the second page, so many times."""

    def lose(request: Request, upstream: Any) -> Any:
        documents.server.client().close_point_in_time(id=request.json["pit"]["id"])
        return upstream()

    proxy.spoil(lose, times=times, when=is_later_page)


def target_ids(folder: Path) -> list[int]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        return [
            n for (n,) in connection.sql("SELECT id FROM analytics.orders ORDER BY 1").fetchall()
        ]


@pytest.mark.fault_row(11)
def test_lost_point_in_time_is_replaced_in_the_same_run(
    documents: Documents,
    pipeline: Pipeline,
    store: DriveStore,
    elasticsearch_proxy: HttpProxy,
    tmp_path: Path,
) -> None:
    lose_points_in_time(documents, elasticsearch_proxy, 1)
    row = run_window(pipeline, store, KEY)
    assert (row.pipeline_status, row.epoch) == ("SUCCESS", 1)
    assert row.phases["source_to_stage_transfer"].phase_specific_details["snapshots_lost"] == 1
    assert target_ids(tmp_path) == list(range(ROWS))
    assert run_window(pipeline, store, KEY).pipeline_status == "SKIPPED"


def test_point_in_time_that_is_always_lost_fails_the_run(
    documents: Documents,
    pipeline: Pipeline,
    store: DriveStore,
    elasticsearch_proxy: HttpProxy,
    tmp_path: Path,
) -> None:
    # Both slices may meet it before the first error ends them.
    lose_points_in_time(documents, elasticsearch_proxy, 2 * SNAPSHOTS_PER_RUN + 2)
    with pytest.raises(StepFailedError, match="lost the window's point in time"):
        run_window(pipeline, store, KEY)
    assert not list((tmp_path / "stage").rglob("manifest.json"))
    elasticsearch_proxy.heal()
    assert run_window(pipeline, store, KEY).pipeline_status == "SUCCESS"
    assert target_ids(tmp_path) == list(range(ROWS))

"""Windows that rest in a bucket between source and target."""

from typing import Any

import pytest

from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests import pipelines
from pipeline_platform_tests.flow.conftest import KEY, ROWS, World
from pipeline_platform_tests.pipelines import merged, run_window
from pipeline_platform_tests.servers.s3 import S3Bucket

NEXT_KEY = "2024-03-11"


def in_bucket(world: World, bucket: S3Bucket, **changes: Any) -> Pipeline:
    config = pipelines.duckdb_config()
    if world.database is not None:
        config = pipelines.postgres_config(world.database)
    config["stage_system"] = {"type": "s3", "prefix": "stage", **bucket.as_config()}
    return pipelines.make_pipeline(merged(config, changes), world.folder)


def moved(world: World) -> bool:
    """Whether the target holds exactly the source's rows of the windows that it has."""
    rows = [row[:5] for row in world.rows()]
    return rows == [row for row in world.source_rows() if row in rows]


def test_a_window_goes_through_a_bucket(world: World, s3_bucket: S3Bucket) -> None:
    pipeline = in_bucket(world, s3_bucket)
    assert run_window(pipeline, world.store, KEY).pipeline_status == "SUCCESS"
    assert len(world.rows()) == ROWS
    assert moved(world)
    folder = "stage/orders/20240310T000000Z/run1"
    part, manifest = sorted(s3_bucket.keys(), reverse=True)
    assert manifest == f"{folder}/manifest.json"
    assert part.startswith(f"{folder}/part-00000-")
    assert run_window(pipeline, world.store, KEY).pipeline_status == "SKIPPED"


@pytest.mark.parametrize("damage", ["none", "edited", "gone", "no manifest"])
@pytest.mark.fault_row(18, on="s3")
def test_what_lies_in_the_bucket_is_checked_before_it_is_loaded(
    world: World, s3_bucket: S3Bucket, damage: str
) -> None:
    """Row 18 of the fault matrix: refused by size and hash, and extracted again."""
    pipeline = in_bucket(world, s3_bucket)
    run_window(pipeline, world.store, KEY, steps=["source", "stage"])
    part, manifest = sorted(s3_bucket.keys(), reverse=True)
    data = s3_bucket.get(part)
    middle = len(data) // 2
    if damage == "edited":
        flipped = bytes([data[middle] ^ 1])
        s3_bucket.put(part, data[:middle] + flipped + data[middle + 1 :])
    elif damage != "none":
        key = part if damage == "gone" else manifest
        s3_bucket.client().delete_object(Bucket=s3_bucket.name, Key=key)
    if damage in ("edited", "gone"):
        with pytest.raises(StepFailedError):
            run_window(pipeline, world.store, KEY)
    row = run_window(pipeline, world.store, KEY)
    assert row.pipeline_status == "SUCCESS"
    resumed = row.phases["source_to_stage_transfer"].status == "SKIPPED"
    assert resumed is (damage == "none")
    assert len(world.rows()) == ROWS
    assert moved(world)


def test_old_windows_are_archived_in_a_bucket(world: World, s3_bucket: S3Bucket) -> None:
    run_window(in_bucket(world, s3_bucket), world.store, KEY)
    [part] = [key for key in s3_bucket.keys("stage/") if key.endswith(".parquet")]
    staged = s3_bucket.get(part)
    cleaning = {
        "enabled": True, "superseded_grace_hours": 0, "delete_after_days": 0,
        "archive_before_delete": True, "archive_location": f"s3://{s3_bucket.name}/old",
    }  # fmt: skip
    pipeline = in_bucket(world, s3_bucket, phases={"stage_cleaning": cleaning})
    row = run_window(pipeline, world.store, NEXT_KEY)
    assert row.phases["stage_cleaning"].status == "COMPLETED"
    details = row.phases["stage_cleaning"].phase_specific_details
    archived = f"s3://{s3_bucket.name}/old/orders/20240310T000000Z/run1"
    assert details["archive_location"] == archived
    assert [key for key in s3_bucket.keys("stage/") if "20240310" in key] == []
    assert s3_bucket.get(part.replace("stage/", "old/", 1)) == staged
    assert run_window(in_bucket(world, s3_bucket), world.store, KEY).pipeline_status == "SKIPPED"

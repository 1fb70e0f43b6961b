"""A source that loses its snapshot half way: the window is read again in the same run."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline_platform.errors import SnapshotLostError
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.flow.stage import SNAPSHOTS_PER_RUN
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS, World
from pipeline_platform_tests.pipelines import run_window


class LosesSnapshots:
    """A hook under which the first reads of the window break off after their first batch."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, name: str) -> None:
        if name == "stage.after_batch" and self.left:
            self.left -= 1
            raise SnapshotLostError("The point in time is gone.")


def staged_files(world: World) -> list[Path]:
    return sorted((world.folder / "stage").rglob("*.parquet"))


def small_batches() -> dict[str, Any]:
    """Files that are whole before the read breaks off."""
    return {"source_system": {"batch_rows": 10}, "stage_system": {"rows_per_file": 5}}


@pytest.mark.fault_row(11)
def test_window_is_read_again_in_the_same_run(world: World) -> None:
    pipeline = world.pipeline(**small_batches())
    with fault_hook(LosesSnapshots(SNAPSHOTS_PER_RUN - 1)):
        row = run_window(pipeline, world.store, KEY)
    assert (row.pipeline_status, row.epoch) == ("SUCCESS", 1)
    transfer = row.phases["source_to_stage_transfer"].phase_specific_details
    assert transfer["snapshots_lost"] == SNAPSHOTS_PER_RUN - 1
    assert sum(pq.ParquetFile(file).metadata.num_rows for file in staged_files(world)) == ROWS
    of_the_day = [row for row in world.source_rows() if row[1].date() == DAY.date()]
    assert [row[:5] for row in world.rows()] == of_the_day


def test_run_fails_transiently_when_snapshots_keep_getting_lost(world: World) -> None:
    pipeline = world.pipeline(**small_batches())
    with (
        fault_hook(LosesSnapshots(SNAPSHOTS_PER_RUN)),
        pytest.raises(StepFailedError, match="point in time is gone"),
    ):
        run_window(pipeline, world.store, KEY)
    assert list((world.folder / "stage").rglob("manifest.json")) == []
    (row,) = world.store.latest_runs("orders", 10)
    assert (row.pipeline_status, row.error_category) == ("FAILED", "transient")
    assert run_window(pipeline, world.store, KEY).pipeline_status == "SUCCESS"

"""Row 6: leases and rows of the drive table go by the database's clock, whatever the worker's says.

Days of clock changes are in flow/test_dst_days.py.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo

import pytest
from typing_extensions import Self

from pipeline_platform.errors import WindowHeldError
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.flow.conftest import KEY, ROWS, World
from pipeline_platform_tests.pipelines import run_window

pytestmark = pytest.mark.fault_row(6)


@contextmanager
def clock_moved(by: timedelta) -> Iterator[None]:
    """All modules of the platform ask a clock that is wrong by so much."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp((datetime.now(tz) + by).timestamp(), tz)

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("pipeline_platform.") and vars(module).get("datetime") is datetime:
                patch.setattr(module, "datetime", Moved)
        yield


@pytest.mark.parametrize("hours", [1, -1])
def test_row_06_a_clock_that_jumped(world: World, hours: int) -> None:
    pipeline, store = world.pipeline(), world.store
    with clock_moved(timedelta(hours=hours)):
        row = run_window(pipeline, store, KEY)
        assert row.pipeline_status == "SUCCESS"
        assert abs(row.pipeline_start_timestamp - store.now()) < timedelta(minutes=1)
    assert len(world.rows()) == ROWS
    assert run_window(pipeline, store, KEY).pipeline_status == "SKIPPED"


@pytest.mark.parametrize("hours", [1, -1])
def test_row_06_a_lease_lasts_as_long_as_the_database_says(world: World, hours: int) -> None:
    pipeline, store = world.pipeline(), world.store
    run_window(pipeline, store, KEY, steps=["source"], run_id="sleeper")
    world.at_target(
        "UPDATE pipeline_platform.pipeline_records SET owner = 'sleeper', "
        "lease_until = now() + INTERVAL '30 minutes'"
    )
    with clock_moved(timedelta(hours=hours)):
        with pytest.raises(StepFailedError) as held:
            run_window(pipeline, store, KEY)
        assert isinstance(held.value.error, WindowHeldError)
        world.at_target(
            "UPDATE pipeline_platform.pipeline_records "
            "SET lease_until = now() - INTERVAL '30 minutes'"
        )
        assert run_window(pipeline, store, KEY).pipeline_status == "SUCCESS"

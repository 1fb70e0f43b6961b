"""A sensor's tick has 60 seconds in all: what it asks may not wait as long as a run may."""

from typing import TypeVar

from pydantic import BaseModel

from pipeline_platform.drive_table.io_manager import DriveTableIOManager
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.flow.pipeline import Pipeline

LOCK_WAIT_SECONDS = 5
SECONDS_PER_QUESTION = 12

System = TypeVar("System", bound=BaseModel)


def impatient_store(drive_table: DriveTableIOManager) -> DriveStore:
    """The same drive table, but a lock is waited for five seconds only.

    Who holds the file of an embedded drive table is alive; the next tick asks again.
    """
    return DriveTableIOManager(
        state={**drive_table.state, "lock_timeout_seconds": LOCK_WAIT_SECONDS},
        base_dir=drive_table.base_dir,
        held_wait_seconds=0.0,
    ).store


def impatient_pipeline(pipeline: Pipeline) -> Pipeline:
    """The same pipeline, but source and target have 12 seconds for each answer.

    A tick that takes longer than its 60 seconds goes on in the code server unseen, while the next
    one asks the same again.
    """
    config = pipeline.config
    systems = {
        "source_system": _hurried(config.source_system),
        "target_system": _hurried(config.target_system),
    }
    return Pipeline(config.model_copy(update=systems), pipeline.base_dir)


def _hurried(system: System) -> System:
    limits = {
        name: min(getattr(system, name), SECONDS_PER_QUESTION)
        for name in type(system).model_fields
        if name.endswith("_timeout_seconds")
    }
    return system.model_copy(update=limits)

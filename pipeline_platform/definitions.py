"""The code location: everything in `defs/`, one executor for all."""

from pathlib import Path

import dagster as dg

from pipeline_platform.loading import load_defs_folder


@dg.definitions
def defs() -> dg.Definitions:
    """All pipelines and the drive table, with the in-process executor as the default.

    A process per step would cost seconds of start-up a step; correctness does not depend on it.
    """
    return dg.Definitions.merge(
        load_defs_folder(Path(__file__).parent),
        dg.Definitions(executor=dg.in_process_executor),
    )

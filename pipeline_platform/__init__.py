"""Windowed data pipelines as Dagster assets: exactly once, counted, resumable."""

import pipeline_platform.arrow_memory  # noqa: F401  first: before pyarrow
from pipeline_platform.component import DriveTable, WindowedPipeline
from pipeline_platform.loading import load_defs_folder

__all__ = ["DriveTable", "WindowedPipeline", "load_defs_folder"]

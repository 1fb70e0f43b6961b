"""Windowed data pipelines as Dagster assets: exactly once, counted, resumable."""

from pipeline_platform.component import DriveTable, WindowedPipeline

__all__ = ["DriveTable", "WindowedPipeline"]

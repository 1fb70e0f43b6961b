"""Rows before and after each hop of a window, judged by the tolerances of its pipeline."""

from decimal import Decimal

from pipeline_platform.flow.run import WindowRun
from pipeline_platform.tolerance import HopVerdict, compare_hop


def source_to_stage(run: WindowRun, source_rows: int, stage_rows: int) -> HopVerdict:
    """Rows of the source's snapshot against rows staged."""
    tolerance = _tolerances(run)[0]
    return compare_hop(source_rows, stage_rows, tolerance, "source to stage")


def stage_to_target(run: WindowRun, stage_rows: int, target_rows: int) -> HopVerdict:
    """Rows staged against rows in the target."""
    tolerance = _tolerances(run)[1]
    return compare_hop(stage_rows, target_rows, tolerance, "stage to target")


def source_to_target(run: WindowRun, source_rows: int, target_rows: int) -> HopVerdict:
    """Rows of the source's snapshot against rows in the target: both losses together."""
    first, second = _tolerances(run)
    allowed = 100 - 100 * (1 - first / 100) * (1 - second / 100)
    return compare_hop(source_rows, target_rows, allowed, "source to target")


def _tolerances(run: WindowRun) -> tuple[Decimal, Decimal]:
    tolerances = run.pipeline.config.phases.audit.count_tolerances
    return (
        tolerances.source_to_stage_tolerance_percent,
        tolerances.stage_to_target_tolerance_percent,
    )

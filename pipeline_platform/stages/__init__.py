"""Where a window rests between source and target."""

from pathlib import Path

from pipeline_platform.config.systems import StageSystem
from pipeline_platform.connectors import build_connector
from pipeline_platform.stages.base import Stage

STAGES: dict[str, str] = {
    "local": "pipeline_platform.stages.local:LocalStage",
    "s3": "pipeline_platform.stages.s3:S3Stage",
}


def build_stage(system: StageSystem, *, base_dir: Path) -> Stage:
    """The stage of a config section; relative paths count from `base_dir`.

    Raises ConfigurationError if its class cannot be imported. Nothing is opened yet.
    """
    stage: Stage = build_connector(system, STAGES, base_dir=base_dir)
    return stage

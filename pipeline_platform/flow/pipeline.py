"""One pipeline at run time: its config and the connectors that the config names."""

from functools import cached_property
from pathlib import Path

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.flow.pending import RecordPlan
from pipeline_platform.moment import parse_time_to_seconds
from pipeline_platform.sources import build_source
from pipeline_platform.sources.base import Source
from pipeline_platform.stages import build_stage
from pipeline_platform.stages.base import Stage
from pipeline_platform.targets import build_target
from pipeline_platform.targets.base import Target
from pipeline_platform.window import WindowPlan


class Pipeline:
    """Connectors are built at first use, so that loading definitions imports no driver."""

    def __init__(self, config: PipelineConfig, base_dir: Path) -> None:
        self.config = config
        self.base_dir = base_dir

    @property
    def name(self) -> str:
        """The pipeline's name, also its asset group."""
        return self.config.pipeline_metadata.pipeline_name

    @cached_property
    def windows(self) -> WindowPlan:
        """The windows of the pipeline."""
        return self.config.window_plan()

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Hash per config section, of what changes rows or values."""
        return self.config.hashes()

    @cached_property
    def x_time_back_seconds(self) -> int:
        """Seconds that a window's end must lie behind now before the window is ready."""
        return parse_time_to_seconds(self.config.query_window.x_time_back)

    def record_plan(self) -> RecordPlan:
        """What registering and completing records needs to know of the pipeline."""
        config = self.config
        return RecordPlan(
            pipeline_name=self.name,
            plan=self.windows,
            x_time_back_seconds=self.x_time_back_seconds,
            source_name=self.source.name,
            target_name=self.target.name,
            stage_root=self.stage.name,
            config_hash=config.config_hash,
            max_retries=config.retry.max_retries,
            catchup=config.schedule.catchup,
        )

    @cached_property
    def source(self) -> Source:
        """The source connector."""
        return build_source(self.config.source_system, base_dir=self.base_dir)

    @cached_property
    def stage(self) -> Stage:
        """The stage connector."""
        return build_stage(self.config.stage_system, base_dir=self.base_dir)

    @cached_property
    def target(self) -> Target:
        """The target connector."""
        return build_target(
            self.config.target_system,
            query_field=self.config.staged_query_field(),
            base_dir=self.base_dir,
        )

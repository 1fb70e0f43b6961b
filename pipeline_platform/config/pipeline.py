"""The config of one pipeline (seed 003, "Configuration Management"). The file to read first.

Every section is frozen, unknown keys are errors, and what cannot be done yet is refused.
"""

from datetime import date

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails

from pipeline_platform.config.connections import Section
from pipeline_platform.config.fields import refused
from pipeline_platform.config.hashing import digest, hashed_settings
from pipeline_platform.config.phases import Phases
from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.config.sections import (
    Monitoring,
    PipelineMetadata,
    QueryWindow,
    Recheck,
    Retry,
    Schedule,
)
from pipeline_platform.config.systems import LocalStage, SourceSystem, StageSystem, TargetSystem
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.moment import parse_time_to_seconds
from pipeline_platform.naming import safe_column_name
from pipeline_platform.query_field import QueryField
from pipeline_platform.window import WindowPlan


class PipelineConfig(Section):
    """Everything about one pipeline: where its rows come from, rest and end, and how."""

    pipeline_metadata: PipelineMetadata = Field(
        description="Name and description of the pipeline, and who answers for it.",
        examples=[{"pipeline_name": "orders"}],
    )
    schedule: Schedule = Field(
        description="From when to when windows exist, and when the sensor looks for due ones.",
        examples=[{"timezone": "UTC", "start_date": "2024-01-31"}],
    )
    query_window: QueryWindow = Field(
        description="Length of the slice of time that one run moves, and when it is read.",
        examples=[{"duration": "1d"}],
    )
    source_system: SourceSystem = Field(
        description="Where rows are read from; `type` chooses the connector.",
        examples=[
            {
                "type": "duckdb",
                "path": "data/operational.duckdb",
                "table": "orders",
                "query_field": "created_at",
            }
        ],
    )
    stage_system: StageSystem = Field(
        description="Where rows rest between source and target; `type` chooses the connector.",
        examples=[{"type": "local", "path": "data/stage"}],
    )
    target_system: TargetSystem = Field(
        description="Where rows end; `type` chooses the connector.",
        examples=[
            {
                "type": "duckdb",
                "path": "data/warehouse.duckdb",
                "schema": "analytics",
                "table": "orders",
            }
        ],
    )
    phases: Phases = Field(
        default_factory=Phases,
        description="Behaviour, expected duration and timeout of each phase.",
        examples=[{"source_to_stage_transfer": {"expected_run_duration": "10m"}}],
    )
    retry: Retry = Field(
        default_factory=Retry,
        description="Retries of a failed window: how many, and the wait before each.",
        examples=[{"max_retries": 3}],
    )
    recheck: Recheck = Field(
        default_factory=Recheck,
        description="Late data: audited windows are counted again, if enabled.",
        examples=[{"enabled": True, "windows": 7}],
    )
    monitoring: Monitoring = Field(
        default_factory=Monitoring,
        description="Thresholds of what is reported.",
        examples=[{"duration_multiplier_threshold": 2.0}],
    )

    @field_validator("query_window")
    @classmethod
    def _windows_fit_the_zone(cls, window: QueryWindow, info: ValidationInfo) -> QueryWindow:
        schedule: Schedule | None = info.data.get("schedule")
        problem = schedule and window_problem(window.duration, schedule.timezone)
        if problem:
            details = InitErrorDetails(type=refused(problem), loc=("duration",), input=None)
            raise ValidationError.from_exception_data("query_window", [details])
        return window

    @field_validator("phases")
    @classmethod
    def _archive_is_like_the_stage(cls, phases: Phases, info: ValidationInfo) -> Phases:
        archive = phases.stage_cleaning.archive_location
        stage = info.data.get("stage_system")
        problem = None
        if archive is not None and isinstance(stage, LocalStage) and "://" in archive:
            problem = "must be a path on this machine, like the stage"
        if archive is not None and isinstance(stage, S3Stage) and archive.startswith("/"):
            problem = "must be s3://bucket/prefix, or a prefix of the stage's own bucket"
        if problem:
            where = ("stage_cleaning", "archive_location")
            details = InitErrorDetails(type=refused(problem), loc=where, input=None)
            raise ValidationError.from_exception_data("phases", [details])
        return phases

    def window_plan(self) -> WindowPlan:
        """The windows of the pipeline, `[start, end)`."""
        return WindowPlan(
            duration=self.query_window.duration,
            timezone=self.schedule.timezone,
            start_date=self.schedule.start_date,
            end_date=self.schedule.end_date,
        )

    def query_field(self) -> QueryField:
        """The query field under its name at the source."""
        source = self.source_system
        return QueryField(source.query_field, source.query_field_timezone, source.query_field_unit)

    def staged_query_field(self) -> QueryField:
        """The query field under its name in the staged files and the target."""
        source = self.source_system
        name = safe_column_name(source.query_field) if source.safe_names else source.query_field
        return QueryField(name, source.query_field_timezone, source.query_field_unit)

    def hashes(self) -> dict[str, str]:
        """sha256 per section, over the settings that decide rows and values only."""
        window = {
            "seconds": parse_time_to_seconds(self.query_window.duration),
            "timezone": self.schedule.timezone,
        }
        return {
            "source": digest(hashed_settings(self.source_system)),
            "stage": digest(hashed_settings(self.stage_system)),
            "query_window": digest(window),
            "target": digest(hashed_settings(self.target_system)),
        }

    @property
    def config_hash(self) -> str:
        """Sixteen hexadecimal digits over all hashes; shown in the drive table."""
        return digest(self.hashes())[:16]


def window_problem(duration: str, timezone: str) -> str | None:
    """Why windows of this length cannot be cut in this zone; None if they can."""
    try:
        WindowPlan(duration, timezone, start_date=date(2000, 1, 1))
    except ConfigurationError as error:
        return str(error)
    return None

"""Settings of the ten phases (seed 003, "Phase Configuration")."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline_platform.config.connections import Section
from pipeline_platform.config.fields import ArchiveLocation, Duration, Percent, not_yet, refused


class PhaseSettings(Section):
    """What every phase has."""

    expected_run_duration: Duration | None = Field(
        None,
        description="How long the phase usually takes; a phase that takes longer than "
        "monitoring.duration_multiplier_threshold times this is reported. Default: not compared.",
        examples=["10m"],
    )
    timeout: Duration | None = Field(
        None,
        description="How long the phase may take before it fails, to be retried. Default: no limit "
        "beyond those of the single network calls.",
        examples=["1h"],
    )


class MandatoryPhase(PhaseSettings):
    """A phase that every run goes through."""

    enabled: bool = Field(
        True,
        description="Always true: only stale_pipeline_handling and the cleanings may be disabled.",
        json_schema_extra={"const": True},
    )

    @field_validator("enabled")
    @classmethod
    def _cannot_be_disabled(cls, enabled: bool) -> bool:
        if not enabled:
            raise refused(
                "this phase cannot be disabled; only stale_pipeline_handling, stage_cleaning and "
                "target_cleaning can"
            )
        return enabled


class StalePipelineHandling(PhaseSettings):
    """Closing the rows of runs that died, and removing what they left behind."""

    enabled: bool = Field(True, description="Whether the phase runs.")
    timeout_minutes: int = Field(
        120,
        ge=1,
        description="Minutes after which a run that is still at work is reported as stuck. A run "
        "that died is closed as soon as its lease of five minutes has ended.",
    )


class CountTolerances(Section):
    """Loss that is allowed. A loss equal to the tolerance passes; more rows never do."""

    source_to_stage_tolerance_percent: Percent = Field(
        0,
        validate_default=True,
        description="Percent of the source's rows that may be missing in the stage.",
        examples=[2.0],
    )
    stage_to_target_tolerance_percent: Percent = Field(
        0,
        validate_default=True,
        description="Percent of the staged rows that may be missing in the target.",
        examples=[1.0],
    )


class Audit(MandatoryPhase):
    """The last comparison of source, stage and target."""

    count_tolerances: CountTolerances = Field(
        default_factory=CountTolerances,
        description="Loss that is allowed between two hops, in percent.",
        examples=[{"source_to_stage_tolerance_percent": 2.0}],
    )
    on_final_mismatch: Literal["keep", "delete"] = Field(
        "keep",
        description="What happens to the window's rows in the target when the audit finds a "
        "mismatch and no attempt is left.",
    )


class StageCleaning(PhaseSettings):
    """Removal of staged files that are no longer needed."""

    enabled: bool = Field(
        False,
        description="Whether the phase runs. Off by default: the files of a window's newest and "
        "of its committed attempt stay unless the config asks for it.",
    )
    archive_before_delete: bool = Field(
        False, description="Copy staged windows to archive_location before they are deleted."
    )
    archive_location: ArchiveLocation | None = Field(
        None,
        validate_default=True,
        description="Where archived windows go. Of a local stage a folder, relative ones count "
        "from the project folder; of an s3 stage s3://bucket/prefix, reached with the stage's "
        "credentials, or a prefix of the stage's own bucket.",
        examples=["data/archive"],
    )
    delete_after_days: int = Field(
        7,
        ge=0,
        description="Days since staging after which a window with a good audit is deleted.",
    )
    superseded_grace_hours: float = Field(
        24.0,
        ge=0,
        description="Hours since a run began after which an attempt that a newer one replaced, and "
        "what its load left beside the target, is deleted: by this phase and, also where this one "
        "is off, by stale_pipeline_handling.",
    )
    fail_run: bool = Field(
        False,
        description="Whether a failure of this phase fails the run. The window is good either way.",
    )

    @field_validator("archive_location")
    @classmethod
    def _archive_needs_a_place(cls, location: str | None, info: ValidationInfo) -> str | None:
        if location is None and info.data.get("archive_before_delete"):
            raise refused("is missing; archive_before_delete needs it")
        return location


class TargetCleaning(PhaseSettings):
    """Work on the target after the audit; it needs a script of one's own."""

    enabled: bool = Field(
        False,
        description="Not supported yet, must be false: it needs user scripts.",
        json_schema_extra={"const": False},
    )

    @field_validator("enabled")
    @classmethod
    def _needs_scripts(cls, enabled: bool) -> bool:
        if enabled:
            raise not_yet("target_cleaning needs user scripts and")
        return enabled


class Phases(Section):
    """Settings of the ten phases, in the order in which they run."""

    stale_pipeline_handling: StalePipelineHandling = Field(
        default_factory=StalePipelineHandling,
        description="Phase 1: the rows of runs that died are closed, what they left behind is "
        "removed. May be disabled.",
    )
    pre_validation: MandatoryPhase = Field(
        default_factory=MandatoryPhase,
        description="Phase 2: prerequisites, and the decision to skip, continue or start over.",
    )
    source_count: MandatoryPhase = Field(
        default_factory=MandatoryPhase,
        description="Phase 3: the window's rows are counted at the source.",
    )
    source_to_stage_transfer: MandatoryPhase = Field(
        default_factory=MandatoryPhase,
        description="Phase 4: the window is read into staged files.",
    )
    stage_count: MandatoryPhase = Field(
        default_factory=MandatoryPhase, description="Phase 5: the staged rows are counted."
    )
    stage_to_target_transfer: MandatoryPhase = Field(
        default_factory=MandatoryPhase,
        description="Phase 6: the staged files are loaded into the target.",
    )
    target_count: MandatoryPhase = Field(
        default_factory=MandatoryPhase,
        description="Phase 7: the window's rows are counted in the target.",
    )
    audit: Audit = Field(
        default_factory=Audit,
        description="Phase 8: source, stage and target are compared once more.",
    )
    stage_cleaning: StageCleaning = Field(
        default_factory=StageCleaning,
        description="Phase 9: staged files that are no longer needed are removed, if enabled.",
    )
    target_cleaning: TargetCleaning = Field(
        default_factory=TargetCleaning,
        description="Phase 10: not supported yet; work of one's own on the target.",
    )

"""The sections of a config that no connector or phase owns."""

from datetime import date
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline_platform.config.connections import Section
from pipeline_platform.config.fields import (
    Cron,
    Day,
    Duration,
    DurationOrZero,
    Email,
    Percent,
    TimeZone,
    not_yet,
    refused,
)

MAX_WAIT_SECONDS = 3600.0


class PipelineMetadata(Section):
    """What the pipeline is and who answers for it."""

    pipeline_name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="Name in the drive table, the asset keys and the stage's paths: lower-case "
        "letters, digits and underscores, at most 63.",
        examples=["orders"],
    )
    enabled: bool = Field(
        True,
        description="false: the pipeline has no assets and no sensor, and the rest of its config "
        "is not read. Its windows and their state stay as they are.",
        examples=["{{ env.ORDERS_HOST is not none }}"],
    )
    pipeline_description: str = Field(
        "",
        description="What the pipeline does, for people; shown at the assets.",
        examples=["Orders of the web shop, by the hour they were placed."],
    )
    owner_name: str = Field(
        "",
        description="Person or team that answers for the pipeline.",
        examples=["Data platform"],
    )
    owner_email: Email | None = Field(
        None,
        description="Address of the owner; shown as the owner of the assets.",
        examples=["data-platform@example.com"],
    )
    notification_emails: tuple[Email, ...] = Field(
        (), description="Not supported yet, must be empty: addresses to notify of failures."
    )
    slack_channel: str | None = Field(
        None, description="Not supported yet, must be left out: Slack channel for alerts."
    )

    @field_validator("notification_emails", "slack_channel")
    @classmethod
    def _no_notifications(cls, value: object, info: ValidationInfo) -> object:
        if value:
            raise not_yet("notification")
        return value


class Schedule(Section):
    """Which windows exist, and when the sensor looks for due ones."""

    timezone: TimeZone = Field(
        "UTC",
        description="IANA zone of start_date, end_date, cron and the windows: no window crosses "
        "its midnight.",
        examples=["America/New_York"],
    )
    start_date: Day = Field(description="First day to load.", examples=["2024-01-31"])
    end_date: Day | None = Field(
        None,
        description="First day that is not loaded any more (exclusive). Default: no end.",
        examples=["2025-01-01"],
    )
    cron: Cron | None = Field(
        None,
        description="When the sensor looks for due windows: minute hour day month weekday, in "
        "`timezone`. Default: at every tick of the sensor.",
        examples=["0 6 * * *"],
    )
    catchup: bool = Field(
        True,
        description="Whether windows from before the sensor's first tick are loaded as well.",
    )
    automatic: bool = Field(
        False,
        description="Whether the sensor is on from the start; otherwise it is switched on in "
        "Dagster's UI.",
    )
    max_windows_per_tick: int = Field(
        10, ge=1, le=1000, description="Most windows that one tick of the sensor requests."
    )

    @field_validator("end_date")
    @classmethod
    def _ends_after_start(cls, end_date: date | None, info: ValidationInfo) -> date | None:
        start_date = info.data.get("start_date")
        if end_date is not None and start_date is not None and end_date <= start_date:
            raise refused("must be after start_date; it is the first day that is not loaded")
        return end_date


class QueryWindow(Section):
    """The slice of time that one run moves."""

    duration: Duration = Field(
        description="Length of a window: a divisor of 60 minutes, whole hours or a day; in UTC "
        "also other whole minutes with at most 48 windows a day.",
        examples=["1d"],
    )
    x_time_back: DurationOrZero = Field(
        "0s",
        description="How far behind now the end of a window must lie before it is read.",
        examples=["2h"],
    )
    max_shrink_percent: Percent = Field(
        5,
        validate_default=True,
        description="Percent of a window's committed source rows that may be gone when it is "
        "loaded again; a source that shrank more is refused, unless forced.",
    )
    on_empty_window: Literal["allow", "fail"] = Field(
        "allow", description="Whether a window without rows is loaded or refused."
    )


class Retry(Section):
    """How often and after which wait a failed window is tried again."""

    max_retries: int = Field(3, ge=0, le=20, description="Most attempts after the first one.")
    backoff_strategy: Literal["exponential", "linear", "none"] = Field(
        "exponential",
        description="Wait before a retry: exponential doubles it each time, linear keeps it, none "
        "does not wait.",
    )
    backoff_seconds: float = Field(
        1.0, ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait before the first retry."
    )

    def wait_seconds(self, retry_number: int) -> float:
        """Seconds to wait before a retry; the first is number 1. Never longer than an hour."""
        if self.backoff_strategy == "none" or retry_number < 1:
            return 0.0
        doublings = retry_number - 1 if self.backoff_strategy == "exponential" else 0
        # The product of an endless series of failures would overflow.
        return min(self.backoff_seconds * 2.0 ** min(doublings, 60), MAX_WAIT_SECONDS)


class Recheck(Section):
    """Counting audited windows again, to find rows that came late, went away, doubled or got lost.

    Only count queries are asked. A change of values that changes no count is not seen.
    """

    enabled: bool = Field(
        False,
        description="Whether there is a sensor <pipeline>_recheck, which is then on from the "
        "start. The command recheck works either way.",
    )
    windows: int = Field(
        7,
        ge=1,
        le=1000,
        description="How many of the last audited windows are counted again, at source and target.",
        examples=[48],
    )
    every: Duration = Field("1h", description="How long after a round the next one begins.")
    reload: Literal["all", "late", "none"] = Field(
        "all",
        description="Which windows are loaded again by themselves: late, those that have more rows "
        "at the source than were committed; all, also those whose rows in the target are not as "
        "many as were committed; none. One with fewer rows at the source is only shown.",
    )


class Monitoring(Section):
    """What is worth a note."""

    duration_multiplier_threshold: float = Field(
        2.0,
        ge=1,
        le=1000,
        description="A phase is reported as slow when it takes longer than this many times its "
        "expected_run_duration.",
    )
    alert_on_failure: bool = Field(
        False, description="Not supported yet, must be false: alert when a run fails."
    )
    alert_on_duration_exceed: bool = Field(
        False, description="Not supported yet, must be false: alert when a phase is slow."
    )

    @field_validator("alert_on_failure", "alert_on_duration_exceed")
    @classmethod
    def _no_alerts(cls, value: bool) -> bool:
        if value:
            raise not_yet("alerting")
        return value

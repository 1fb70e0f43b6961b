"""The five partitioned assets of a pipeline: Dagster's side of `step.py`."""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline_platform.connections.duckdb_kept_open import duckdb_kept_open
from pipeline_platform.drive_table.heartbeat import WAITING_CLAIMS
from pipeline_platform.drive_table.io_manager import DRIVE_TABLE, DriveTableIOManager
from pipeline_platform.drive_table.rows import json_safe
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.catalog import CHECK_DESCRIPTIONS, ConfigPlace, described
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.run import CheckOutcome, RunRequest
from pipeline_platform.flow.step import (
    CHECK_OF_STEP,
    STEPS,
    Handover,
    StepFailedError,
    StepResult,
    perform,
)
from pipeline_platform.record import RecordKey
from pipeline_platform.window import Window

PIPELINE_TAG = "pipeline_platform/pipeline"
FORCE_TAG = "pipeline_platform/force"
RESTATE_TAG = "pipeline_platform/restate"
RETRY_NUMBER_TAG = "dagster/retry_number"
MAX_RETRIES_TAG = "dagster/max_retries"

AssetEvents = Iterator[dg.AssetCheckResult | dg.MaterializeResult[Handover]]


def build_assets(
    pipeline: Pipeline, partitions: dg.TimeWindowPartitionsDefinition, place: ConfigPlace
) -> Sequence[dg.AssetsDefinition]:
    """`[pipeline, source] -> stage -> target -> audit -> cleaning`, one window a partition.

    No `backfill_policy`: every window is a run of its own, so that its checks keep its partition.
    """
    steps = list(STEPS)
    return [
        _asset(pipeline, step, steps[position - 1] if position else None, partitions, place)
        for position, step in enumerate(steps)
    ]


def _asset(
    pipeline: Pipeline,
    step: str,
    upstream: str | None,
    partitions: dg.TimeWindowPartitionsDefinition,
    place: ConfigPlace,
) -> dg.AssetsDefinition:
    key = dg.AssetKey([pipeline.name, step])
    settings: dict[str, Any] = {
        "key": key,
        "group_name": pipeline.name,
        **described(pipeline.config, step, place),
        "partitions_def": partitions,
        "io_manager_key": DRIVE_TABLE,
        "required_resource_keys": {DRIVE_TABLE},
        # No input: state is read again under the claim, what was handed over decides nothing.
        "deps": [dg.AssetKey([pipeline.name, upstream])] if upstream else [],
        "output_required": True,
        "check_specs": [
            dg.AssetCheckSpec(
                name,
                asset=key,
                description=CHECK_DESCRIPTIONS[name],
                partitions_def=partitions,
                blocking=True,
            )
            for name in [CHECK_OF_STEP.get(step)]
            if name
        ],
    }

    def move(context: dg.AssetExecutionContext) -> AssetEvents:
        with duckdb_kept_open():
            yield from _materialize(context, pipeline, step, key)

    definition = dg.asset(**settings)(move)
    assert isinstance(definition, dg.AssetsDefinition)
    return definition


def _materialize(
    context: dg.AssetExecutionContext, pipeline: Pipeline, step: str, key: dg.AssetKey
) -> AssetEvents:
    """Yield the materialization with its check, or the failed check and then raise."""
    window = pipeline.windows.window_of_key(context.partition_key)
    drive_table: DriveTableIOManager = context.resources.drive_table
    request = _request(context, pipeline, step, drive_table.held_wait_seconds)
    if request.first:
        _tag_run(context, pipeline, {"pipeline_platform/window": window.key})
    WAITING_CLAIMS.take(request.run_id, RecordKey(pipeline.name, window.start, window.end))
    result = _performed(context, pipeline, step, window, drive_table.store, request)
    if isinstance(result, StepFailedError):
        # Raised here, outside of any handler: Dagster stores the texts of all causes, and a
        # driver's text may hold values of rows.
        tags = _epoch_tag(result.row) if request.first else {}
        if not result.error.retryable:
            tags[MAX_RETRIES_TAG] = "0"
        _add_tags(context, tags)
        if result.interrupted is not None:
            raise result.interrupted
        if result.check is not None:
            yield _check_result(key, result.check)
        raise dg.Failure(
            description=f"{pipeline.name} {window.key}: {result.error}",
            metadata={"category": result.error.category, **_plain(result.error.facts)},
            allow_retries=result.error.retryable,
        )
    if request.first:
        _add_tags(context, _epoch_tag(result.handover.row))
    # Checks go with the materialization: one that comes before it would count as outdated by it,
    # and its partition as not checked.
    yield dg.MaterializeResult(
        asset_key=key,
        value=result.handover,
        metadata=_metadata(step, result.handover, result.metadata),
        check_results=[_check_result(key, check) for check in result.checks],
    )
    if not request.last:
        WAITING_CLAIMS.hold(drive_table.store, result.handover.claim)


def _performed(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    step: str,
    window: Window,
    store: DriveStore,
    request: RunRequest,
) -> StepResult | StepFailedError:
    try:
        return perform(step, pipeline, window, store, request, context.log)
    except StepFailedError as failed:
        where = "".join(traceback.format_tb(failed.__traceback__))
        context.log.error("%s\n%s", failed.error, where)
        return failed


def _request(
    context: dg.AssetExecutionContext, pipeline: Pipeline, step: str, held_wait_seconds: float
) -> RunRequest:
    selected = context.run.step_keys_to_execute or [node.name for node in context.job_def.nodes]
    mine = [name for name in STEPS if f"{pipeline.name}__{name}" in selected]
    return RunRequest(
        run_id=context.run.run_id,
        first=step == mine[0],
        last=step == mine[-1],
        force=context.run.tags.get(FORCE_TAG, "").lower() == "true",
        restate=context.run.tags.get(RESTATE_TAG, "").lower() == "true",
        retry_number=int(context.run.tags.get(RETRY_NUMBER_TAG, "0")),
        held_wait_seconds=held_wait_seconds,
    )


def _tag_run(
    context: dg.AssetExecutionContext, pipeline: Pipeline, tags: Mapping[str, str]
) -> None:
    """Runs of the UI and of backfills carry no job tags, and retries inherit stale ones."""
    own = {
        "dagster/retry_strategy": "ALL_STEPS",
        MAX_RETRIES_TAG: str(pipeline.config.retry.max_retries),
        PIPELINE_TAG: pipeline.name,
    }
    _add_tags(context, {**own, **tags})


def _epoch_tag(row: ExecutionRow | None) -> dict[str, str]:
    return {} if row is None else {"pipeline_platform/epoch": str(row.epoch)}


def _add_tags(context: dg.AssetExecutionContext, tags: Mapping[str, str]) -> None:
    """Dagster's storage may be away for a moment; that decides nothing about the window."""
    if not tags:
        return
    try:
        context.instance.add_run_tags(context.run.run_id, tags)
    except Exception as error:
        context.log.warning("The run's tags could not be set: %s", type(error).__name__)


def _check_result(key: dg.AssetKey, check: CheckOutcome) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check.name,
        passed=check.passed,
        description=check.reason,
        metadata={"reason": check.reason, **_plain(check.facts)},
    )


def _metadata(step: str, handover: Handover, found: Mapping[str, Any]) -> dict[str, Any]:
    numbers = dict(found)
    columns, rows = numbers.pop("columns", None), numbers.pop("rows", None)
    metadata: dict[str, Any] = {"pipeline_id": handover.row.pipeline_id, **_plain(numbers)}
    if handover.row.pipeline_status != "RUNNING":
        metadata["status"] = handover.row.pipeline_status
    decision = handover.row.phases["pre_validation"].phase_specific_details
    if step == "source" or handover.row.pipeline_status == "SKIPPED":
        metadata["decision"] = f"{decision.get('action')}: {decision.get('reason')}"
    if rows is not None:
        metadata["dagster/partition_row_count"] = rows
    if columns is not None:
        metadata["dagster/column_schema"] = dg.TableSchema(
            [dg.TableColumn(name, kind) for name, kind in columns.items()]
        )
    return metadata


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Dagster metadata: numbers and texts as they are, the rest as JSON."""
    return {
        name: value
        if isinstance(value, int | float | str)
        else dg.MetadataValue.json(json_safe(value))
        for name, value in values.items()
        if value is not None
    }

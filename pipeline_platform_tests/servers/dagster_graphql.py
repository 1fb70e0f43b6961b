"""What tests ask a running Dagster over GraphQL, as the UI does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_platform_tests.servers.dagster_project import REPOSITORY, DagsterProject


@dataclass(frozen=True)
class Run:
    """One Dagster run; times are seconds since 1970, UTC."""

    run_id: str
    status: str
    created: float
    ended: float | None
    tags: dict[str, str]

    @property
    def partition(self) -> str:
        return self.tags["dagster/partition"]


@dataclass(frozen=True)
class Tick:
    """One tick of a sensor, with the runs it requested, in its order."""

    status: str
    time: float
    run_ids: tuple[str, ...]
    skip_reason: str | None
    cursor: str | None
    error: str | None


def runs_of(project: DagsterProject, pipeline: str) -> list[Run]:
    """All runs of a pipeline that began, oldest first."""
    query = """query($filter: RunsFilter) { runsOrError(filter: $filter, limit: 200) { ... on Runs {
        results { runId status creationTime endTime tags { key value } } } } }"""
    tags = [{"key": "pipeline_platform/pipeline", "value": pipeline}]
    found = project.graphql(query, filter={"tags": tags})["runsOrError"]["results"]
    return [
        Run(
            run["runId"],
            run["status"],
            run["creationTime"],
            run["endTime"],
            {tag["key"]: tag["value"] for tag in run["tags"]},
        )
        for run in reversed(found)
    ]


def ticks_of(project: DagsterProject, sensor: str) -> list[Tick]:
    """The finished ticks of a sensor, oldest first."""
    query = """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
        ... on Sensor { sensorState { ticks(limit: 100) {
            status timestamp runIds skipReason cursor error { message } } } } } }"""
    state = project.graphql(query, selector=_selector(sensor))["sensorOrError"]["sensorState"]
    return [
        Tick(
            tick["status"],
            tick["timestamp"],
            tuple(tick["runIds"]),
            tick["skipReason"],
            tick["cursor"],
            (tick["error"] or {}).get("message"),
        )
        for tick in reversed(state["ticks"])
        if tick["status"] != "STARTED"
    ]


def sensor_status(project: DagsterProject, sensor: str) -> str:
    """RUNNING or STOPPED."""
    query = """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
        ... on Sensor { sensorState { status } } } }"""
    found = project.graphql(query, selector=_selector(sensor))["sensorOrError"]
    return str(found["sensorState"]["status"])


def set_cursor(project: DagsterProject, sensor: str, cursor: str) -> None:
    """What the UI's `Edit cursor` does."""
    query = """mutation($selector: SensorSelector!, $cursor: String) {
        setSensorCursor(sensorSelector: $selector, cursor: $cursor) { __typename } }"""
    done = project.graphql(query, selector=_selector(sensor), cursor=cursor)["setSensorCursor"]
    assert done["__typename"] == "Sensor", done


def start_sensor(project: DagsterProject, sensor: str) -> None:
    """What the switch in the UI does."""
    query = """mutation($selector: SensorSelector!) {
        startSensor(sensorSelector: $selector) { __typename } }"""
    done = project.graphql(query, selector=_selector(sensor))["startSensor"]
    assert done["__typename"] == "Sensor", done


def launch_backfill(
    project: DagsterProject, assets: Sequence[Sequence[str]], partitions: Sequence[str]
) -> str:
    """What `Launch backfill` in the UI does; its id."""
    query = """mutation($params: LaunchBackfillParams!) {
        launchPartitionBackfill(backfillParams: $params) {
            __typename ... on LaunchBackfillSuccess { backfillId } } }"""
    params = {
        "assetSelection": [{"path": list(path)} for path in assets],
        "partitionNames": list(partitions),
    }
    launched = project.graphql(query, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def backfill_status(project: DagsterProject, backfill_id: str) -> str:
    """REQUESTED, COMPLETED_SUCCESS, COMPLETED_FAILED, ..."""
    query = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
        ... on PartitionBackfill { status } } }"""
    return str(project.graphql(query, id=backfill_id)["partitionBackfillOrError"]["status"])


def partition_counts(
    project: DagsterProject, assets: Sequence[Sequence[str]]
) -> dict[str, tuple[int, int]]:
    """Partitions that are materialized now, and whose last run failed, by asset.

    A backfill's own counts may be older than its end: Dagster counts first and looks afterwards
    whether runs are left. What failed once and was just healed may be in them as failed.
    """
    query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
        ... on AssetNode { partitionStats { numMaterialized numFailed } } } }"""
    counts: dict[str, tuple[int, int]] = {}
    for path in assets:
        found = project.graphql(query, key={"path": list(path)})["assetNodeOrError"]
        stats = found["partitionStats"]
        counts[path[-1]] = (stats["numMaterialized"], stats["numFailed"])
    return counts


def check_results(project: DagsterProject, asset: Sequence[str], check: str) -> list[Any]:
    """Evaluations of a check, oldest first: partition, success, description."""
    query = """query($key: AssetKeyInput!, $check: String!) {
        assetCheckExecutions(assetKey: $key, checkName: $check, limit: 100) {
            evaluation { partition success description
                targetMaterialization { runId } } } }"""
    found = project.graphql(query, key={"path": list(asset)}, check=check)
    executions = reversed(found["assetCheckExecutions"])
    return [one["evaluation"] for one in executions if one["evaluation"] is not None]


def observations(
    project: DagsterProject, asset: Sequence[str], partition: str
) -> list[tuple[str, Mapping[str, Any]]]:
    """What was observed of an asset's partition, oldest first: description, texts and integers."""
    query = """query($key: AssetKeyInput!, $partitions: [String!]) {
        assetOrError(assetKey: $key) { ... on Asset {
            assetObservations(partitions: $partitions, limit: 100) { description metadataEntries {
                label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue }
            } } } } }"""
    found = project.graphql(query, key={"path": list(asset)}, partitions=[partition])
    return [
        (
            event["description"],
            {
                entry["label"]: entry.get("text", entry.get("intValue"))
                for entry in event["metadataEntries"]
            },
        )
        for event in reversed(found["assetOrError"]["assetObservations"])
    ]


def _selector(sensor: str) -> dict[str, str]:
    return {**REPOSITORY, "sensorName": sensor}

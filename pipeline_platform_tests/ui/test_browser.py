"""The first hour in Dagster's UI, in a real browser, on the demo's real flights."""

import pytest
from playwright.sync_api import expect

from pipeline_platform_tests.ui.dagster_ui import BACKFILL_SECONDS, RUN_SECONDS, DagsterUI
from pipeline_platform_tests.ui.flights_project import POISONED_DAY

pytestmark = [pytest.mark.timeout(600), pytest.mark.waits]


def test_the_graph_shows_five_assets_with_what_they_are(ui: DagsterUI) -> None:
    ui.open_group("flights")
    graph = ui.page.locator("body")
    ui.sees(graph.get_by_text("DuckDB", exact=True).first)
    ui.sees(graph.get_by_text("Parquet", exact=True).first)
    ui.open_asset("flights", "target")
    ui.sees(ui.page.get_by_text("data-platform@example.com").first)
    ui.sees(ui.page.get_by_text("Flights that left New York City in 2013", exact=False))
    ui.sees(ui.page.get_by_text("pipeline_platform/pipeline: flights"))
    ui.sees(ui.page.get_by_text("defs.yaml", exact=False).first)
    ui.sees(ui.page.get_by_text("flights_due_windows").first)


def test_one_partition_is_materialized_and_its_check_passes(ui: DagsterUI) -> None:
    ui.materialize("flights", "2013-03-07")
    ui.ends("Success", RUN_SECONDS)
    ui.page.get_by_role("button", name="View tags and config").click()
    for tag in ("pipeline: flights", "window: 2013-03-07", "epoch: 1"):
        ui.sees(ui.page.get_by_role("dialog").get_by_text(f"pipeline_platform/{tag}"))
    ui.open_check_of("flights", "stage", "2013-03-07", "2013-03-07")
    ui.reads(r"Passed\s+\(1\)")
    ui.sees(ui.page.get_by_text("source to stage: 980 of 980 rows").first)
    ui.sees(ui.row("expected", "980"))
    ui.sees(ui.row("observed", "980"))
    ui.sees(ui.row("tolerance_percent", "0"))


def test_a_poisoned_partition_says_why(ui: DagsterUI) -> None:
    ui.materialize("departures", POISONED_DAY)
    ui.ends("Failure", RUN_SECONDS)
    reason = "source to stage: 180 of 979 rows lost, 18.39 % is over the tolerance of 5 %"
    ui.sees(ui.page.get_by_text(reason, exact=False).first)
    ui.open_check_of("departures", "stage", POISONED_DAY, POISONED_DAY)
    ui.reads(r"Failed\s+\(1\)")
    ui.sees(ui.row("expected", "979"))
    ui.sees(ui.row("observed", "799"))
    ui.sees(ui.row("loss_percent", "18.39"))
    ui.sees(ui.row("tolerance_percent", "5"))
    ui.sees(ui.row("reason", reason))


def test_a_backfill_of_three_finishes_and_its_numbers_are_plotted(ui: DagsterUI) -> None:
    ui.materialize("flights", "[2013-03-09...2013-03-11]")
    for asset in ("source", "stage", "target", "audit", "cleaning"):
        # Targeted, in progress, succeeded, failed.
        counts = r"100% completed\s+3\s+0\s+3\s+0"
        ui.reads(rf"flights / {asset}\s+{counts}", BACKFILL_SECONDS)
    ui.reads(r"Status\s+Succeeded", BACKFILL_SECONDS)
    ui.open_check("flights", "stage", "Partitions")
    ui.reads(r"Failed\s+\(0\)")
    ui.reads(r"Passed\s+\([3-9]\)")
    ui.open_plots("flights", "stage")
    for number in (
        "dagster/partition_row_count",
        "bytes",
        "seconds",
        "rows_per_second",
        "loss_percent",
    ):
        ui.sees(ui.page.get_by_text(number, exact=True).first)
    expect(ui.page.locator("canvas").nth(4)).to_be_visible()

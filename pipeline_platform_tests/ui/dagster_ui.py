"""What a user does in Dagster's UI, as steps; every wait has a deadline."""

import re

from playwright.sync_api import Locator, Page, ViewportSize, expect

from pipeline_platform_tests.servers.dagster_project import LOCATION

PAGE_SECONDS = 30.0
RUN_SECONDS = 120.0
# Dagster's daemon looks at a backfill every 30 s: to start its runs, and to see them end.
BACKFILL_SECONDS = 240.0
# So wide that the graph of five assets shows its details without zooming.
WIDE = ViewportSize(width=1900, height=900)


class DagsterUI:
    """One browser page on one project."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        page.set_default_timeout(PAGE_SECONDS * 1000)

    def open_group(self, pipeline: str) -> None:
        """The asset graph of a pipeline."""
        self.page.goto(f"{self.url}/locations/{LOCATION}/asset-groups/{pipeline}/lineage")
        self.sees(self.page.get_by_role("button", name="Materialize all"))
        for asset in ("source", "stage", "target", "audit", "cleaning"):
            self.sees(self.page.get_by_text(asset, exact=True))

    def open_asset(self, pipeline: str, asset: str, view: str = "overview") -> None:
        """The page of one asset: overview, partitions or events."""
        self.page.goto(f"{self.url}/assets/{pipeline}/{asset}?view={view}")
        self.sees(self.page.get_by_role("tab", name="Overview").first)

    def open_check(self, pipeline: str, asset: str, tab: str = "Overview") -> None:
        """The one check of an asset: Overview, Execution history or Partitions."""
        self.open_asset(pipeline, asset, "checks")
        self.sees(self.page.get_by_role("tab", name="Execution history"))
        self.page.get_by_role("tab", name=tab, exact=True).last.click()

    def open_check_of(self, pipeline: str, asset: str, partitions: str, chosen: str) -> None:
        """The check's results for a range of partitions, with one of them chosen."""
        self.open_check(pipeline, asset, "Partitions")
        field = self.page.get_by_placeholder(re.compile("^ex: "))
        field.fill(partitions)
        field.blur()
        self.page.get_by_text(chosen, exact=True).first.click()
        self.sees(self.page.get_by_text("Latest execution", exact=True))

    def open_plots(self, pipeline: str, asset: str) -> None:
        """The numbers of an asset's materializations, in the order they were made.

        By partition Dagster plots the newest days up to today, whatever the schedule's end.
        """
        self.open_asset(pipeline, asset)
        self.page.get_by_role("button", name="Plots").click()
        self.page.get_by_role("button", name="Events").click()

    def materialize(self, pipeline: str, partitions: str) -> None:
        """Launch the partitions from the graph's dialog, and follow the link to what started.

        One partition starts a run, several start a backfill; `[first...last]` is a range.
        """
        self.open_group(pipeline)
        self.page.get_by_role("button", name="Materialize all").click()
        dialog = self.page.get_by_role("dialog")
        field = dialog.get_by_placeholder(re.compile("^ex: "))
        field.fill(partitions)
        field.blur()
        dialog.get_by_role("button", name=re.compile("^Launch ")).click()
        self.page.get_by_role("link", name="View", exact=True).or_(
            self.page.get_by_role("button", name="View", exact=True)
        ).click()
        self.page.wait_for_url(re.compile("/runs/"))

    def ends(self, status: str, seconds: float) -> None:
        """The run on this page ends with this status."""
        self.sees(self.page.get_by_text(status, exact=True).first, seconds)

    def reads(self, pattern: str, seconds: float = PAGE_SECONDS) -> None:
        """The text of the page, as a reader sees it, holds the pattern within the time."""
        body = self.page.locator("body")
        expect(body).to_contain_text(
            re.compile(pattern), timeout=seconds * 1000, use_inner_text=True
        )

    def sees(self, what: Locator, seconds: float = PAGE_SECONDS) -> None:
        """The element is there and visible, within the time."""
        expect(what).to_be_visible(timeout=seconds * 1000)

    def row(self, *cells: str) -> Locator:
        """A row of a table whose cells begin with exactly these texts."""
        text = r"\s*".join(re.escape(cell) for cell in cells)
        return self.page.get_by_role("row").filter(has_text=re.compile(rf"^\s*{text}"))

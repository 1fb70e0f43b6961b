"""Takes the pictures of README and docs: `python -m pipeline_platform_tests.ui.screenshots`.

They are what a browser shows of a real project: the demo, and a backfill with one bad day.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import FloatRect, ViewportSize

from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.servers.chromium import chromium
from pipeline_platform_tests.ui.dagster_ui import BACKFILL_SECONDS, WIDE, DagsterUI
from pipeline_platform_tests.ui.flights_project import POISONED_DAY, flights_project

IMAGES = ROOT / "docs/images"
PAGE = ViewportSize(width=1440, height=1000)
NAVIGATION = 240
# Fonts, icons and the lines of plots come a moment after the elements.
SETTLED_MILLISECONDS = 1500
MOST_BYTES = 250_000


def asset_graph(ui: DagsterUI) -> FloatRect:
    ui.page.set_viewport_size(ViewportSize(width=WIDE["width"], height=520))
    ui.open_group("flights")
    ui.reads(r"[0-9]+% filled")
    return FloatRect(x=NAVIGATION, y=0, width=WIDE["width"] - NAVIGATION, height=450)


def checks(ui: DagsterUI) -> FloatRect:
    ui.open_check_of("flights", "stage", "[2013-03-07...2013-03-13]", "2013-03-10")
    return FloatRect(x=NAVIGATION, y=0, width=PAGE["width"] - NAVIGATION, height=850)


def backfill(ui: DagsterUI) -> FloatRect:
    ui.materialize("departures", f"[{POISONED_DAY}...2013-03-11]")
    ui.reads(r"Status\s+Failed", BACKFILL_SECONDS)
    return FloatRect(x=NAVIGATION, y=0, width=PAGE["width"] - NAVIGATION, height=560)


def failed_window(ui: DagsterUI) -> FloatRect:
    ui.open_check_of("departures", "stage", f"[{POISONED_DAY}...2013-03-11]", POISONED_DAY)
    return FloatRect(x=NAVIGATION, y=0, width=PAGE["width"] - NAVIGATION, height=970)


def plots(ui: DagsterUI) -> FloatRect:
    ui.page.set_viewport_size(ViewportSize(width=WIDE["width"], height=1500))
    ui.open_plots("flights", "stage")
    switch = ui.page.get_by_role("button", name="Plots").bounding_box()
    assert switch is not None
    return FloatRect(x=NAVIGATION, y=switch["y"] - 58, width=1160, height=1125)


PICTURES: Mapping[str, Callable[[DagsterUI], FloatRect]] = {
    "asset-graph": asset_graph,
    "checks": checks,
    "plots": plots,
    "backfill": backfill,
    "failed-window": failed_window,
}


def main() -> None:
    """Start everything, run the demo, and write the pictures to docs/images."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        project = flights_project(Path(folder) / "clone")
        print(project.command("-m", "demo"))
        with project:
            for name, picture in PICTURES.items():
                page = browser.new_page(viewport=PAGE, timezone_id="UTC", locale="en-US")
                part = picture(DagsterUI(page, project.url))
                page.wait_for_timeout(SETTLED_MILLISECONDS)
                file = IMAGES / f"{name}.png"
                page.screenshot(path=file, clip=part)
                page.close()
                size = file.stat().st_size
                print(f"{file.relative_to(ROOT)}: {size:,} bytes")
                assert size <= MOST_BYTES, f"{name} is too large for a repository"


if __name__ == "__main__":
    main()

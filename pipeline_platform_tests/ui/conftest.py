"""Fixtures of the browser tests: one project with the demo's data, a fresh page per test.

On a machine without a browser the tests are left out; pytest's last lines say so.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pipeline_platform_tests.servers.chromium import chromium
from pipeline_platform_tests.servers.dagster_project import DagsterProject
from pipeline_platform_tests.servers.left_out import or_left_out
from pipeline_platform_tests.ui.dagster_ui import WIDE, DagsterUI
from pipeline_platform_tests.ui.flights_project import flights_project


# Not longer than the module: Playwright keeps an event loop running in this thread, in which no
# Dagster run could start its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with or_left_out(chromium()) as browser:
        yield browser


@pytest.fixture(scope="module")
def project(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterProject]:
    with flights_project(tmp_path_factory.mktemp("flights") / "clone") as project:
        yield project


@pytest.fixture
def ui(browser: Browser, project: DagsterProject, tmp_path: Path) -> Iterator[DagsterUI]:
    context = browser.new_context(viewport=WIDE, timezone_id="UTC", locale="en-US")
    try:
        page = context.new_page()
        yield DagsterUI(page, project.url)
        last = tmp_path / "last.png"
        page.screenshot(path=last)
        print(f"the page at the end: {last}", file=sys.stderr)
    finally:
        context.close()

"""The browser of the tests: the machine's own Chromium or Chrome, driven by playwright."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from pipeline_platform_tests.servers.availability import Needs, is_ci
from pipeline_platform_tests.servers.install import InstallFailedError, run

VARIABLE = "PIPELINE_PLATFORM_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NEEDS = Needs("a browser", f"install Chromium or Chrome, or set {VARIABLE} to its path")
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> Path:
    """Path of the browser; with CI=true it is installed where it is missing.

    Raises MissingServerError on a machine without one, RuntimeError if the variable names no
    program.
    """
    return NEEDS.install_here(_chosen_or_found)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; it is closed at the end. Raises as `chromium_path` does."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def _chosen_or_found() -> Path:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if found := shutil.which(chosen):
            return Path(found)
        raise RuntimeError(f"{VARIABLE} is {chosen}, which is not a program.")
    if is_ci() and not _on_path():
        _install()
    if found := _on_path():
        return Path(found)
    raise InstallFailedError("no Chromium or Chrome found")


def _on_path() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def _install() -> None:
    """Install Debian's chromium; of several test processes one does it, the others wait."""
    lock = Path(tempfile.gettempdir()) / "pipeline-platform-chromium.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if _on_path():
            return
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]):
            run(command, lock.parent, {"DEBIAN_FRONTEND": "noninteractive"})

"""The browser of the tests: the machine's own Chromium or Chrome, driven by playwright."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

VARIABLE = "PIPELINE_PLATFORM_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW_TO_GET_IT = f"apt install chromium, or set {VARIABLE} to the path of a Chrome"
INSTALL_SECONDS = 600.0
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoChromiumError(Exception):
    """There is no browser, and it is not for the tests to install one."""


def chromium_path() -> str:
    """Path of the browser; with CI=true it is installed where it is missing.

    Raises NoChromiumError on a machine without one, RuntimeError if it cannot be installed or
    the variable names no program.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if found := shutil.which(chosen):
            return found
        raise RuntimeError(f"{VARIABLE} is {chosen}, which is not a program.")
    if found := _on_path():
        return found
    if os.environ.get("CI", "").lower() != "true":
        raise NoChromiumError(f"no Chromium or Chrome found; {HOW_TO_GET_IT}")
    _install()
    if found := _on_path():
        return found
    raise RuntimeError(f"No browser, although apt-get installed chromium: {HOW_TO_GET_IT}.")


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A headless browser; it is closed at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def _on_path() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def _install() -> None:
    """Install Debian's chromium; of several test processes one does it, the others wait."""
    lock = Path(tempfile.gettempdir()) / "pipeline-platform-chromium.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if _on_path():
            return
        if shutil.which("apt-get") is None:
            raise RuntimeError(f"No browser, and no apt-get to install one: {HOW_TO_GET_IT}.")
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]):
            done = subprocess.run(
                command,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")

"""A copy of the work tree as a stranger gets it: only what git tracks or would track."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def copy_work_tree(folder: Path) -> Path:
    """Copy the project's files to `folder`; nothing that git ignores comes along."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, timeout=60,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, folder / name
        if source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    return folder


def clean_environment(**more: str) -> Mapping[str, str]:
    """This process's environment without what would lead a command back to this checkout.

    Python may keep what it compiled: else every process of an environment that a test installs
    compiles Dagster anew, which takes seconds.
    """
    left_out = ("DAGSTER_HOME", "VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT",
                "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTEST_XDIST_WORKER",
                "PYTHONDONTWRITEBYTECODE")  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, **more}


def run(
    command: Sequence[str] | str,
    folder: Path,
    *,
    timeout: float = 300,
    env: Mapping[str, str] | None = None,
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    """Run a command in the copy; its output is captured, its exit code is the caller's to judge."""
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(**(env or {}), **environment),
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )

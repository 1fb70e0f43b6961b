"""The peers, installed once per machine into the cache of the test servers."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline_platform_tests.servers.availability import Needs
from pipeline_platform_tests.servers.install import (
    InstallFailedError,
    install_python,
    installed,
    run,
)

_FILES = Path(__file__).parent / "peers"
REQUIREMENTS = _FILES / "requirements.txt"
_PACKAGE, _LOCK = _FILES / "package.json", _FILES / "package-lock.json"
_VERSION_SECONDS = 30.0
NEEDS = Needs(
    "The peers of the benchmarks",
    "install Node.js with npm, and use Python 3.11 or newer with access to a package index",
    programs=("node", "npm"),
)


@dataclass(frozen=True)
class Peers:
    """A Python that has dlt, orjson and the Elasticsearch client; and elasticdump's program."""

    python: Path
    elasticdump: Path

    def versions(self) -> dict[str, str]:
        """Of the packages that are compared."""
        code = "from importlib.metadata import version as v; print(v('dlt'), v('orjson'))"
        dlt, orjson = _output(self.python, "-c", code).split()
        return {
            "dlt": dlt,
            "orjson": orjson,
            "elasticdump": _output("node", self.elasticdump, "--version"),
            "node": _output("node", "--version").removeprefix("v"),
        }


@cache
def peers() -> Peers:
    """Both, installed at the first call; MissingServerError where they cannot be had."""
    environment = NEEDS.install_here(_python_environment)
    modules = NEEDS.install_here(_elasticdump_modules)
    return Peers(
        environment / "bin" / "python",
        modules / "node_modules" / "elasticdump" / "bin" / "elasticdump",
    )


def _python_environment() -> Path:
    if sys.version_info < (3, 11):
        raise InstallFailedError("the peers need Python 3.11 or newer")
    return installed("benchmark-peers", _install_python, sys.version, REQUIREMENTS)


def _elasticdump_modules() -> Path:
    return installed("elasticdump", _install_elasticdump, _PACKAGE, _LOCK)


def _install_python(folder: Path) -> None:
    install_python(folder, REQUIREMENTS)


def _install_elasticdump(folder: Path) -> None:
    for file in (_PACKAGE, _LOCK):
        shutil.copy(file, folder)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _output(*command: str | Path) -> str:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True, text=True, timeout=_VERSION_SECONDS, check=True,
    ).stdout.strip()  # fmt: skip

"""The process of fakesnow: DuckDB behind Snowflake's protocol, with translated SQL."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from typing_extensions import Self

from pipeline_platform_tests.servers.availability import Needs
from pipeline_platform_tests.servers.http_answer import http_answers
from pipeline_platform_tests.servers.install import (
    InstallFailedError,
    install_python,
    installed,
)
from pipeline_platform_tests.servers.process import ServerProcess, free_port
from pipeline_platform_tests.servers.s3 import S3Server
from pipeline_platform_tests.servers.snowflake import (
    ACCOUNT,
    PASSWORD,
    USER,
    SnowflakeServer,
    own_snowflake,
)

FILES = Path(__file__).parent
REQUIREMENTS = FILES / "requirements.txt"
START_SECONDS = 60.0
# What fakesnow cannot run is an answer 500, which the connector repeats for so long.
NETWORK_SECONDS = 2
NEEDS = Needs(
    "Snowflake (fakesnow)",
    f"install Python 3.11 or newer, with access to a package index, or set {ACCOUNT} and {USER}",
)


class Fakesnow(SnowflakeServer):
    """Start with `with Fakesnow() as server`; all databases are in its memory.

    `s3`: the service that URLs of external stages, `s3://<bucket>/<prefix>`, are read from.
    Logins are never checked.
    """

    is_real = False

    def __init__(self, s3: S3Server | None = None) -> None:
        super().__init__()
        self.port = free_port()
        self._s3 = s3
        self._process: ServerProcess | None = None
        self.config = {
            "account": "fakesnow",
            "user": "TESTS",
            "password": f"env:{PASSWORD}",
            "host": "127.0.0.1",
            "port": self.port,
            "protocol": "http",
            "network_timeout_seconds": NETWORK_SECONDS,
        }

    @property
    def environment(self) -> dict[str, str]:
        return {PASSWORD: "not-checked"}

    def __enter__(self) -> Self:
        self._process = self._new_process()
        url = f"http://127.0.0.1:{self.port}/"
        self._process.start(lambda: http_answers(url), START_SECONDS)
        return self

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        if self._process is not None:
            self._process.remove()
            self._process = None

    def log(self) -> str:
        """The end of its log."""
        return self._process.log() if self._process is not None else ""

    def _login(self) -> dict[str, Any]:
        return {
            "account": "fakesnow",
            "user": "TESTS",
            "password": "not-checked",
            "host": "127.0.0.1",
            "port": self.port,
            "protocol": "http",
            "network_timeout": NETWORK_SECONDS,
        }

    def _new_process(self) -> ServerProcess:
        home = NEEDS.install_here(fakesnow_environment)
        folder = Path(tempfile.mkdtemp(prefix="pipeline-platform-fakesnow-"))
        environment = {"TMPDIR": str(folder)}  # internal stages are folders there
        if self._s3 is not None:
            environment |= {
                "FAKESNOW_S3_ENDPOINT": self._s3.endpoint_url,
                "FAKESNOW_S3_ACCESS_KEY": self._s3.access_key,
                "FAKESNOW_S3_SECRET_KEY": self._s3.secret_key,
                "FAKESNOW_S3_REGION": self._s3.region,
            }
        python = home / "bin" / "python"
        command: list[str | Path] = [python, "-I", FILES / "launcher.py", str(self.port)]
        return ServerProcess("fakesnow", command, folder, environment=environment)


def fakesnow_environment() -> Path:
    """The Python environment that fakesnow runs in, made at the first call."""
    return installed("fakesnow", _install, sys.version, REQUIREMENTS)


def snowflake_server(s3: S3Server | None = None) -> SnowflakeServer:
    """A stand-in to start with `with`, or the account that the environment names."""
    return own_snowflake() or Fakesnow(s3)


def _install(folder: Path) -> None:
    install_python(folder, REQUIREMENTS, _interpreter())


def _interpreter() -> str:
    """This Python, or where it is too old for fakesnow another one of this machine."""
    if sys.version_info >= (3, 11):
        return sys.executable
    for name in ("python3.13", "python3.12", "python3.11"):
        if found := shutil.which(name):
            return found
    raise InstallFailedError("no Python 3.11 or newer found")

"""An S3 service of its own: versitygw, which has real conditional writes, on a folder."""

import os
import tempfile
from pathlib import Path

from typing_extensions import Self

from pipeline_platform_tests.servers.availability import Needs
from pipeline_platform_tests.servers.certificate import certificate_for_loopback
from pipeline_platform_tests.servers.go_programs import go_program
from pipeline_platform_tests.servers.http_answer import http_answers
from pipeline_platform_tests.servers.process import ServerProcess, free_port
from pipeline_platform_tests.servers.s3 import ACCESS_KEY, ENDPOINT, SECRET_KEY, S3Server, own_s3

VERSION = "v1.8.0"
PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
START_SECONDS = 20.0
NEEDS = Needs(
    "S3 (versitygw)",
    f"install Go, or Docker, or set {ENDPOINT}, {ACCESS_KEY} and {SECRET_KEY}",
    in_docker=True,
)


class VersityGateway(S3Server):
    """Start with `with VersityGateway() as server`; with `tls` it speaks https only."""

    def __init__(self, *, tls: bool = False) -> None:
        self.port = free_port()
        self._tls = tls
        self._process: ServerProcess | None = None
        super().__init__(
            f"{'https' if tls else 'http'}://127.0.0.1:{self.port}",
            access_key="tests",
            secret_key="secret-of-the-tests",
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        if self._process is not None:
            self._process.remove()
            self._process = None

    def start(self) -> None:
        """Start it; again with its old data after `kill`."""
        if self._process is None:
            self._process = self._new_process()
        health = f"{self.endpoint_url}/health"
        self._process.start(lambda: http_answers(health, self.ca_file), START_SECONDS)

    def kill(self) -> None:
        """SIGKILL; its data stay for another `start`."""
        assert self._process is not None
        self._process.kill()

    def log(self) -> str:
        """The end of its log."""
        return self._process.log() if self._process is not None else ""

    def _new_process(self) -> ServerProcess:
        program = NEEDS.install_or_docker(versitygw)
        folder = Path(tempfile.mkdtemp(prefix="pipeline-platform-s3-"))
        if program is None:
            return self._new_container(folder)
        data = folder / "data"
        data.mkdir()
        command: list[str | Path] = [
            program, "--port", f"127.0.0.1:{self.port}", "--quiet", "--keep-alive",
            "--health", "/health",
        ]  # fmt: skip
        if self._tls:
            files = certificate_for_loopback(folder)
            self.ca_file = files.ca_file
            command += ["--cert", files.certificate, "--key", files.key]
        command.append("posix")
        if not _keeps_attributes(data):
            beside = folder / "attributes"
            beside.mkdir()
            command += ["--sidecar", beside]
        secrets = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        return ServerProcess("versitygw", [*command, data], folder, environment=secrets)

    def _new_container(self, folder: Path) -> ServerProcess:
        variables = {
            "S3_PORT": str(self.port),
            "S3_ACCESS_KEY": self.access_key,
            "S3_SECRET_KEY": self.secret_key,
        }
        if self._tls:
            self.ca_file = certificate_for_loopback(folder).ca_file
            variables["CERTIFICATES"] = str(folder)
        return NEEDS.container("s3-secured" if self._tls else "s3", folder, variables)


def versitygw() -> Path:
    """The program, built at the first call."""
    return go_program("versitygw", PACKAGE, VERSION)


def s3_server() -> S3Server:
    """A service to start with `with`, or the one that the environment names."""
    return own_s3() or VersityGateway()


def _keeps_attributes(folder: Path) -> bool:
    """Whether the file system has extended attributes, where versitygw keeps metadata."""
    if not hasattr(os, "setxattr"):
        return False
    try:
        os.setxattr(folder, "user.pipeline_platform", b"1")
        os.removexattr(folder, "user.pipeline_platform")
    except OSError:
        return False
    return True

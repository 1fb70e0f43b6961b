"""A server as a container of compose.yaml, handled as if it were a process of ours."""

import signal
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.servers.install import InstallFailedError, run
from pipeline_platform_tests.servers.process import ServerProcess

COMPOSE_FILE = ROOT / "compose.yaml"
COMMAND_SECONDS = 60.0
GUARD = 'folder=$1; shift; read -r _; "$@"; rm -rf -- "$folder"'


class ComposeService(ServerProcess):
    """One service of compose.yaml.

    `variables` are those of the file: ports, passwords. Services with one `project` reach each
    other by their names. Data stay in the container until `remove`.
    """

    def __init__(
        self,
        service: str,
        folder: Path,
        variables: Mapping[str, str],
        project: str | None = None,
    ) -> None:
        self._service = service
        self._compose = [
            "docker", "compose", "--file", str(COMPOSE_FILE),
            "--project-name", project or new_project(),
        ]  # fmt: skip
        up = [*self._compose, "up", "--no-color", "--no-log-prefix", service]
        super().__init__(service, up, folder, environment=variables)

    def pull(self) -> None:
        """Get the image if it is not there; InstallFailedError if it cannot be had."""
        images = run([*self._compose, "config", "--images", self._service], self._folder,
                     self._environment).split()  # fmt: skip
        for image in images:
            try:
                run(["docker", "image", "inspect", image], self._folder)
            except InstallFailedError:
                run(["docker", "pull", "--quiet", image], self._folder)

    def remove(self) -> None:
        super().remove()
        self._docker("down", "--volumes", "--timeout", "10")

    def _end(self, how: signal.Signals) -> None:
        # `up` stops the container when it gets SIGTERM; itself killed, it would leave it running.
        if how == signal.SIGKILL and self.is_running:
            self._docker("kill", "--signal", "SIGKILL", self._service)
            how = signal.SIGTERM
        super()._end(how)

    def _guard_command(self, pid: int) -> list[str]:
        down = [*self._compose, "down", "--volumes", "--timeout", "10"]
        return ["/bin/sh", "-c", GUARD, "guard", str(self._folder), *down]

    def _docker(self, *arguments: str) -> None:
        subprocess.run(
            [*self._compose, *arguments],
            env=self._whole_environment(), check=False, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS,
        )  # fmt: skip


def new_project() -> str:
    """A name for services that belong together."""
    return f"pipeline-platform-tests-{uuid.uuid4().hex[:8]}"

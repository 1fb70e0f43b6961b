"""What this machine can run: from its own toolchains, in Docker, or not at all."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline_platform_tests.servers.compose import ComposeService
from pipeline_platform_tests.servers.install import InstallFailedError

DOCKER_SECONDS = 20.0


class MissingServerError(Exception):
    """This machine has not what a server needs, and it is not for the tests to get that."""


@dataclass(frozen=True)
class Needs:
    """What it takes to run a server; `how_to_get_it` completes "To have it, ...".

    `programs` are those that run it; an install says itself which ones it misses.
    """

    server: str
    how_to_get_it: str
    programs: tuple[str, ...] = ()
    in_docker: bool = False

    def install_here(self, install: Callable[[], Path]) -> Path:
        """The install; MissingServerError if a program is not there, or the install fails."""
        for program in self.programs:
            if shutil.which(program) is None:
                raise self.missing(f"{program} not found")
        try:
            return install()
        except InstallFailedError as failure:
            raise self.missing(str(failure)) from failure

    def install_or_docker(self, install: Callable[[], Path]) -> Path | None:
        """The install, or None where Docker is to run the server; else MissingServerError."""
        try:
            return self.install_here(install)
        except MissingServerError:
            if self.in_docker and docker_answers():
                return None
            raise

    def container(
        self, service: str, folder: Path, variables: Mapping[str, str], project: str = ""
    ) -> ComposeService:
        """A service of compose.yaml, its image at hand; else MissingServerError."""
        container = ComposeService(service, folder, variables, project or None)
        try:
            container.pull()
        except InstallFailedError as failure:
            shutil.rmtree(folder, ignore_errors=True)
            raise self.missing(str(failure)) from failure
        return container

    def missing(self, reason: str) -> MissingServerError:
        return MissingServerError(f"{self.server}: {reason}. To have it, {self.how_to_get_it}.")


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() == "true"


@cache
def docker_answers() -> bool:
    """Whether `docker compose` is there and its daemon runs."""
    try:
        for command in (["docker", "compose", "version"], ["docker", "info"]):
            subprocess.run(command, check=True, capture_output=True, timeout=DOCKER_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return False
    return True

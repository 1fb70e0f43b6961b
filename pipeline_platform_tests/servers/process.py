"""A server as a plain process on loopback: started, awaited, stopped, killed, with its log."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

STOP_SECONDS = 20.0
LOG_CHARACTERS = 5000
# Below the ports that systems give to outgoing connections: a node that was killed finds its
# port free when it is started again.
PORTS = range(15_000, 32_000)
# Ends when this process does, however it does, and takes server and folder with it.
GUARD = 'read -r _; kill -KILL "$1"; rm -rf -- "$2"'


class ServerFailedError(Exception):
    """A server that is installed did not start, or stopped by itself; holds the end of its log."""


class ServerProcess:
    """One server; it may be started again after `stop` or `kill`.

    `folder` holds what the server writes; should this process die without `remove`, the server
    is killed and the folder removed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = [str(word) for word in command]
        self._folder = folder
        self._environment = dict(environment or {})
        self._log = folder / f"{name.replace(' ', '-')}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Start and wait until `is_ready`.

        Raises ServerFailedError with the end of the log if that is not within the time; then
        nothing is left of the server.
        """
        assert not self.is_running, f"{self.name} runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._whole_environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._guard = subprocess.Popen(
            self._guard_command(self._process.pid), env=self._whole_environment(),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + seconds
        try:
            while not is_ready():
                if not self.is_running:
                    raise ServerFailedError(f"{self.name} stopped at its start:\n{self.log()}")
                if time.monotonic() > deadline:
                    raise ServerFailedError(
                        f"{self.name} was not ready within {seconds:.0f} s:\n{self.log()}"
                    )
                time.sleep(0.05)
        except BaseException:
            self.remove()
            raise

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not do within 20 seconds."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: the server has no time for anything."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """SIGKILL, and remove the folder: a server need not tidy up what goes anyway."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """The end of what the server wrote."""
        if not self._log.exists():
            return ""
        return self._log.read_text(errors="replace")[-LOG_CHARACTERS:]

    def _guard_command(self, pid: int) -> list[str]:
        return ["/bin/sh", "-c", GUARD, "guard", str(pid), str(self._folder)]

    def _whole_environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment}

    def _end(self, how: signal.Signals) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate(timeout=STOP_SECONDS)
            self._guard = None
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        self._process = None


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerFailedError("a hundred ports of loopback were tried, and none is free")

"""Network faults: toxiproxy, a TCP relay that delays, cuts and hangs when it is told to."""

import json
import os
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from typing_extensions import Self

from pipeline_platform_tests.servers.availability import Needs
from pipeline_platform_tests.servers.go_programs import go_program
from pipeline_platform_tests.servers.http_answer import http_answers
from pipeline_platform_tests.servers.process import ServerProcess, free_port

URL = "PIPELINE_PLATFORM_TOXIPROXY_URL"
VERSION = "v2.5.0"
PACKAGE = "github.com/Shopify/toxiproxy/v2/cmd/server"
START_SECONDS = 20.0
# Taking a fault away waits 5 s for each packet that it holds back for a client that has gone.
REQUEST_SECONDS = 60.0
NEEDS = Needs(
    "toxiproxy",
    f"install Go, or on Linux Docker, or set {URL}",
    in_docker=sys.platform == "linux",  # elsewhere a container does not reach loopback
)
Direction = Literal["downstream", "upstream"]


class Toxiproxy:
    """Relays made over the HTTP API of a toxiproxy."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing: it is not ours to stop."""

    def relay(self, upstream: str) -> "Relay":
        """A relay from a free port of loopback to `upstream`, `host:port`."""
        made = self.call("POST", "/proxies", {
            "name": uuid.uuid4().hex, "listen": "127.0.0.1:0", "upstream": upstream,
        })  # fmt: skip
        return Relay(self, made["name"], int(made["listen"].rsplit(":", 1)[1]))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """An answer's JSON; urllib's HTTPError if it is an error."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=REQUEST_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None


@dataclass(frozen=True)
class Relay:
    """One relay; without faults it passes everything on.

    A fault is in force until its `with` ends. `downstream` is what the server answers, `upstream`
    what the client sends.
    """

    toxiproxy: Toxiproxy
    name: str
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @contextmanager
    def fault(
        self, kind: str, direction: Direction = "downstream", **attributes: int
    ) -> Iterator[None]:
        """Any toxic of toxiproxy, with its attributes."""
        path = f"/proxies/{self.name}/toxics"
        toxic = uuid.uuid4().hex
        self.toxiproxy.call("POST", path, {
            "name": toxic, "type": kind, "stream": direction, "attributes": attributes,
        })  # fmt: skip
        try:
            yield
        finally:
            self.toxiproxy.call("DELETE", f"{path}/{toxic}")

    @contextmanager
    def latency(self, milliseconds: int, direction: Direction = "downstream") -> Iterator[None]:
        """Everything comes later."""
        with self.fault("latency", direction, latency=milliseconds):
            yield

    @contextmanager
    def hang(self, direction: Direction = "downstream") -> Iterator[None]:
        """Nothing comes through, and connections stay open."""
        with self.fault("timeout", direction, timeout=0):
            yield

    @contextmanager
    def reset(self, after_milliseconds: int = 0) -> Iterator[None]:
        """Connections are reset (RST) so long after data come."""
        with self.fault("reset_peer", timeout=after_milliseconds):
            yield

    @contextmanager
    def cut_after(self, size: int, direction: Direction = "downstream") -> Iterator[None]:
        """A connection is closed when it passed on so many bytes."""
        with self.fault("limit_data", direction, bytes=size):
            yield

    @contextmanager
    def bandwidth(self, kilobytes: int, direction: Direction = "downstream") -> Iterator[None]:
        """Not more than so many kilobytes per second."""
        with self.fault("bandwidth", direction, rate=kilobytes):
            yield

    @contextmanager
    def down(self) -> Iterator[None]:
        """Connections are closed and new ones refused."""
        self._enable(False)
        try:
            yield
        finally:
            self._enable(True)

    def remove(self) -> None:
        self.toxiproxy.call("DELETE", f"/proxies/{self.name}")

    def _enable(self, enabled: bool) -> None:
        self.toxiproxy.call("POST", f"/proxies/{self.name}", {"enabled": enabled})


class ToxiproxyProcess(Toxiproxy):
    """Start with `with ToxiproxyProcess() as toxiproxy`."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: ServerProcess | None = None
        super().__init__(f"http://127.0.0.1:{self.port}")

    def __enter__(self) -> Self:
        program = NEEDS.install_or_docker(toxiproxy_program)
        folder = Path(tempfile.mkdtemp(prefix="pipeline-platform-toxiproxy-"))
        if program is None:
            variables = {"TOXIPROXY_PORT": str(self.port)}
            self._process = NEEDS.container("toxiproxy", folder, variables)
        else:
            command: list[str | Path] = [program, "-host", "127.0.0.1", "-port", str(self.port)]
            quiet = {"LOG_LEVEL": "info"}
            self._process = ServerProcess("toxiproxy", command, folder, environment=quiet)
        self._process.start(lambda: http_answers(f"{self.url}/version"), START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.remove()
            self._process = None

    def log(self) -> str:
        """The end of its log."""
        return self._process.log() if self._process is not None else ""


def toxiproxy_program() -> Path:
    """The program, built at the first call."""
    return go_program("toxiproxy", PACKAGE, VERSION)


def toxiproxy_server() -> Toxiproxy:
    """A toxiproxy to start with `with`, or the one that the environment names."""
    return Toxiproxy(os.environ[URL]) if URL in os.environ else ToxiproxyProcess()

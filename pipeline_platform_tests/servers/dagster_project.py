"""A Dagster project of its own: a copy of the work tree, served by `dg dev` as plain processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pipeline_platform_tests.fresh_clone import clean_environment, copy_work_tree, run
from pipeline_platform_tests.pipelines import merged

START_SECONDS = 120.0
STOP_SECONDS = 15.0
REQUEST_SECONDS = 60.0
LOCATION = "pipeline_platform"
REPOSITORY = {
    "repositoryLocationName": LOCATION,
    "repositoryName": "__repository__",
}
Found = TypeVar("Found")

_READY = """
{ workspaceOrError { ... on Workspace { locationEntries {
    loadStatus
    locationOrLoadError { __typename ... on PythonError { message } }
} } } }
"""


class DagsterProject:
    """Write the components, then `with project:` starts webserver, daemon and code server.

    Its DAGSTER_HOME is the copy's folder, so nothing of this checkout is touched. It can be
    started again after it was stopped; what runs left behind is still there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = copy_work_tree(folder)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What webserver, daemon and code server wrote so far."""
        return (self.folder / "dg.log").read_text(errors="replace")

    def component(self, name: str, kind: str, attributes: Mapping[str, Any]) -> None:
        """Write `defs/<name>/defs.yaml`."""
        file = self.folder / "pipeline_platform/defs" / name / "defs.yaml"
        file.parent.mkdir(exist_ok=True)
        component = {"type": f"pipeline_platform.{kind}", "attributes": dict(attributes)}
        file.write_text(yaml.safe_dump(component))

    def settings(self, **changes: Any) -> None:
        """Lay changes over `dagster.yaml`."""
        file = self.folder / "dagster.yaml"
        file.write_text(yaml.safe_dump(merged(yaml.safe_load(file.read_text()), changes)))

    def command(self, *arguments: str) -> str:
        """The output of `python ...` in the project; AssertionError if it fails."""
        done = run([sys.executable, *arguments], self.folder, env=self._environment())
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def __enter__(self) -> "DagsterProject":
        self.port = _free_port()
        with (self.folder / "dg.log").open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("dg"), "dev", "--host", "127.0.0.1",
                 "--port", str(self.port)],
                cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self.wait_until("the code location is loaded", self._is_ready, START_SECONDS)
            self.graphql("mutation { setNuxSeen }")  # no welcome dialog over the pages
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # Workers of runs and a `dg` that did not stop are in the same process group.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)
        self._process = None

    def graphql(self, query: str, **variables: Any) -> Any:
        """The `data` of an answer; AssertionError if the answer holds errors."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def wait_until(self, what: str, look: Callable[[], Found], seconds: float) -> Found:
        """The first true result of `look`; AssertionError with the log when time is over."""
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            assert self._process is not None
            stopped = self._process.poll() is not None
            assert not stopped, f"dg dev stopped before {what}:\n{self.log[-5000:]}"
            assert time.monotonic() < deadline, (
                f"not within {seconds:.0f} s: {what}\n{self.log[-5000:]}"
            )
            time.sleep(0.5)

    def _is_ready(self) -> bool:
        try:
            workspace = self.graphql(_READY)["workspaceOrError"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        entries = workspace.get("locationEntries", [])
        for entry in entries:
            loaded = entry["locationOrLoadError"] or {}
            assert loaded.get("__typename") != "PythonError", loaded
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)

    def _environment(self) -> Mapping[str, str]:
        binaries = Path(sys.executable).parent
        return clean_environment(
            DAGSTER_HOME=str(self.folder),
            VIRTUAL_ENV=sys.prefix,
            PATH=f"{binaries}{os.pathsep}{os.environ['PATH']}",
            PYTHONPATH=str(self.folder),  # the copy, wherever a process was started
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

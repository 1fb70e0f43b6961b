"""Installs are whole or not there, servers end with the process that started them, and what a
machine cannot run is said."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline_platform_tests.fresh_clone import ROOT
from pipeline_platform_tests.servers import http_answer, install
from pipeline_platform_tests.servers.install import CACHE, InstallFailedError, installed
from pipeline_platform_tests.servers.process import ServerFailedError, ServerProcess

TOXIPROXY = """
    from pipeline_platform_tests.servers.toxiproxy import ToxiproxyProcess
    server = ToxiproxyProcess().__enter__()
    print(server.url, server._process._folder, flush=True)
    input()
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def python(program: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_of_two_that_install_one_builds(cache: Path) -> None:
    builds = []

    def build(folder: Path) -> None:
        builds.append(folder)
        time.sleep(0.2)
        (folder / "program").write_text("whole")

    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: installed("server", build, "1"), range(2)))

    assert folders[0] == folders[1]
    assert len(builds) == 1
    assert (folders[0] / "program").read_text() == "whole"
    assert installed("server", build, "2") != folders[0]


def test_an_install_that_fails_leaves_nothing(cache: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").touch()
        install.run([sys.executable, "-c", "raise SystemExit('no space left')"], folder)

    with pytest.raises(InstallFailedError, match="no space left"):
        installed("server", build)
    assert [path.name for path in cache.iterdir()] == ["server.lock"]


def test_an_install_that_was_killed_is_begun_anew(cache: Path) -> None:
    killed = python(
        """
        import time
        from pipeline_platform_tests.servers.install import installed
        def build(folder):
            (folder / "half").touch()
            print("building", flush=True)
            time.sleep(60)
        installed("server", build)
        """
    )
    with killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    assert len(list(cache.glob(".server-*"))) == 1

    folder = installed("server", lambda folder: (folder / "program").touch())

    assert [path.name for path in folder.iterdir()] == ["program"]
    assert not list(cache.glob(".server-*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_the_process_that_started_it(
    toxiproxy: object, how: signal.Signals
) -> None:
    """`toxiproxy` is asked for so that it is installed."""
    with python(TOXIPROXY) as starter:
        assert starter.stdout is not None
        url, folder = starter.stdout.readline().split()
        assert http_answer.http_answers(f"{url}/version")
        starter.send_signal(how)

    wait_until(lambda: not http_answer.http_answers(f"{url}/version"))
    wait_until(lambda: not Path(folder).exists())


@pytest.mark.parametrize(("ci", "code"), [("false", 0), ("true", 1)])
def test_what_cannot_be_had_is_left_out_and_said_or_fails_in_ci(
    cache: Path, tmp_path: Path, ci: str, code: int
) -> None:
    """Pytest in a process of its own, where no program is on the PATH."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q",
         "pipeline_platform_tests/servers/test_servers_toxiproxy.py"],
        cwd=ROOT, env={**os.environ, "PATH": str(tmp_path), "CI": ci},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == code, done.stdout + done.stderr
    reason = r"toxiproxy: go not found\. To have it, install Go, or on Linux Docker, or set \w+\."
    if ci == "true":
        assert re.search(rf"MissingServerError: {reason}", done.stdout)
        assert "left out" not in done.stdout
    else:
        *_, title, left_out, result = done.stdout.splitlines()
        assert "left out on this machine" in title
        assert re.fullmatch(rf"7 tests with {reason}", left_out)
        assert result.startswith("7 skipped")


def test_a_server_that_does_not_start_shows_its_log_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = ServerProcess("echo", ["/bin/echo", "the port is taken"], folder)
    with pytest.raises(ServerFailedError, match="echo stopped at its start:\nthe port is taken"):
        server.start(lambda: False, 20)
    assert not folder.exists()


def test_a_server_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = ServerProcess("sleep", ["/bin/sleep", "60"], folder)
    with pytest.raises(ServerFailedError, match="was not ready within 0 s"):
        server.start(lambda: False, 0.2)
    assert not server.is_running

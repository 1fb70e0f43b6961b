"""Fault points: every one in the code is listed, and an armed one acts in its own process."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline_platform
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.fault_points import (
    FAULT_POINTS,
    VARIABLE,
    InjectedFaultError,
    fault_hook,
    fault_point,
)

PACKAGE = Path(pipeline_platform.__file__).parent
PROGRAM = (
    "from pipeline_platform.fault_points import fault_point\n"
    "for name in ('load.after_begin', 'load.after_fence', 'load.after_begin'):\n"
    "    fault_point(name)\n"
    "    print(name, flush=True)\n"
)


def test_the_list_is_what_the_code_has() -> None:
    texts = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    names = set(re.findall(r'fault_point\("([a-z_.]+)"\)', texts))
    for purpose in ("load", "audit", "delete"):
        for point in re.findall(r'fault_point\(f"\{purpose\}\.([a-z_]+)"\)', texts):
            names.add(f"{purpose}.{point}")
    assert set(FAULT_POINTS) == names
    assert len(set(FAULT_POINTS)) == len(FAULT_POINTS)


def test_does_nothing_unarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in FAULT_POINTS:
        fault_point(name)


def test_raises_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "load.after_begin:raise")
    fault_point("load.after_fence")
    with pytest.raises(InjectedFaultError, match=r"load\.after_begin"):
        fault_point("load.after_begin")


@pytest.mark.parametrize("order", ["nowhere:raise", "load.after_begin:explode", "load.after_begin"])
def test_a_mistyped_order_is_loud(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, order)
    with pytest.raises(ConfigurationError):
        fault_point("load.after_begin")


def test_a_hook_sees_all_and_goes_away() -> None:
    seen: list[str] = []
    with fault_hook(seen.append):
        fault_point("load.after_begin")
        fault_point("load.after_fence")
    fault_point("load.after_begin")
    assert seen == ["load.after_begin", "load.after_fence"]


@pytest.mark.parametrize(("order", "printed"), [("load.after_fence:kill", 1), ("#3:kill", 2)])
def test_kills_the_process(order: str, printed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, order)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == printed
    assert done.returncode == -signal.SIGKILL

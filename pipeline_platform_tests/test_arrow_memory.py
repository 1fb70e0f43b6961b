"""Arrow's memory pool in a process that moves data."""

import os
import subprocess
import sys

import pytest

VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"
_POOL = "pyarrow.array([1]); print(pyarrow.default_memory_pool().backend_name)"


def pool_of(code: str, chosen: str | None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if chosen is not None:
        environment[VARIABLE] = chosen
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("first", ["pipeline_platform", "pipeline_platform.movement"])
def test_the_systems_allocator(first: str) -> None:
    assert pool_of(f"import {first}, pyarrow; {_POOL}", chosen=None) == "system"


def test_a_choice_of_the_user_stays() -> None:
    code = f"import pipeline_platform, pyarrow; {_POOL}"
    assert pool_of(code, chosen="mimalloc") == "mimalloc"


def test_processes_that_are_started_have_it_from_their_start() -> None:
    child = f"import pyarrow; {_POOL}"
    code = (
        "import pipeline_platform, subprocess, sys\n"
        f"print(subprocess.check_output([sys.executable, '-c', {child!r}], text=True))"
    )
    assert pool_of(code, chosen=None) == "system"

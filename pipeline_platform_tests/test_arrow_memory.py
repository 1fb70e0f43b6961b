"""Arrow's memory pool in a process that moves data."""

import os
import subprocess
import sys

import pytest

_BUILD = """
from pathlib import Path
import pyarrow as pa
from pipeline_platform.config.systems import LocalStage
from pipeline_platform.stages import build_stage
build_stage(LocalStage(type="local", path="stage"), base_dir=Path("."))
print(pa.default_memory_pool().backend_name)
"""


@pytest.mark.parametrize(
    ("chosen", "pool"), [(None, "system"), ("", "system"), ("mimalloc", "mimalloc")]
)
def test_the_systems_allocator_unless_the_user_chose(chosen: str | None, pool: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
    if chosen is not None:
        environment["ARROW_DEFAULT_MEMORY_POOL"] = chosen
    out = subprocess.run(
        [sys.executable, "-c", _BUILD], env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == [pool]

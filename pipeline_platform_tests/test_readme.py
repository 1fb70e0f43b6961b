"""Every command and every YAML of the README, run as a stranger would: in a fresh copy.

Only the installation is not repeated: the copy uses the environment of these tests, which the same
Makefile made.
"""

import re
import sys
from pathlib import Path

import pytest
import yaml

from pipeline_platform.config.load import parse_config
from pipeline_platform_tests.fresh_clone import ROOT, copy_work_tree, run

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.timeout(600)
def test_commands_work_in_a_fresh_copy(tmp_path: Path) -> None:
    folder = copy_work_tree(tmp_path / "clone")
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    commands = [line for block in blocks("console") for line in block.strip().splitlines()]
    assert commands[:2] == ["make demo", "make test"]
    for command in commands:
        # `make test` is what runs this test: only that it is there is checked.
        wanted = command.replace("make test", "make --dry-run test")
        if command.startswith("make"):
            wanted += " --assume-old=.venv/.installed"
        # The installed package is this checkout, not the copy.
        done = run(wanted, folder, timeout=300, PYTHONPATH=str(folder))
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_example_pipeline_is_valid(tmp_path: Path) -> None:
    [text] = blocks("yaml")
    document = yaml.safe_load(text)
    assert document["type"] == "pipeline_platform.WindowedPipeline"
    config = parse_config(document["attributes"], base_dir=tmp_path).config
    assert config.pipeline_metadata.pipeline_name == "orders"
    for key in re.findall(r"run orders --window (\S+)", README):
        assert config.window_plan().window_of_key(key).key == key

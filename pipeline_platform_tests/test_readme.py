"""The first pipeline that the README shows; its commands are in `test_demo.py`."""

import re
from pathlib import Path

import yaml

from pipeline_platform.config.load import parse_config
from pipeline_platform_tests.documents import DOCUMENTS

README = DOCUMENTS["README.md"]


def test_example_pipeline_is_valid(tmp_path: Path) -> None:
    [text] = README.blocks("yaml")
    document = yaml.safe_load(text)
    assert document["type"] == "pipeline_platform.WindowedPipeline"
    config = parse_config(document["attributes"], base_dir=tmp_path).config
    assert config.pipeline_metadata.pipeline_name == "orders"
    for key in re.findall(r"run orders --window (\S+)", README.text):
        assert config.window_plan().window_of_key(key).key == key

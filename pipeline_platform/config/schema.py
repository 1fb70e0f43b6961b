"""The JSON Schema of a config, for editors and reviews.

`python -m pipeline_platform.config.schema` writes docs/pipeline.schema.json.
"""

import json
from pathlib import Path
from typing import Any

from pipeline_platform.config.pipeline import PipelineConfig

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "pipeline.schema.json"


def config_schema() -> dict[str, Any]:
    """The schema of a whole config, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PipelineConfig.model_json_schema(),
    }


def schema_text() -> str:
    """The schema as it is checked in."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the schema's file."""
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()

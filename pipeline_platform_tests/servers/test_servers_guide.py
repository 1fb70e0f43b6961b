"""docs/testing.md names the variables that the servers read, and its example runs."""

import re
from pathlib import Path
from typing import Any

from pipeline_platform_tests.documents import DOCUMENTS
from pipeline_platform_tests.servers import versitygw

GUIDE = DOCUMENTS["docs/testing.md"]
VARIABLE = r"PIPELINE_PLATFORM_[A-Z0-9_]*[A-Z0-9]"
# Of servers that the tests start; nobody sets them.
OF_THE_TESTS = {"PIPELINE_PLATFORM_ELASTICSEARCH_PASSWORD"}


def test_variables_are_those_of_the_code() -> None:
    code = "".join(path.read_text() for path in Path(versitygw.__file__).parent.rglob("*.py"))
    read = set(re.findall(rf'= "({VARIABLE})"', code)) - OF_THE_TESTS
    told = set(re.findall(VARIABLE, GUIDE.text)) - {"PIPELINE_PLATFORM_TEST"}
    assert told == read


def test_the_example_runs(
    elasticsearch_server: object, snowflake_server: object, s3_server: object
) -> None:
    """The fixtures are asked for so that the servers can be had here."""
    names: dict[str, Any] = {}
    (example,) = GUIDE.blocks("python")
    exec(example.replace("heap_megabytes=1024, quick_start=False", ""), names)

    assert names["source"]["hosts"] == [names["search"].url]
    assert names["stage"]["bucket"] == names["bucket"].name
    assert names["target"]["database"] == names["database"].name

"""Places for the machine; the target and store under test come as fixtures of this form."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_platform_tests.servers.postgres import Database
from pipeline_platform_tests.statemachine.place import DuckDBPlace, PostgresPlace


@pytest.fixture
def duckdb_place(tmp_path: Path) -> Iterator[DuckDBPlace]:
    place = DuckDBPlace(tmp_path)
    yield place
    place.close()


@pytest.fixture
def postgres_place(tmp_path: Path, postgres: Database) -> Iterator[PostgresPlace]:
    place = PostgresPlace(tmp_path, postgres)
    yield place
    place.close()

"""The machine on the pairs that there are; a later one adds a place and a class."""

import pytest

from pipeline_platform_tests.statemachine.contract import WindowMachineContract
from pipeline_platform_tests.statemachine.place import DuckDBPlace, PostgresPlace


class TestDuckDB(WindowMachineContract):
    @pytest.fixture
    def place(self, duckdb_place: DuckDBPlace) -> DuckDBPlace:
        return duckdb_place


class TestPostgres(WindowMachineContract):
    @pytest.fixture
    def place(self, postgres_place: PostgresPlace) -> PostgresPlace:
        return postgres_place

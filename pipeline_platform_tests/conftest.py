"""Fixtures of all tests: one PostgreSQL per session, one database per test."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from pipeline_platform_tests.servers.postgres import Database, PostgresServer

# The first example of a test may pay for an import; time is not what these tests are about.
settings.register_profile("tests", deadline=None, database=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[Database]:
    database = postgres_server.new_database()
    yield database
    postgres_server.drop(database)

"""The project of all stories, with every run at its gate or under way."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline_platform_tests.recovery.place import GATED, Place
from pipeline_platform_tests.servers.postgres import PostgresServer
from pipeline_platform_tests.servers.toxiproxy import Relay, Toxiproxy


@pytest.fixture(scope="module")
def drive_relay(
    request: pytest.FixtureRequest, postgres_server: PostgresServer
) -> Iterator[Relay | None]:
    """What lies between Dagster's processes and the drive table, where this machine can."""
    with suppress(pytest.skip.Exception):
        toxiproxy: Toxiproxy = request.getfixturevalue("toxiproxy")
        relay = toxiproxy.relay(f"127.0.0.1:{postgres_server.port}")
        yield relay
        relay.remove()
        return
    yield None


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    drive_relay: Relay | None,
) -> Iterator[Place]:
    """Backfills that fail, and runs that wait at their gates."""
    database = postgres_server.new_database()
    state_port = drive_relay.port if drive_relay else database.port
    place = Place(tmp_path_factory.mktemp("recovery") / "clone", database, state_port)
    with place.project:
        place.start_stories()
        yield place
        for name in GATED:
            place.open_gate(name)
    postgres_server.drop(database)

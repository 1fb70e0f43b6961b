"""The link to Elasticsearch breaks in the middle of a read."""

from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from pipeline_platform_tests.flagship.outcomes import (
    hurry,
    require_nothing,
    require_whole,
    while_reading,
)
from pipeline_platform_tests.flagship.stack import Stack
from pipeline_platform_tests.servers.toxiproxy import Relay, Toxiproxy

REASONS = {
    "page cut short": "cut short|connection failed",
    "link hangs": "did not answer within request_timeout_seconds",
    "link resets": "connection failed",
    "server gone": "connection failed",
}


@pytest.fixture
def relay(stack: Stack, toxiproxy: Toxiproxy) -> Iterator[Relay]:
    made = toxiproxy.relay(urlsplit(stack.server.url).netloc)
    yield made
    made.remove()


@pytest.mark.parametrize("fault", REASONS)
@pytest.mark.fault_row(24, on="elasticsearch")
def test_nothing_of_a_broken_read_is_kept(
    stack: Stack, relay: Relay, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    before = stack.rows()
    stack.add(10)
    faults = {
        "page cut short": lambda: relay.cut_after(3_000),
        "link hangs": relay.hang,
        "link resets": relay.reset,
        "server gone": relay.down,
    }
    broken = stack.through(f"http://{relay.address}", request_timeout_seconds=1)
    with ExitStack() as faulty, while_reading(lambda: faulty.enter_context(faults[fault]())):
        row = stack.run(broken)
    require_nothing(stack, row, before, REASONS[fault])
    require_whole(stack, stack.run(broken))

"""Row 24: the link to the target breaks in the middle of a load, or is slow.

Links to Elasticsearch and S3: flagship/test_no_partial_window_network.py, stages/test_s3_faults.py.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from pipeline_platform_tests.faults.pair import Pair
from pipeline_platform_tests.servers.toxiproxy import Relay, Toxiproxy

FAULTS: dict[str, Callable[[Relay], AbstractContextManager[None]]] = {
    "closed": Relay.down,
    "reset": Relay.reset,
}


@pytest.fixture
def relay(pair: Pair, toxiproxy: Toxiproxy) -> Iterator[Relay]:
    made = toxiproxy.relay(f"127.0.0.1:{pair.warehouse.target['port']}")
    yield made
    made.remove()


def through(relay: Relay) -> dict[str, Any]:
    return {"target_system": {"port": relay.port}}


@pytest.mark.fault_row(24)
@pytest.mark.parametrize(
    ("pair", "fault", "point"),
    [
        ("postgres-postgres", "closed", "load.after_delete"),
        ("elasticsearch-postgres", "reset", "load.before_commit"),
        ("postgres-snowflake", "closed", "load.before_commit"),
    ],
    indirect=["pair"],
)
def test_row_24_the_link_breaks_during_a_load(
    pair: Pair, relay: Relay, fault: str, point: str
) -> None:
    key = pair.new_window()
    stopped = pair.run(key, f"{point}:stop", **through(relay))
    assert stopped.code is None, pair.log()
    with FAULTS[fault](relay):
        assert pair.go_on().code == 1
    assert not pair.after_the_fault(key, [[], pair.oracle[key]])
    assert pair.run(key).code == 0, pair.log()
    assert pair.reads(key) == 1
    assert not pair.look([key])


@pytest.mark.fault_row(24)
@pytest.mark.parametrize("pair", ["postgres-postgres"], indirect=True)
def test_row_24_a_slow_link_is_no_failure(pair: Pair, relay: Relay) -> None:
    key = pair.new_window()
    with relay.latency(50):
        assert pair.run(key, **through(relay)).code == 0, pair.log()
    assert not pair.look([key])

"""Elasticsearch has too much to do: the run waits for it."""

import time

import pytest

from pipeline_platform_tests.flagship.outcomes import (
    hurry,
    require_nothing,
    require_whole,
    while_reading,
)
from pipeline_platform_tests.flagship.stack import Stack
from pipeline_platform_tests.servers.http_proxy import HttpProxy, is_search


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def page_sizes(proxy: HttpProxy) -> list[int]:
    searches = (request.json for request in proxy.requests if is_search(request))
    return [search["size"] for search in searches if search["size"] > 1]


@pytest.mark.parametrize(
    ("answer", "seconds"), [("429", 10.0), ("503", 1.0), ("circuit breaker", 1.0)]
)
@pytest.mark.fault_row(9, on="elasticsearch snowflake")
def test_the_same_run_recovers(
    stack: Stack, elasticsearch_proxy: HttpProxy, answer: str, seconds: float
) -> None:
    stack.add(1_000)
    proxy = elasticsearch_proxy

    def be_busy() -> None:
        if answer == "circuit breaker":
            proxy.break_circuit(seconds=seconds)
        else:
            proxy.refuse(int(answer), seconds=seconds)

    began = time.monotonic()
    with while_reading(be_busy):
        row = stack.run(stack.through(proxy.url, busy_timeout_seconds=60))
    assert time.monotonic() - began > seconds
    require_whole(stack, row)
    details = row["source_to_stage_transfer_phase"]["phase_specific_details"]
    assert "snapshots_lost" not in details
    assert min(page_sizes(proxy)) < max(page_sizes(proxy)) == 100


@pytest.mark.fault_row(9, on="elasticsearch snowflake")
def test_busy_for_longer_than_the_config_allows(
    stack: Stack, elasticsearch_proxy: HttpProxy
) -> None:
    stack.add(1_000)
    require_whole(stack, stack.run())
    before = stack.rows()
    stack.add(10)
    config = stack.through(elasticsearch_proxy.url, busy_timeout_seconds=0.5)
    with while_reading(lambda: elasticsearch_proxy.refuse(429)):
        row = stack.run(config)
    require_nothing(stack, row, before, "HTTP 429: .*busy_timeout_seconds")
    at_once = stack.run(config)
    require_nothing(stack, at_once, before, "HTTP 429", phase="pre_validation")
    elasticsearch_proxy.heal()
    require_whole(stack, stack.run(config))

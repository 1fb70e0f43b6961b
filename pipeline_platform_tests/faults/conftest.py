"""The pairs, once per session, on its servers; each test takes windows of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pipeline_platform_tests.faults.pair import Pair
from pipeline_platform_tests.faults.pairs import new_pair, two_workers
from pipeline_platform_tests.flow.conftest import make_world, world

__all__ = ["make_world", "world"]

PairOf = Callable[[str], Pair]


@pytest.fixture(scope="session")
def pair_of(request: pytest.FixtureRequest) -> Iterator[PairOf]:
    """The pair of a name; its first window is moved, so that all tables are there."""
    made: dict[str, Pair] = {}

    def server(name: str) -> Any:
        server = request.getfixturevalue(f"{name}_server")
        if name == "snowflake" and server.is_real:
            pytest.skip("the sessions of a process that died are the account's to end")
        return server

    with two_workers() as workers, ExitStack() as stack:

        def pair(name: str) -> Pair:
            if name not in made:
                new = made[name] = stack.enter_context(new_pair(name, server, workers))
                assert new.run(new.new_window()).code == 0, new.log()
            return made[name]

        yield pair


@pytest.fixture
def pair(pair_of: PairOf, request: pytest.FixtureRequest) -> Pair:
    """By the parameter of the same name."""
    return pair_of(request.param)
